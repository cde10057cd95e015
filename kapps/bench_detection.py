"""How long a detector takes beside others with the same weights, where its time goes, and its two operations alone.

As in `kapps.bench`, all that is measured takes turns within one run.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from kapps import catalog, engines
from kapps.bench import AGAINST, OURS, check_contenders, package_versions, set_tensorflow_threads, take_turns
from kapps.errors import RecipeError, UnknownNameError
from kapps.predict import Predictor, load

# Height and width of the image that detectors are measured on.
_IMAGE = (600, 800)

# Seconds before a call: the threads of the one before go on spinning for a while, and have to be gone.
_PAUSE = 0.05

# Two detections are the same where they are of one class, overlap so much and have scores so near.
_SAME_OVERLAP, _SAME_SCORE = 0.99, 1e-3

# Seeded weights of these layers are made smaller, so that scores and deltas have the spread of a trained network's.
_SPREAD = {"rpn_scores": 0.1, "rpn_deltas": 0.02, "box_scores": 0.06, "box_deltas": 0.06}

# Modules of the detectors that find by themselves.
_ONE_NETWORK = ("faster_rcnn", "yolo", "overfeat_detector")

# Boxes xyxy in pixels of the image [N, 4], scores [N] and classes from 0 [N].
_Detections = tuple[np.ndarray, np.ndarray, np.ndarray]


class Row(TypedDict):
    """One contender.

    Attributes:
        contender: `"kapps"` or a name of `kapps.bench.AGAINST`.
        case: what it was given, in words.
        median: milliseconds a call. p25, p75: half of the calls lie between these.
        calls: how many were measured.
        ratio: the median in units of ours.
        same: which part of our detections it has, too; of an operation, of our results.
    """

    contender: str
    case: str
    median: float
    p25: float
    p75: float
    calls: int
    ratio: float
    same: float


class Run(TypedDict):
    """What a run was like.

    Attributes:
        threads: that each contender was given. cpus: processors that this process may use. machine: what kind they are.
        versions: package -> version.
    """

    threads: int
    cpus: int
    machine: str
    versions: dict[str, str]


class DetectorComparison(Run):
    """What `compare_detector` measured.

    Attributes:
        model: name or path. weights: where they come from, in words. image: what was asked, in words.
        detections: how many ours found.
        rows: ours first.
        profile: each contender that is one of our engines -> step -> the median of its milliseconds. The steps are the
            signatures of `kapps.exporting.detection`; together they take a bit longer than the graph as a whole.
    """

    model: str
    weights: str
    image: str
    detections: int
    rows: list[Row]
    profile: dict[str, dict[str, float]]


class OperationComparison(Run):
    """What `compare_operation` measured; the fields are those of `DetectorComparison`."""

    model: str
    rows: list[Row]


def is_detector(model: str) -> bool:
    """Whether this is a detector's name, or the path of an exported one."""
    if not os.path.exists(model):
        return model in catalog.list_detectors()
    from kapps.exporting.card import Card
    from kapps.exporting.integrity import CARD
    from kapps.predict import version_folder

    return Card.read(version_folder(Path(model)) / CARD).kind == "detection"


def compare_detector(
    model: str, against: Sequence[str] = (), *, threads: int | None = None, calls: int = 10
) -> DetectorComparison:
    """Measure a detector on one image, uint8 [600, 800, 3], from its pixels to its detections.

    Args:
        model: an exported detector, or a name of `kapps.list_detectors()`: it is then built with seeded weights and
            exported optimised (and for the runtimes in `against`) into a temporary folder.
        against: `"onnxruntime"`, `"openvino"`: ours with the networks in these; `"torchvision"`: its
            `fasterrcnn_resnet50_fpn` with the same weights, as it is made for published ones.
        threads: for each contender; None for one a processor. TensorFlow takes them once a process.
        calls: of each contender.

    Raises:
        UnknownNameError: no such contender.
        MissingExtraError: a runtime that is not installed.
        RecipeError: numbers below 1; a contender that knows no detectors, or not this one; TensorFlow runs with other
            threads.
        SavedModelError: a model that cannot be loaded or exported, or was not exported for a runtime.
    """
    against, threads = check_contenders(against, calls, threads)
    for name in against:
        if name not in ("onnxruntime", "openvino", "torchvision"):
            raise RecipeError(f"expected onnxruntime, openvino or torchvision beside a detector, got {name}")
    if "torchvision" in against and model != "faster_rcnn_resnet50_fpn":
        raise RecipeError(f"torchvision can only be measured beside faster_rcnn_resnet50_fpn, not beside {model}")
    given = os.path.exists(model)
    if not given and catalog.detector_info(model).module.rpartition(".")[2] not in _ONE_NETWORK:
        raise RecipeError(
            f"expected a detector that needs an image alone, got {model}, which gets proposals from outside"
        )
    set_tensorflow_threads(threads)
    image = detector_image()
    with tempfile.TemporaryDirectory(prefix="kapps-bench-") as folder:
        predictor, reference = (load(model, engine="tensorflow"), None) if given else _built(model, against, folder)
        if "proposals" in predictor.card.signatures["serving_tensors"]["inputs"]:
            raise RecipeError(f"expected a detector that needs an image alone, got {model}, which is given proposals")
        functions = {OURS: _whole(predictor, image)}
        steps: dict[str, engines.DetectorSteps] = {OURS: predictor.detector_steps("tensorflow")}
        for name in against:
            engine = AGAINST[name]
            if engine is None:
                functions[name] = _torch_detector(reference, image, threads)
            else:
                steps[name] = predictor.detector_steps(engine, threads)
                functions[name] = _stepwise(steps[name], image)
        found = {name: function() for name, function in functions.items()}
        rows = _rows(functions, calls, "", {name: _share(found[OURS], each) for name, each in found.items()})
        profile = {name: _profile(each, image, calls) for name, each in steps.items()}
    return {
        "model": model,
        "weights": "of the export" if given else "seeded",
        "image": f"a seeded image of {_IMAGE[1]}x{_IMAGE[0]} pixels",
        "detections": len(found[OURS][0]),
        "rows": rows,
        "profile": profile,
        **_run(threads, against),
    }


def detector_image() -> np.ndarray:
    """uint8 [600, 800, 3]: rectangles of all sizes and colours."""
    random = np.random.default_rng(0)
    image = np.full((*_IMAGE, 3), 128, np.uint8)
    for _ in range(60):
        top, left = random.integers(0, _IMAGE[0] - 20), random.integers(0, _IMAGE[1] - 20)
        height, width = random.integers(20, 300, 2)
        image[top : top + height, left : left + width] = random.integers(0, 256, 3)
    return image


def _built(name: str, against: Sequence[str], folder: str) -> tuple[Predictor, Any]:
    """An optimised export with seeded weights, and torchvision's counterpart if it is asked for."""
    import keras

    from kapps.tasks.detection.create import create_detector
    from kapps.weights.coco import coco_labels
    from kapps.weights.seeded import seeded_tensor

    keras.utils.set_random_seed(0)
    detector: Any = create_detector(name, classes=coco_labels())
    reference = None
    if "torchvision" in against:
        reference = _share_weights_with_torchvision(detector.network)
    else:
        for variable in detector.network.weights:
            layer = variable.path.split("/")[-2]
            spread = _SPREAD.get(layer, 1.0) if variable.name == "kernel" else 1.0
            variable.assign(spread * seeded_tensor(variable.path, variable.shape, channels_last=True))
    formats = [engine for engine in map(AGAINST.get, against) if engine is not None]
    version = detector.export(Path(folder) / name, optimize=True, formats=formats)
    return load(version, engine="tensorflow", verify=False), reference


def _share_weights_with_torchvision(network: Any) -> Any:
    """torchvision's Faster R-CNN, seeded; the network gets the same weights through its key map."""
    _import_torch()
    import torch
    import torchvision
    from torchvision.models.detection import FasterRCNN, _utils
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.ops import FrozenBatchNorm2d

    from kapps.tasks.detection import faster_rcnn
    from kapps.weights.key_maps.faster_rcnn import SEEDED_SCALES
    from kapps.weights.seeded import seeded_tensor

    resnet = torchvision.models.resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
    model = FasterRCNN(_resnet_fpn_extractor(resnet, 3), 91)
    _utils.overwrite_eps(model, 0.0)
    tensors = {}
    for name, tensor in model.state_dict().items():
        scale = next((scale for key, scale in SEEDED_SCALES.items() if re.fullmatch(key, name)), 1.0)
        tensors[name] = seeded_tensor(name, tensor.shape) * np.float32(scale)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    faster_rcnn.assign(network, tensors, source="torchvision")
    return model.eval()


def _import_torch() -> None:
    # Triton, torch's compiler for GPUs, and TensorFlow each bring an LLVM; both in one process crash it.
    sys.modules.setdefault("triton", None)  # type: ignore[arg-type]  # torch takes it for not installed


def _whole(predictor: Predictor, image: np.ndarray) -> Callable[[], _Detections]:
    """The graph as a whole."""
    import tensorflow as tf

    pixels = tf.constant(image[None])
    return lambda: _detections({name: x.numpy() for name, x in predictor.tensor_function(image=pixels).items()}, image)


def _stepwise(steps: engines.DetectorSteps, image: np.ndarray) -> Callable[[], _Detections]:
    return lambda: _detections(steps({"pixels": image}), image)


def _detections(answer: Mapping[str, np.ndarray], image: np.ndarray) -> _Detections:
    count = int(answer["num_detections"][0])
    height, width = image.shape[:2]
    boxes = answer["detection_boxes"][0, :count, [1, 0, 3, 2]].T * [width, height, width, height]
    return boxes, answer["detection_scores"][0, :count], answer["detection_classes"][0, :count]


def _torch_detector(model: Any, image: np.ndarray, threads: int) -> Callable[[], _Detections]:
    import torch

    torch.set_num_threads(threads)
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) / 255

    def call() -> _Detections:
        with torch.inference_mode():
            (found,) = model([pixels])
        return found["boxes"].numpy(), found["scores"].numpy(), found["labels"].numpy() - 1

    return call


def _share(ours: _Detections, theirs: _Detections) -> float:
    """Which part of our detections are among the others."""
    if not len(ours[0]) or not len(theirs[0]):
        return float(len(ours[0]) == len(theirs[0]))
    from kapps.boxes.overlap import iou

    same = np.asarray(iou(ours[0].astype("float32"), theirs[0].astype("float32"))) > _SAME_OVERLAP
    same &= np.abs(ours[1][:, None] - theirs[1]) < _SAME_SCORE
    same &= ours[2][:, None] == theirs[2]
    return float(same.any(axis=1).mean())


def _profile(steps: engines.DetectorSteps, image: np.ndarray, calls: int) -> dict[str, float]:
    """Step -> the median of its milliseconds, from the encoded image on."""
    from kapps.exporting.saved_model import encoded_png

    encoded = encoded_png(image)
    taken: dict[str, list[float]] = defaultdict(list)
    steps({"image_bytes": encoded})
    for _ in range(calls):
        steps({"image_bytes": encoded}, lambda name, seconds: taken[name].append(seconds))
    return {name: 1000 * float(np.median(seconds)) for name, seconds in taken.items()}


# The operations alone ------------------------------------------------------------------------------------------------

OPERATIONS = ("nms", "roi_align")

_BOXES = 2000
_EXTENT = (800, 1088)  # of the prepared image that the boxes are in
_NMS_THRESHOLD = 0.7  # of the region proposals
_CHANNELS, _BINS, _POINTS = 256, 7, 2


def compare_operation(
    name: str, against: Sequence[str] = (), *, threads: int | None = None, calls: int = 50
) -> OperationComparison:
    """Measure non-maximum suppression or RoI align of 2,000 boxes.

    Args:
        name: one of `OPERATIONS`.
        against: `"torchvision"` or nothing.
        threads: for each contender; None for one a processor. TensorFlow takes them once a process.
        calls: of each contender.

    Raises:
        UnknownNameError: no such operation or contender.
        MissingExtraError: torchvision is not installed.
        RecipeError: numbers below 1; another contender than torchvision; TensorFlow runs with other threads.
    """
    if name not in OPERATIONS:
        raise UnknownNameError("operation", name, OPERATIONS)
    against, threads = check_contenders(against, calls, threads)
    if other := set(against) - {"torchvision"}:
        raise RecipeError(f"expected torchvision beside the operation {name}, got {', '.join(sorted(other))}")
    set_tensorflow_threads(threads)
    if against:
        _import_torch()
        import torch

        torch.set_num_threads(threads)
    rows: list[Row] = []
    for case, functions in {"nms": _nms_cases, "roi_align": _roi_align_cases}[name](bool(against)).items():
        found = {contender: function() for contender, function in functions.items()}
        same = {contender: _agreement(found[OURS], each) for contender, each in found.items()}
        rows += _rows(functions, calls, case, same)
    return {"model": name, "rows": rows, **_run(threads, against)}


def seeded_boxes(objects: int | None) -> tuple[np.ndarray, np.ndarray]:
    """2,000 boxes float32 [2000, 4], `"xyxy"`, as region proposals are, and their scores [2000], none twice.

    Args:
        objects: around how many things they lie; None = anywhere.
    """
    random = np.random.default_rng(0)
    centres = random.uniform(0, 1, (objects or _BOXES, 2)) * _EXTENT[::-1]
    sides = np.exp(random.uniform(np.log(16), np.log(400), (objects or _BOXES, 2)))
    if objects is not None:
        number = random.integers(0, objects, _BOXES)
        centres = centres[number] + 0.1 * sides[number] * random.standard_normal((_BOXES, 2))
        sides = sides[number] * np.exp(0.2 * random.standard_normal((_BOXES, 2)))
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
    boxes = np.clip(boxes, 0, np.tile(_EXTENT[::-1], 2))
    return boxes.astype("float32"), random.permutation(_BOXES).astype("float32") / _BOXES


def _nms_cases(with_torch: bool) -> dict[str, dict[str, Callable[[], np.ndarray]]]:
    """Case -> contender -> the numbers of the boxes that stay."""
    import tensorflow as tf

    from kapps.boxes.suppression import suppress

    def make(objects: int | None) -> dict[str, Callable[[], np.ndarray]]:
        boxes, scores = seeded_boxes(objects)
        tensors = tf.constant(boxes), tf.constant(scores)

        @tf.function(autograph=False)
        def ours(boxes: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
            numbers, count = suppress(boxes, scores, iou_threshold=_NMS_THRESHOLD, max_outputs=_BOXES)
            return numbers[:count]

        functions: dict[str, Callable[[], np.ndarray]] = {OURS: lambda: ours(*tensors).numpy()}
        if with_torch:
            import torch
            import torchvision

            theirs = torch.from_numpy(boxes), torch.from_numpy(scores)
            functions["torchvision"] = lambda: torchvision.ops.nms(*theirs, _NMS_THRESHOLD).numpy()
        return functions

    return {"2,000 boxes around 100 objects": make(100), "2,000 boxes anywhere": make(None)}


def _roi_align_cases(with_torch: bool) -> dict[str, dict[str, Callable[[], np.ndarray]]]:
    """Case -> contender -> the regions, channels last."""
    import tensorflow as tf

    from kapps.layers.roi_align import RoIAlign
    from kapps.weights.seeded import seeded_image

    boxes = seeded_boxes(100)[0]

    def make(strides: Sequence[int]) -> dict[str, Callable[[], np.ndarray]]:
        maps = [seeded_image((1, _EXTENT[0] // stride, _EXTENT[1] // stride, _CHANNELS)) for stride in strides]
        layer = RoIAlign(strides, _BINS, _POINTS)
        tensors = [tf.constant(each) for each in maps], tf.constant(boxes[None])
        ours = tf.function(lambda maps, boxes: layer(maps, boxes)[0], autograph=False)
        functions: dict[str, Callable[[], np.ndarray]] = {OURS: lambda: ours(*tensors).numpy()}
        if with_torch:
            functions["torchvision"] = _torch_roi_align(maps, boxes, strides)
        return functions

    return {"2,000 boxes, one map of stride 16": make((16,)), "2,000 boxes, four maps": make((4, 8, 16, 32))}


def _torch_roi_align(maps: Sequence[np.ndarray], boxes: np.ndarray, strides: Sequence[int]) -> Callable[[], np.ndarray]:
    import torch
    import torchvision

    channels_first = [torch.from_numpy(np.ascontiguousarray(each.transpose(0, 3, 1, 2))) for each in maps]
    regions = torch.from_numpy(boxes)
    if len(strides) == 1:
        with_image = torch.cat([torch.zeros(len(boxes), 1), regions], dim=1)

        def call() -> Any:
            return torchvision.ops.roi_align(channels_first[0], with_image, _BINS, 1 / strides[0], _POINTS)

    else:
        named = {str(number): each for number, each in enumerate(channels_first)}
        pooler = torchvision.ops.MultiScaleRoIAlign(list(named), _BINS, _POINTS)

        def call() -> Any:
            return pooler(named, [regions], [_EXTENT])

    def result() -> np.ndarray:
        with torch.inference_mode():
            return call().numpy().transpose(0, 2, 3, 1)  # a view: it costs nothing

    return result


def _agreement(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Which part of the results are the same: numbers of boxes that both keep, or pooled numbers to three digits."""
    if ours.ndim == 1:
        return float(np.isin(ours, theirs).mean())
    return float((np.abs(ours - theirs) < 1e-3).mean())


# Both ----------------------------------------------------------------------------------------------------------------


def _rows(functions: Mapping[str, Callable[[], Any]], calls: int, case: str, same: Mapping[str, float]) -> list[Row]:
    times = take_turns([(function, calls) for function in functions.values()], warm_up=2, pause=_PAUSE)
    ours = float(np.median(times[0]))
    rows: list[Row] = []
    for name, taken in zip(functions, times, strict=True):
        p25, median, p75 = (float(value) for value in np.quantile(taken, [0.25, 0.5, 0.75]))
        rows.append(
            {
                "contender": name,
                "case": case,
                "median": 1000 * median,
                "p25": 1000 * p25,
                "p75": 1000 * p75,
                "calls": calls,
                "ratio": median / ours,
                "same": same[name],
            }
        )
    return rows


def _run(threads: int, against: Sequence[str]) -> Run:
    return {
        "threads": threads,
        "cpus": engines.processors(),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": package_versions(against),
    }
