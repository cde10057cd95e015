"""How many photos of a class are enough? Pre-trained features, fine-tuning, and learning from nothing, side by side.

    kapps train few_shot --data-dir DIR --seeds 5

Data: CIFAR-10 in TFDS' form under DIR; the recorded figures are of slightly lossy copies, which had been JPEG files.
Each seed draws its own training images, the same for all three; the accuracy is that on the first 2,000 test images.
Nothing is chosen by looking at other images than the drawn ones: the numbers below hold for every size.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kapps.create import create_backbone, create_model
from kapps.data import load
from kapps.data.preprocessing import Preprocessing
from kapps.errors import UnknownNameError
from kapps.optimizers.layerwise import layerwise
from kapps.optimizers.muon import ConvMuon
from kapps.tasks.experiments import Experiment
from kapps.tasks.transfer import probes
from kapps.tasks.transfer.features import pooled
from kapps.training.augment import make_augment
from kapps.training.fine_tuning import groups_of, hold, let_go, rates_of, unfreeze
from kapps.training.recipe import AugmentSpec
from kapps.training.schedules import OneCycle
from kapps.weights import sources

BACKBONE = "efficientnet_lite0"
SCRATCH = "resnet20"  # made for images of this size, and better at it than the backbone when both know nothing
SIZES = (1, 5, 10, 25, 100)  # images a class
CASES = ("frozen features", "fine-tuning", "from scratch")
SIDE = 96  # pixels that the backbone sees: three times the image's own
TEST_IMAGES = 2000
_POOL = 5000  # the first training images, of which is drawn
_BATCH = 16
_AUGMENT = AugmentSpec(flip=True, shift=0.08)
_CIFAR = Preprocessing(size=(32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616))


def run(
    case: str, seed: int, *, size: int, data_dir: str | Path | None, folder: Path, report: Callable[[str], None]
) -> dict[str, float]:
    """Learn CIFAR-10's ten classes from `size` images of each.

    Args:
        case: one of `CASES`.
        seed: draws the images, and is that of all else.
        size: images a class.
        data_dir: where TensorFlow Datasets keeps CIFAR-10.

    Returns:
        `value`: the accuracy on the test images.
    """
    scratch = case == "from scratch"
    steps = _CIFAR if scratch else _published()
    images, labels = _drawn(steps, size, seed, data_dir)
    test = load("cifar10", f"test[:{TEST_IMAGES}]", data_dir=data_dir).batches(100, preprocessing=steps)
    if scratch:
        model = _from_scratch(images, labels, seed)
    elif case in CASES:
        trunk = create_backbone(BACKBONE, input_shape=(SIDE, SIDE, 3), weights="imagenet")
        model = _frozen(trunk, images, labels, seed)
        if case == "fine-tuning":
            _fine_tune(model, trunk, images, labels, seed)
    else:
        raise UnknownNameError("case", case, CASES)
    answer = tf.function(lambda batch: model(batch, training=False), autograph=False)
    right = sum(int((answer(batch).numpy().argmax(axis=1) == truth.numpy()).sum()) for batch, truth in test)
    return {"value": right / TEST_IMAGES}


def _published() -> Preprocessing:
    """That of the weights, at a smaller size and without cutting a border off: objects fill these images."""
    numbers = dict(sources.find(BACKBONE, "imagenet").preprocessing)
    return Preprocessing(**{**numbers, "size": (SIDE, SIDE), "fit": "stretch", "crop_ratio": 1.0})


def _drawn(
    preprocessing: Preprocessing, size: int, seed: int, data_dir: str | Path | None
) -> tuple[np.ndarray, np.ndarray]:
    """`size` preprocessed training images of each class, [10 size, h, w, c], and their labels."""
    ((pixels, labels),) = load("cifar10", f"train[:{_POOL}]", data_dir=data_dir).batches(_POOL)
    order = np.random.default_rng(seed).permutation(_POOL)
    chosen = np.concatenate([order[labels.numpy()[order] == label][:size] for label in range(10)])
    images = [preprocessing(tf.cast(pixels[index], tf.uint8)).numpy() for index in chosen]
    return np.stack(images), labels.numpy()[chosen]


def _frozen(trunk: keras.Model, images: np.ndarray, labels: np.ndarray, seed: int) -> keras.Model:
    """The backbone as it is, and logistic regression on its features of each image and its mirror image."""
    network = pooled(trunk)
    views = [network.predict(view, batch_size=50, verbose=0) for view in (images, images[:, :, ::-1])]
    probe = probes.learn("logistic_regression", np.stack(views, axis=1), labels, np.arange(len(labels)), 10, seed=seed)
    return keras.Model(trunk.input, keras.layers.Softmax(name="predictions")(probe.layer(network.output)))


def _fine_tune(model: keras.Model, trunk: keras.Model, images: np.ndarray, labels: np.ndarray, seed: int) -> None:
    """From the learned head on, all layers move, the deeper the less, and held near where they were."""
    groups = groups_of(model, trunk)
    steps = max(100, 3 * len(labels) // _BATCH)
    unfreeze(model, groups, len(groups))
    hold(model, groups)
    optimizer = layerwise(keras.optimizers.AdamW(OneCycle(3e-4, steps)), rates_of(groups, 0.6))
    _fit(model, optimizer, images, labels, steps, seed)
    let_go(model)


def _from_scratch(images: np.ndarray, labels: np.ndarray, seed: int) -> keras.Model:
    """As `cifar10_resnet20` learns: Muon, with more steps than fine-tuning takes."""
    model = create_model(SCRATCH, num_classes=10, input_shape=(32, 32, 3))
    steps = max(300, 12 * len(labels) // _BATCH)
    optimizer = ConvMuon(OneCycle(0.02, steps), momentum=0.9, weight_decay=0.05, exclude_layers=["predictions"])
    _fit(model, optimizer, images, labels, steps, seed)
    return model


def _fit(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    images: np.ndarray,
    labels: np.ndarray,
    steps: int,
    seed: int,
) -> None:
    augment = make_augment(_AUGMENT)
    batches = (
        tf.data.Dataset.from_tensor_slices((images, labels))
        .shuffle(len(labels), seed=seed)
        .repeat()
        .batch(min(_BATCH, len(labels)))
        .enumerate()
        .map(lambda step, batch: (augment(batch[0], tf.stack([tf.cast(seed, tf.int64), step])), batch[1]))
        .prefetch(2)
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(batches, steps_per_epoch=steps, epochs=1, verbose=0)


EXPERIMENT = Experiment(
    title="Few images a class (CIFAR-10)",
    question="How many images of a class are enough, and what is to be learned from them?",
    claim="Pre-trained features beat learning from nothing at every size; with more images fine-tuning passes them.",
    finding="Holds: with one image a class what was pre-trained is about twice as good as what learned from nothing, "
    "and ten images a class are worth more to it than a hundred to the other. Fine-tuning is ahead of frozen "
    "features at every size, from ten images on by nearly four points.",
    metric="test accuracy",
    cases=CASES,
    run=run,
    data="CIFAR-10, first 2,000 test images",
    sizes=SIZES,
    size_name="images a class",
)
