"""Store the outputs of facenet-pytorch's FaceNet and pretrainedmodels' Inception with batch normalisation.

    python tests/parity/record_inception.py

Needs, beside the environment of `record.py` (whose format this is):

    pip install --no-deps facenet-pytorch==2.6.0 pretrainedmodels==0.7.4 munch requests tqdm
"""

from __future__ import annotations

import importlib.metadata

import numpy as np
import record
import torch
from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1
from pretrainedmodels.models.bninception import BNInception

from kapps.weights.key_map import Recorded
from kapps.weights.key_maps import facenet, inception_bn
from kapps.weights.seeded import seeded_tensor

BUILDERS = {"facenet-pytorch": InceptionResnetV1, "pretrainedmodels": BNInception}


def build(spec: Recorded, publisher: str) -> torch.nn.Module:
    """The reference with seeded weights, in evaluation mode."""
    model = BUILDERS[publisher](**spec.arguments)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                tensor.copy_(torch.from_numpy(seeded_tensor(name, tensor.shape)))
    return model.eval()


def main() -> None:
    """Record both, at all their sizes."""
    record.build = build
    for (name, publisher), spec in {**facenet.RECORDED, **inception_bn.RECORDED}.items():
        for size in spec.input_sizes:
            path = record.record(name, publisher, spec, size)
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            arrays["reference"] = np.array(f"{publisher} {importlib.metadata.version(publisher)}")
            np.savez_compressed(path, **arrays)
            print(path, f"{path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
