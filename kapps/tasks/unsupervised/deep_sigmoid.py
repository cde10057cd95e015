"""Vanishing gradients: a deep net of sigmoid units, and three ways to make it learn all the same.

    kapps train deep_sigmoid --data-dir DIR --seeds 5

Six hidden layers of 300 units on MNIST: sigmoid units as they are; after greedy learning as denoising autoencoders;
with batch normalisation before the sigmoid; and ReLU instead. All learn with the same gradient descent with momentum,
as many epochs. Each run keeps the norm of the loss' gradient by every layer's weights, over the same 500 training
digits, before the first step and after every epoch: the picture shows them. A run takes up to three minutes on two
cores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kapps.architectures.unsupervised.stacked import StackedAutoencoder, StackedConfig
from kapps.tasks.experiments import Experiment
from kapps.tasks.unsupervised.mnist import digits
from kapps.training.callbacks import written_whole
from kapps.training.plots import COLOURS, INK

CASES = ("sigmoid", "sigmoid, pre-trained", "sigmoid, batch norm", "ReLU")

TRAIN, TEST = 60_000, 10_000
HIDDEN = (300,) * 6
LAYER_EPOCHS = 5
EPOCHS = 10
BATCH = 100
RATE, MOMENTUM = 0.02, 0.9

# Training digits over which gradients are measured.
LOOKED_AT = 500


def run(
    case: str,
    seed: int,
    *,
    data_dir: Path | None,
    folder: Path,
    report: Callable[[str], None],
    taught: int = TRAIN,
    tested: int = TEST,
    hidden: Sequence[int] = HIDDEN,
    layer_epochs: int = LAYER_EPOCHS,
    epochs: int = EPOCHS,
) -> dict[str, Any]:
    """Train one net; `value` is its test accuracy.

    Args:
        case: one of `CASES`.
        taught, tested: digits to learn from and to measure on.
        hidden: units of each layer.
        layer_epochs: of each layer without labels, where it is pre-trained.
        epochs: with labels.

    Returns:
        `value`, `parts`; `layers`, their names; `gradients`, a row for the start and one for each epoch with the norm
        for every layer; `history`, the test accuracy after each epoch.
    """
    images, labels = digits("train", taught, data_dir)
    test = digits("test", tested, data_dir)
    if case == "sigmoid, pre-trained":
        stack = StackedAutoencoder(images.shape[1:], StackedConfig(hidden=tuple(hidden), seed=seed))
        stack.pretrain(images, epochs=layer_epochs, batch_size=BATCH, verbose=0)
        model = stack.to_mlp(10)
    else:
        model = network(case, images.shape[1:], hidden)
    model.compile(keras.optimizers.SGD(RATE, momentum=MOMENTUM), "sparse_categorical_crossentropy", jit_compile=False)
    watch = _Watch((images[:LOOKED_AT], labels[:LOOKED_AT]), test, report)
    model.fit(images, labels, batch_size=BATCH, epochs=epochs, callbacks=[watch], verbose=0)
    first, last = (row[0] / row[-2] for row in (watch.gradients[0], watch.gradients[-1]))
    result = {
        "value": watch.accuracies[-1],
        "parts": {"first hidden gradient over last, at the start": first, "the same at the end": last},
        "layers": [layer.name for layer in weighted(model)],
        "gradients": watch.gradients,
        "history": watch.accuracies,
    }
    plot_gradients({case: [result]}, folder / "gradients.png")
    return result


def network(case: str, data_shape: tuple[int, ...], hidden: Sequence[int]) -> keras.Model:
    """Dense layers `hidden1`, ... and `predictions`, ten classes: one of `CASES` that starts at random."""
    activation = "relu" if case == "ReLU" else "sigmoid"
    start = "he_normal" if case == "ReLU" else "glorot_uniform"
    inputs = keras.Input(data_shape, name="image")
    x = keras.layers.Flatten(name="values")(inputs)
    for number, units in enumerate(hidden, start=1):
        x = keras.layers.Dense(units, kernel_initializer=start, name=f"hidden{number}")(x)
        if case == "sigmoid, batch norm":
            x = keras.layers.BatchNormalization(name=f"normalised{number}")(x)
        x = keras.layers.Activation(activation, name=f"active{number}")(x)
    return keras.Model(inputs, keras.layers.Dense(10, "softmax", name="predictions")(x), name="deep_net")


def weighted(model: keras.Model) -> list[keras.layers.Dense]:
    """The layers with matrices of weights, from the data on."""
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]


def gradient_norms(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> list[float]:
    """The norm of the mean loss' gradient by each layer's matrix, as training sees it; the model is not changed."""
    kept = [variable.numpy() for variable in model.non_trainable_variables]  # a look moves batch norm's averages
    kernels = [layer.kernel for layer in weighted(model)]
    with tf.GradientTape() as tape:
        losses = keras.losses.sparse_categorical_crossentropy(labels, model(images, training=True))
        loss = tf.reduce_mean(losses)
    norms = [float(tf.norm(gradient)) for gradient in tape.gradient(loss, kernels)]
    for variable, value in zip(model.non_trainable_variables, kept, strict=True):
        variable.assign(value)
    return norms


class _Watch(keras.callbacks.Callback):
    """Gradients before the first step and after each epoch, and the test accuracy after each."""

    def __init__(
        self,
        looked_at: tuple[np.ndarray, np.ndarray],
        test: tuple[np.ndarray, np.ndarray],
        report: Callable[[str], None],
    ):
        super().__init__()
        self.looked_at, self.test, self.report = looked_at, test, report
        self.gradients: list[list[float]] = []
        self.accuracies: list[float] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.gradients.append(gradient_norms(self.model, *self.looked_at))
        self.report("gradients at the start " + " ".join(f"{norm:.2e}" for norm in self.gradients[0]))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.gradients.append(gradient_norms(self.model, *self.looked_at))
        images, labels = self.test
        scores = [self.model(images[start : start + 1000], training=False) for start in range(0, len(images), 1000)]
        self.accuracies.append(float((np.concatenate(scores).argmax(axis=1) == labels).mean()))
        norms = " ".join(f"{norm:.2e}" for norm in self.gradients[-1])
        self.report(f"epoch {epoch + 1}: accuracy {self.accuracies[-1]:.4f}, gradients {norms}")


def plot_gradients(results: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Gradients by layer at the start, and of the first layer by epoch: the median, and the range over the seeds.

    Args:
        results: case -> what its runs returned.
        path: the PNG to write.
    """
    figure = Figure(figsize=(11, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for case, runs in results.items():
        # A case keeps its colour, whichever others are drawn.
        colour = COLOURS[CASES.index(case) if case in CASES else len(CASES)]
        norms = np.array([run["gradients"] for run in runs])  # [runs, 1 + epochs, layers]
        layers, epochs = np.arange(1, norms.shape[2] + 1), np.arange(norms.shape[1])
        for axis, x, values in ((left, layers, norms[:, 0]), (right, epochs, norms[:, :, 0])):
            axis.plot(x, np.median(values, axis=0), "o-", color=colour, label=case, markersize=4, linewidth=1.5)
            axis.fill_between(x, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
        names = [name.removeprefix("hidden") for name in runs[0]["layers"]]
        left.set_xticks(layers, [*names[:-1], "out"])
    for axis, name, what in ((left, "layer", "before the first step"), (right, "epoch", "of the first layer")):
        axis.set_yscale("log")
        axis.set_xlabel(name, color=INK)
        axis.set_ylabel(f"norm of the gradient {what}", color=INK)
        axis.grid(visible=True, color="#e6e6e6", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=8)
    figure.suptitle("Gradients in a deep net", color=INK, fontsize=11)
    FigureCanvasAgg(figure)
    with written_whole(path) as part:
        figure.savefig(part, dpi=110, format="png", metadata={"Software": None})


EXPERIMENT = Experiment(
    title="Vanishing gradients in six hidden layers, and what helps (MNIST, 300 units each)",
    question="Why does a deep net of sigmoid units not learn, and what makes it learn?",
    claim="From layer to layer downwards the gradient shrinks, so that the lower layers stay as they are. Greedy "
    "learning without labels, batch normalisation or ReLU let the same depth learn.",
    finding="Holds: before the first step the first layer's gradient is less than a thousandth of the last hidden "
    "one's, and after ten epochs the net still answers one class. With either of the three remedies the same depth "
    "learns; ReLU comes furthest.",
    metric="test accuracy",
    cases=CASES,
    run=run,
    data="mnist",
    plot=plot_gradients,
)
