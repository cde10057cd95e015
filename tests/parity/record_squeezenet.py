"""Store what torchvision's SqueezeNet 1.0 with real ImageNet weights answers to real photographs.

    python tests/parity/record_squeezenet.py SHARED

SHARED is a folder with `weights/squeezenet1_0.caffe_in1k.safetensors` and `data/imagenet_samples`. Needs torch,
torchvision and safetensors (no test of the project does). Written: for each photograph the checksum of its pixels, the
five best classes and 64 of the 1,000 scores; and how often the best and the five best hold the label.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from squeezenet_pixels import RECORDING, checksum, crop, network_input, samples

from kapps.weights.seeded import seeded_positions


def main(shared: Path) -> None:
    """Run the reference once over all photographs."""
    model = torchvision.models.squeezenet1_0(weights=None)
    model.load_state_dict(load_file(shared / "weights" / "squeezenet1_0.caffe_in1k.safetensors"), strict=True)
    model.eval()
    pictures = samples(shared / "data" / "imagenet_samples")
    pixels = [crop(path) for path, _ in pictures]
    with torch.no_grad():
        scores = np.concatenate(
            [model(torch.from_numpy(network_input(each).transpose(2, 0, 1).copy())[None]).numpy() for each in pixels]
        )
    labels = np.array([label for _, label in pictures])
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    top1, top5 = np.mean(best[:, 0] == labels), np.mean((best == labels[:, None]).any(axis=1))
    np.savez_compressed(
        RECORDING,
        reference=np.array(f"torchvision {torchvision.__version__} squeezenet1_0"),
        files=np.array([path.name for path, _ in pictures]),
        checksums=np.array([checksum(each) for each in pixels], "uint32"),
        best=best.astype("int16"),
        scores=scores[:, seeded_positions(1000, 64)],
        std=np.float32(scores.std()),
        top1=np.float32(top1),
        top5=np.float32(top5),
    )
    print(f"{RECORDING.name}: {len(labels)} photographs, top-1 {top1:.1%}, top-5 {top5:.1%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
