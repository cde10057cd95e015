"""A few labels and 60,000 digits without: the same net, layer by layer learned first or from random weights.

    kapps train few_labels --data-dir DIR --seeds 5

784-500-500-2000-10, sigmoid units. Pre-trained: 15 epochs of CD-1 an RBM on all 60,000 training digits, without labels.
Random: Glorot and Bengio's initial weights (2010), which deep nets of sigmoid units need. Both are fine-tuned alike:
Adam from 0.001 down to 0 along a cosine, 1,500 steps of 100 labelled digits, or 10 epochs where that is more. Each seed
draws its own labelled digits, as many of each class and the same for both cases.

A seed's greedy learning is done once and shared by all sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kapps.create import create_model
from kapps.errors import UnknownNameError
from kapps.tasks.experiments import Experiment
from kapps.tasks.unsupervised.dbn_mnist import HIDDEN, Arrays, accuracy, digits, fine_tune, pretrained

CASES = ("pre-trained", "random weights")
SIZES = (100, 300, 1000, 3000, 10_000, 60_000)  # labels
_LEAST_STEPS, _EPOCHS, _BATCH = 1500, 10, 100


def run(
    case: str, seed: int, *, size: int, data_dir: Path | None, folder: Path, report: Callable[[str], None]
) -> dict[str, Any]:
    """Fine-tune on `size` labels; `value` is the accuracy on the 10,000 test digits.

    Args:
        case: one of `CASES`.
    """
    (images, labels), test = digits("train", data_dir), digits("test", data_dir)
    if case == "pre-trained":
        model = pretrained(images, seed, folder.parents[2] / "shared", report).to_mlp(10)
    elif case == "random weights":
        model = create_model("mlp", num_classes=10, input_shape=images.shape[1:], config={"hidden": HIDDEN})
    else:
        raise UnknownNameError("case", case, CASES)
    some = drawn(images, labels, size, seed)
    fine_tune(model, *some, steps=max(_LEAST_STEPS, _EPOCHS * size // _BATCH), seed=seed)
    return {"value": accuracy(model, *test)}


def drawn(images: np.ndarray, labels: np.ndarray, size: int, seed: int) -> Arrays:
    """`size` examples, as many of each of ten classes; all of them where there are no more."""
    if size >= len(images):
        return images, labels
    order = np.random.default_rng(seed).permutation(len(images))
    chosen = np.concatenate([order[labels[order] == label][: size // 10] for label in range(10)])
    return images[chosen], labels[chosen]


EXPERIMENT = Experiment(
    title="Few labels (MNIST, 500-500-2000)",
    question="What are digits without labels worth where few have one?",
    claim="The fewer the labels, the more pre-training brings: with 1,000 of them at least four points.",
    finding="Holds: ten points with 100 labels, five with 1,000, three and a half with 10,000, and still "
    "one with all 60,000.",
    metric="test accuracy",
    cases=CASES,
    run=run,
    data="mnist",
    sizes=SIZES,
    size_name="labels",
)
