"""Store what torchvision's functions on boxes and its Faster R-CNN give, for the tests of detection.

    python tests/parity/record_detection.py [boxes] [losses] [96x128] [141x83] [480x640]

Writes `boxes.torchvision.npz`, `detection_losses.torchvision.npz` and `faster_rcnn_resnet50_fpn.torchvision.*.npz`
beside itself: all, or those that are named. Needs an environment of
its own with torch and torchvision, as `record.py` says. Weights and inputs are drawn on both sides, so the files hold
outputs only.
"""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import numpy as np
import torch
import torchvision
from torchvision.models.detection import FasterRCNN, _utils, anchor_utils, image_list, roi_heads, rpn
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

import box_cases

from kapps.weights.key_maps.faster_rcnn import SEEDED_SCALES
from kapps.weights.seeded import seeded_positions, seeded_tensor

HERE = Path(__file__).parent
# (height, width) of the image, (shorter, longer) side that it is resized to.
SIZES = {(96, 128): (128, 224), (141, 83): (128, 224), (480, 640): (800, 1333)}


def record_boxes() -> None:
    """Every function on boxes with the inputs of `box_cases`."""
    arrays = {"reference": np.array(f"torchvision {torchvision.__version__}")}

    def keep(name: str, tensor: torch.Tensor) -> None:
        arrays[name] = tensor.numpy()

    first, second = (torch.from_numpy(box_cases.boxes(count, seed)) for count, seed in ((60, 1), (20, 2)))
    keep("iou", torchvision.ops.box_iou(first, second))
    keep("giou", torchvision.ops.generalized_box_iou(first, second))
    for weights in ((1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)):
        coder = _utils.BoxCoder(weights)
        targets = coder.encode_single(second[torch.arange(60) % 20], first)
        keep(f"encode/{weights[0]:g}", targets)
        deltas = torch.from_numpy(np.random.default_rng(3).normal(0, 3 * weights[0], (60, 4)).astype("float32"))
        keep(f"decode/{weights[0]:g}", coder.decode_single(deltas, first))
    quality = torchvision.ops.box_iou(second, first)
    for low_quality in (False, True):
        keep(f"match/{low_quality}", _utils.Matcher(0.5, 0.3, low_quality)(quality))

    many, scores = torch.from_numpy(box_cases.boxes(800, 4)), torch.from_numpy(box_cases.scores(800, 4))
    for threshold in (0.3, 0.5, 0.7):
        keep(f"nms/{threshold}", torchvision.ops.nms(many, scores, threshold))
        keep(f"batched_nms/{threshold}", torchvision.ops.batched_nms(many, scores, torch.arange(800) % 3, threshold))

    generator = anchor_utils.AnchorGenerator(((32,), (50, 64), (128,)), ((0.5, 1.0, 2.0),) * 3)
    grids = [torch.zeros(1, 1, *size) for size in ((20, 27), (10, 14), (3, 4))]
    images = image_list.ImageList(torch.zeros(1, 3, 160, 224), [(160, 224)])
    keep("anchors", generator(images, grids)[0])

    regions = torch.from_numpy(box_cases.regions())
    (maps,) = (torch.from_numpy(each).permute(0, 3, 1, 2).contiguous() for each in box_cases.maps((8,)))
    rois = torch.cat([(torch.arange(40) % 2)[:, None].float(), regions], dim=1)
    keep("roi_pool", torchvision.ops.roi_pool(maps, rois, 5, 1 / 8))
    for aligned in (False, True):
        for ratio in (2, 3, 0):
            keep(f"roi_align/{aligned}/{ratio}", torchvision.ops.roi_align(maps, rois, 4, 1 / 8, ratio or -1, aligned))
    levels = {
        str(number): torch.from_numpy(each).permute(0, 3, 1, 2).contiguous()
        for number, each in enumerate(box_cases.maps((4, 8, 16)))
    }
    pooler = MultiScaleRoIAlign(list(levels), 3, 2)
    inside = torch.from_numpy(box_cases.boxes(40, 7, 208.0))
    keep("pyramid", pooler(levels, [inside[:25], inside[25:]], [(208, 272)] * 2))
    np.savez_compressed(HERE / "boxes.torchvision.npz", **arrays)


def record_losses() -> None:
    """Those of both heads with the samples of `box_cases`."""
    case = {name: torch.from_numpy(value) for name, value in box_cases.anchor_case().items()}
    drawn = [mask & (labels > 0) for mask, labels in zip(case["drawn"], case["labels"], strict=True)]
    rest = [mask & (labels == 0) for mask, labels in zip(case["drawn"], case["labels"], strict=True)]
    network = types.SimpleNamespace(fg_bg_sampler=lambda _labels: (drawn, rest))
    anchors = rpn.RegionProposalNetwork.compute_loss(
        network,
        case["scores"].reshape(-1, 1),
        case["deltas"].reshape(-1, 4),
        list(case["labels"].float()),
        list(case["targets"]),
    )
    case = {name: torch.from_numpy(value) for name, value in box_cases.region_case().items()}
    regions = roi_heads.fastrcnn_loss(
        case["scores"].flatten(0, 1), case["deltas"].flatten(0, 1), list(case["labels"].long()), list(case["targets"])
    )
    np.savez_compressed(
        HERE / "detection_losses.torchvision.npz",
        reference=np.array(f"torchvision {torchvision.__version__}"),
        anchors=np.array([float(loss) for loss in anchors], "float32"),
        regions=np.array([float(loss) for loss in regions], "float32"),
    )


def build(shorter: int, longer: int) -> FasterRCNN:
    """`fasterrcnn_resnet50_fpn` as it is made for published weights, with seeded ones."""
    resnet = torchvision.models.resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
    model = FasterRCNN(_resnet_fpn_extractor(resnet, 3), 91, min_size=shorter, max_size=longer)
    _utils.overwrite_eps(model, 0.0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            scale = next((scale for key, scale in SEEDED_SCALES.items() if re.fullmatch(key, name)), 1.0)
            tensor.copy_(torch.from_numpy(seeded_tensor(name, tensor.shape) * np.float32(scale)))
    return model.eval()


def record_model(size: tuple[int, int], sides: tuple[int, int]) -> Path:
    """One image through the network, with what its parts give."""
    model = build(*sides)
    seen: dict[str, torch.Tensor] = {}

    def watch(module: torch.nn.Module, *names: str) -> None:
        def remember(_module, _inputs, output):
            values = list(output.values()) if isinstance(output, dict) else output
            values = values if isinstance(values, list | tuple) else [values]
            seen.update(zip(names, values, strict=True))

        module.register_forward_hook(remember)

    for stage in range(1, 5):
        watch(model.backbone.body.get_submodule(f"layer{stage}"), f"stage{stage}")
    watch(model.backbone, *(f"fpn{level}" for level in range(2, 7)))
    model.rpn.head.register_forward_hook(
        lambda _module, _inputs, output: seen.update(
            {
                f"rpn_{kind}{level}": value
                for kind, values in zip(("scores", "deltas"), output, strict=True)
                for level, value in enumerate(values, start=2)
            }
        )
    )
    model.rpn.register_forward_hook(lambda _module, _inputs, output: seen.update(proposals=output[0][0]))
    watch(model.roi_heads.box_roi_pool, "regions")
    watch(model.roi_heads.box_predictor, "box_scores", "box_deltas")
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype="uint8")
    with torch.no_grad():
        (found,) = model([torch.from_numpy(image.transpose(2, 0, 1)) / 255])

    state = model.state_dict()
    arrays = {
        "reference": np.array(f"torchvision {torchvision.__version__}"),
        "tensors": np.array(list(state)),
        "shapes": np.array(["x".join(map(str, value.shape)) for value in state.values()]),
        "proposals": seen.pop("proposals").numpy(),
        "boxes": found["boxes"].numpy(),
        "scores": found["scores"].numpy(),
        "labels": found["labels"].numpy(),
    }
    for name, value in seen.items():
        value = value.numpy()
        arrays[f"part/{name}"] = value.reshape(-1)[seeded_positions(value.size)]
        arrays[f"std/{name}"] = np.float32(value.std())
        print(f"{name}: {value.shape} spread {value.std():.3g}")
    print(len(arrays["proposals"]), "proposals,", len(arrays["boxes"]), "detections", arrays["scores"][:5])
    target = HERE / f"faster_rcnn_resnet50_fpn.torchvision.{size[0]}x{size[1]}.npz"
    np.savez_compressed(target, **arrays)
    return target


def main(names: list[str]) -> None:
    """Record what is named, or all."""
    if not names or "boxes" in names:
        record_boxes()
    if not names or "losses" in names:
        record_losses()
    for size, sides in SIZES.items():
        if not names or f"{size[0]}x{size[1]}" in names:
            print(record_model(size, sides), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
