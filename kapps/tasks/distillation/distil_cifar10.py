"""ResNet-20's answers for LeNet-5 on CIFAR-10, from a thousand images to twenty thousand.

    kapps train distil_cifar10 --data-dir DIR --seeds 5

Teacher: the shipped `saved_models/cifar10_resnet20`, which was trained on all training images; so its answers about
these are surer than about others. Student: LeNet-5 with ReLU on 32x32 colour images. Temperature 4, alpha 0.9; 1,500
batches of 64 in every case. Measured on the first 5,000 test images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from kapps import paths
from kapps.create import create_model
from kapps.data import load
from kapps.predict import load as load_model
from kapps.tasks.distillation.distill import answers, distill
from kapps.tasks.experiments import Experiment

TEACHER = "cifar10_resnet20"
SIZES = (1_000, 5_000, 20_000)
STEPS = 1_500


def run(
    case: str, seed: int, *, size: int, data_dir: Path | None, folder: Path, report: Callable[[str], None]
) -> dict[str, Any]:
    """Teach a LeNet-5 with `size` images of CIFAR-10; `value` is its accuracy on the test images.

    Args:
        case: of `EXPERIMENT.cases`.
        size: labelled images.
    """
    images, labels = read(f"train[:{size}]", data_dir)
    student = create_model("lenet5_softmax", num_classes=10, input_shape=(32, 32, 3), classifier_activation=None)
    distilled = distill(
        student,
        scaled(images),
        teacher=None if case == "labels only" else teach(size, data_dir),
        labels=None if case == "teacher only" else labels,
        steps=STEPS,
        seed=seed,
        report=report,
    )
    test_images, test_labels = read("test[:5000]", data_dir)
    likely = distilled.model.predict(scaled(test_images), batch_size=500, verbose=0)
    return {"value": float((likely.argmax(axis=1) == test_labels).mean()), "history": distilled.history}


@cache
def read(split: str, data_dir: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 32, 32, 3] and labels [N]."""
    images, labels = zip(*load("cifar10", split, data_dir=data_dir).examples.as_numpy_iterator(), strict=True)
    return np.stack(images), np.array(labels)


@cache
def teach(size: int, data_dir: Path | None) -> np.ndarray:
    """The teacher's probabilities [size, 10] for the first training images."""
    return answers(load_model(paths.saved_models_dir() / TEACHER), read(f"train[:{size}]", data_dir)[0])


def scaled(images: np.ndarray) -> np.ndarray:
    """0..255 to -1..1."""
    return images.astype(np.float32) / 127.5 - 1


EXPERIMENT = Experiment(
    title="ResNet-20 teaches LeNet-5 (CIFAR-10)",
    question="Does a small network learn more from a large one's answers than from labels, and with how many images?",
    claim="Soft answers say more about an image than its label does, most where images are few.",
    finding="Half holds: the teacher adds one and a half points or more with 5,000 images, and half a point or more "
    "with 20,000. Where images are few it does not hold: with 1,000 images the labels alone are two points better.",
    metric="test accuracy",
    cases=("labels only", "teacher and labels", "teacher only"),
    run=run,
    data="cifar10",
    sizes=SIZES,
    size_name="images",
)
