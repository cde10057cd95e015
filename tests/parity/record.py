"""Store the outputs of torch implementations for the parity tests.

    python tests/parity/record.py                      everything that has no recording yet
    python tests/parity/record.py resnet50 torchvision [160x192]

Needs an environment of its own with torch, torchvision and timm (no test of the project does):

    pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31

The weights are drawn by the names of the reference's tensors, so the files hold outputs only: the whole output of the
network, and of each named feature its standard deviation and up to 512 of its numbers at seeded positions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision

sys.path.insert(0, str(Path(__file__).parents[2]))

from kapps import catalog
from kapps.weights.key_map import Recorded, family
from kapps.weights.seeded import seeded_image, seeded_positions, seeded_tensor

FOLDER = Path(__file__).parents[2] / "kapps" / "weights" / "recorded"


def build(spec: Recorded, publisher: str) -> torch.nn.Module:
    """The reference with seeded weights, in evaluation mode."""
    if publisher == "timm":
        model = timm.create_model(spec.builder, pretrained=False, **spec.arguments)
    else:
        module = torchvision.models if hasattr(torchvision.models, spec.builder) else torchvision.models.segmentation
        model = getattr(module, spec.builder)(**{"weights": None, **spec.arguments})
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                tensor.copy_(torch.from_numpy(seeded_tensor(name, tensor.shape)))
    return model.eval()


def record(name: str, publisher: str, spec: Recorded, size: tuple[int, int]) -> Path:
    """Run the reference once and write what the parity check compares."""
    model = build(spec, publisher)
    seen: dict[str, torch.Tensor] = {}
    for feature, path in spec.features.items():
        model.get_submodule(path).register_forward_hook(
            lambda _module, _inputs, output, feature=feature: seen.__setitem__(feature, output.detach().clone())
        )
    image = torch.from_numpy(seeded_image((1, spec.channels, *size)))
    with torch.no_grad():
        outputs = model(image)
        extra = {}
        if spec.auxiliary:
            model.training = True  # of the whole only: its parts stay in evaluation mode
            whole = model(image)
            extra = {ours: _pick(whole, theirs).numpy() for ours, theirs in spec.auxiliary.items()}
    output = (outputs if isinstance(outputs, torch.Tensor) else _pick(outputs, spec.output)).numpy()

    state = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    arrays = {
        "reference": np.array(
            f"{publisher} {torchvision.__version__ if publisher == 'torchvision' else timm.__version__}"
        ),
        "tensors": np.array(list(state)),
        "shapes": np.array(["x".join(map(str, value.shape)) for value in state.values()]),
        "std": np.float32(output.std()),
        "output": sample(output, 4096),
    }
    for key, value in extra.items():
        arrays[f"auxiliary/{key}"] = sample(value, 4096)
        arrays[f"std/{key}"] = np.float32(value.std())
    for key, value in seen.items():
        arrays[f"feature/{key}"] = sample(value.numpy(), 512)
        arrays[f"std/{key}"] = np.float32(value.numpy().std())
    target = FOLDER / f"{name}.{publisher}.{size[0]}x{size[1]}.npz"
    np.savez_compressed(target, **arrays)
    return target


def sample(array: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` numbers of an array at seeded positions, in the reference's own order of axes."""
    return array.reshape(-1)[seeded_positions(array.size, count)]


def _pick(outputs, key: str) -> torch.Tensor:
    return outputs[key] if isinstance(outputs, dict) else getattr(outputs, key)


def main(arguments: list[str]) -> None:
    """Record what the arguments name, or all that is missing."""
    FOLDER.mkdir(exist_ok=True)
    modules = {entry.module: None for entry in catalog.ENTRIES}
    for module in modules:
        for (name, publisher), spec in getattr(family(module), "RECORDED", {}).items():
            if arguments and [name, publisher] != arguments[:2]:
                continue
            for size in spec.input_sizes:
                target = FOLDER / f"{name}.{publisher}.{size[0]}x{size[1]}.npz"
                if arguments[2:] and arguments[2] != f"{size[0]}x{size[1]}":
                    continue
                if arguments or not target.exists():
                    print(record(name, publisher, spec, size), f"{target.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
