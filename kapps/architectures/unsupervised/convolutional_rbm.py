"""The convolutional restricted Boltzmann machine: small detectors shared by all places, with probabilistic max pooling.

Idea: an RBM whose hidden units are maps. All units of a map have the same small kernel, so what is learned at one place
is known everywhere; a block of detectors shares one pooling unit, and at most one of them is on.

    step        what                                                       shape (28x28 images, 24 kernels of 9x9)
    visible     v                                                          [28, 28, 1]
    detectors   I = v (*) W + c, a multinomial unit for each block         [20, 20, 24]
    pooling     P(p = 0) = 1 / (1 + sum over the block of exp(I))          [10, 10, 24]
    down        P(v = 1) = sigmoid(h * W + b)                              [28, 28, 1]

(*) is the "valid" correlation, * the "full" convolution. Energies, with Bernoulli and with Gaussian visible units:

    E(v, h) = - sum h (v (*) W + c) - b sum v                        every block with at most one h on
    E(v, h) = - sum h (v (*) W + c) - b sum v + 1/2 sum v^2          then v given h is normal, of deviation 1
    F(v)    = - b sum v [+ 1/2 sum v^2] - sum over the blocks of log(1 + sum exp(I))

Learning is contrastive divergence: down the gradient of F(v) - F(v'), where v' is what k steps of Gibbs sampling make
of v. All sums over places are means, so that the learning rate does not depend on the size of the images. Sparsity
moves each map's bias by `sparsity_cost` (`sparsity_target` - its mean activity).

Spectrograms [time, frequencies, 1] take a kernel over all frequencies, `kernel=(6, None)`, and blocks of time,
`pool=(3, 1)`: the maps are then sequences (Lee, Largman, Pham, Ng: "Unsupervised feature learning for audio
classification using convolutional deep belief networks", NIPS 2009).

Paper: Lee, Grosse, Ranganath, Ng: "Convolutional deep belief networks for scalable unsupervised learning of
hierarchical representations", ICML 2009, sections 3.2 and 3.3.

Deviations: one visible bias a channel, as in the paper, but it starts at what the data's mean asks for. With Gaussian
units data are standardised by each channel's mean and deviation, found at the first `fit`. Units at the border of an
image are in fewer fields than those within; the paper's photographs had margins, here nothing is done about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.feature_learner import FeatureLearner
from kapps.errors import DataError, RecipeError
from kapps.layers.probabilistic_max_pooling import ProbabilisticMaxPooling

VISIBLE_UNITS = ("bernoulli", "gaussian")


@dataclass(frozen=True)
class ConvolutionalRBMConfig:
    """What a convolutional RBM may differ in.

    Attributes:
        filters: kernels, and so maps.
        kernel: height and width of a kernel; None = the whole side of the data, e.g. all frequencies.
        pool: height and width of a block; (1, 1) = no pooling.
        visible_units: `"bernoulli"` for data from 0 to 1, `"gaussian"` for any numbers.
        steps: k of CD-k.
        learning_rate: of the default optimizer, SGD.
        momentum: of the same.
        weight_decay: each step takes this times the learning rate from the kernels.
        sparsity_target: the mean activity that a detector shall have; None = no sparsity.
        sparsity_cost: how strongly, in units of the learning rate.
        seed: of the first weights and of the sampling.
    """

    filters: int = 24
    kernel: tuple[int | None, int | None] = (9, 9)
    pool: tuple[int, int] = (2, 2)
    visible_units: str = "bernoulli"
    steps: int = 1
    learning_rate: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 1e-4
    sparsity_target: float | None = None
    sparsity_cost: float = 0.3
    seed: int = 0


VARIANTS = {
    "convolutional_rbm": ConvolutionalRBMConfig(sparsity_target=0.03),
    "gaussian_convolutional_rbm": ConvolutionalRBMConfig(
        visible_units="gaussian", learning_rate=0.02, sparsity_target=0.03
    ),
}


@keras.saving.register_keras_serializable("kapps")
class ConvolutionalRBM(FeatureLearner):
    """An RBM of maps. Codes are P(p = 1), float32 [B, rows, columns, filters].

    Args:
        data_shape: (height, width, channels); of a spectrogram (time, frequencies, 1).
        config: see `ConvolutionalRBMConfig`.

    Attributes:
        W: kernels [height, width, channels, filters].
        b: visible biases [channels].
        c: hidden biases [filters].
        hidden_shape: of the detectors, [H, W, filters].
        code_shape: of the codes.

    Raises:
        RecipeError: a shape without height, width and channels, a kernel larger than the data, blocks that do not
            divide the maps, an unknown kind of units, or numbers out of their range.
    """

    CONFIG = ConvolutionalRBMConfig

    def __init__(self, data_shape: tuple[int, ...], config: ConvolutionalRBMConfig | None = None, **kwargs: Any):
        super().__init__(data_shape, config, **kwargs)
        kernel, maps = self._sizes()
        channels, filters = self.data_shape[2], self.config.filters
        self.check_memory(kernel[0] * kernel[1] * channels * filters)
        self.bounded = self.config.visible_units == "bernoulli"
        self.kernel = kernel
        self.hidden_shape = (*maps, filters)
        self.code_shape = (maps[0] // self.config.pool[0], maps[1] // self.config.pool[1], filters)
        self.seeds = keras.random.SeedGenerator(self.config.seed)
        start = keras.initializers.RandomNormal(stddev=0.01, seed=self.config.seed)
        self.W = self.add_weight(shape=(*kernel, channels, filters), initializer=start, name="W")
        self.b = self.add_weight(shape=(channels,), initializer="zeros", name="b")
        self.c = self.add_weight(shape=(filters,), initializer="zeros", name="c")
        # What Gaussian units are standardised by; 0 and 1 with Bernoulli units.
        self.mean = self.add_weight(shape=(channels,), initializer="zeros", trainable=False, name="mean")
        self.deviation = self.add_weight(shape=(channels,), initializer="ones", trainable=False, name="deviation")
        self.started = self.add_weight(shape=(), initializer="zeros", trainable=False, name="started")
        self.pooling = ProbabilisticMaxPooling(self.config.pool, name="pooling")
        self.pooling.build((None, *self.hidden_shape))
        self.reconstruction_error = keras.metrics.Mean(name="reconstruction_error")
        self.activity = keras.metrics.Mean(name="activity")
        self.built = True

    # ---- the conditional distributions; v is standardised where the units are Gaussian

    def signals(self, v: tf.Tensor) -> tf.Tensor:
        """I, what the detectors get from below: [B, *data_shape] -> [B, *hidden_shape]."""
        return tf.nn.conv2d(v, tf.convert_to_tensor(self.W), strides=1, padding="VALID") + self.c

    def hidden_probabilities(self, v: tf.Tensor) -> tf.Tensor:
        """P(h = 1) given v: [B, *data_shape] -> [B, *hidden_shape]."""
        return self.pooling.detectors(self.signals(v))

    def sample_hidden(self, signals: tf.Tensor) -> tf.Tensor:
        """Detectors drawn given their signals: 0 or 1, [B, *hidden_shape]."""
        return self.pooling.sample(signals, seed=self.seeds)[0]

    def visible_mean(self, h: tf.Tensor) -> tf.Tensor:
        """The mean of v given the detectors: [B, *hidden_shape] -> [B, *data_shape]."""
        shape = tf.concat([tf.shape(h)[:1], self.data_shape], axis=0)
        signals = tf.nn.conv2d_transpose(h, tf.convert_to_tensor(self.W), shape, strides=1, padding="VALID") + self.b
        signals = tf.ensure_shape(signals, (None, *self.data_shape))
        return signals if self.config.visible_units == "gaussian" else tf.sigmoid(signals)

    def sample_visible(self, mean: tf.Tensor) -> tf.Tensor:
        """v drawn around its mean [B, *data_shape]: bits, or normal with deviation 1."""
        if self.config.visible_units == "gaussian":
            return mean + keras.random.normal(tf.shape(mean), seed=self.seeds)
        return tf.cast(keras.random.uniform(tf.shape(mean), seed=self.seeds) < mean, tf.float32)

    def gibbs_step(self, v: tf.Tensor) -> tf.Tensor:
        """One step of block Gibbs sampling, v to h to v: [B, *data_shape]."""
        return self.sample_visible(self.visible_mean(self.sample_hidden(self.signals(v))))

    def free_energy(self, v: tf.Tensor) -> tf.Tensor:
        """F(v) = -log of the sum over all h of exp(-E(v, h)): [B, *data_shape] -> [B]."""
        rows, columns, filters = self.code_shape
        height, width = self.config.pool
        signals = tf.reshape(self.signals(v), (-1, rows, height, columns, width, filters))
        signals = tf.reshape(tf.transpose(signals, (0, 1, 3, 5, 2, 4)), (-1, rows * columns * filters, height * width))
        nothing = tf.zeros_like(signals[..., :1])
        of_blocks = tf.reduce_logsumexp(tf.concat([signals, nothing], axis=-1), axis=-1)
        energy = -tf.reduce_sum(self.b * v, axis=(1, 2, 3)) - tf.reduce_sum(of_blocks, axis=1)
        if self.config.visible_units == "gaussian":
            energy += tf.reduce_sum(tf.square(v), axis=(1, 2, 3)) / 2
        return energy

    # ---- learning

    def train_step(self, data: Any) -> dict[str, Any]:
        v, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        v = self.standardise(tf.cast(v, tf.float32))
        signals = self.signals(v)
        h = self.pooling.detectors(signals)
        reconstruction, fantasy = self.contrast(signals)
        gradients = self.gradients(v, h, fantasy, self.hidden_probabilities(fantasy))
        self.optimizer.apply_gradients(zip(gradients, (self.W, self.b, self.c), strict=True))
        self.reconstruction_error.update_state(tf.reduce_mean(tf.square(v - reconstruction)))
        self.activity.update_state(tf.reduce_mean(h))
        return self.get_metrics_result()

    def contrast(self, signals: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """v after the first and after the last of k steps of Gibbs sampling, from I of the data.

        Both are means [B, *data_shape], not drawn: drawing the last v would only add noise to the gradient.
        """
        first = mean = self.visible_mean(self.sample_hidden(signals))
        for _ in range(self.config.steps - 1):
            mean = self.visible_mean(self.sample_hidden(self.signals(self.sample_visible(mean))))
        return first, mean

    def gradients(
        self, v: tf.Tensor, h: tf.Tensor, fantasy: tf.Tensor, its_h: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What is to be taken from W, b and c: the gradient of F(v) - F(fantasy), weight decay and sparsity.

        Args:
            v, fantasy: [B, *data_shape].
            h, its_h: P(h = 1) given them, [B, *hidden_shape].
        """
        w_data, b_data, c_data = self._statistics(v, h)
        w_model, b_model, c_model = self._statistics(fantasy, its_h)
        of_w = w_model - w_data + self.config.weight_decay * self.W
        of_c = c_model - c_data
        if self.config.sparsity_target is not None:
            of_c -= self.config.sparsity_cost * (self.config.sparsity_target - c_data)
        return of_w, b_model - b_data, of_c

    def _statistics(self, v: tf.Tensor, h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Means over batch and places of v h, of v and of h: [height, width, C, K], [C] and [K]."""
        together = tf.raw_ops.Conv2DBackpropFilter(
            input=v, filter_sizes=tuple(self.W.shape), out_backprop=h, strides=[1, 1, 1, 1], padding="VALID"
        )
        places = tf.cast(tf.size(h) // self.config.filters, tf.float32)
        return together / places, tf.reduce_mean(v, axis=(0, 1, 2)), tf.reduce_mean(h, axis=(0, 1, 2))

    def initialise_from(self, x: Any) -> None:
        """Take the visible biases from the data: log(p / (1 - p)); Gaussian units take mean and deviation instead.

        `fit` does it once, at the first fit; of a stream with the first batch.

        Raises:
            DataError: Gaussian units and a channel that is constant.
        """
        x = np.asarray(x)
        mean = x.mean(axis=(0, 1, 2), dtype="float64")
        if self.config.visible_units == "gaussian":
            deviation = x.std(axis=(0, 1, 2), dtype="float64")
            constant = int((deviation < 1e-6).sum())
            if constant:
                raise DataError(
                    f"{type(self).__name__}: expected data that vary, got {constant} constant of {len(deviation)} "
                    f"channels, which cannot be standardised: leave them out"
                )
            self.mean.assign(mean)
            self.deviation.assign(deviation)
        else:
            mean = np.clip(mean, 0.001, 0.999)
            self.b.assign(np.log(mean / (1 - mean)))
        self.started.assign(1.0)

    def fit(self, x: Any, y: Any = None, **kwargs: Any) -> Any:
        """Learn from data; see `FeatureLearner.fit`. Labels are not used."""
        if not float(self.started):
            if isinstance(x, tf.data.Dataset):
                for batch in x.take(1):
                    self.initialise_from(self.check(batch[0] if isinstance(batch, tuple) else batch, least=1))
            else:
                self.initialise_from(self.check(x))
        return super().fit(x, y, **kwargs)

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        return keras.optimizers.SGD(self.config.learning_rate, momentum=self.config.momentum)

    # ---- codes

    def standardise(self, x: tf.Tensor) -> tf.Tensor:
        """Data [B, *data_shape] as the visible units see them."""
        return (x - self.mean) / self.deviation

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.pooling(self.signals(self.standardise(inputs)))

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        """The data's mean, each pooling unit's activity shared evenly by its detectors: which was on is not known."""
        return self.visible_mean(self.pooling.unpool(codes)) * self.deviation + self.mean

    def reconstruct(self, x: Any) -> np.ndarray:
        """Up and down once by probabilities, the places of the detectors kept: numpy [N, *data_shape]."""

        def up_and_down(inputs: tf.Tensor) -> tf.Tensor:
            h = self.hidden_probabilities(self.standardise(inputs))
            return self.visible_mean(h) * self.deviation + self.mean

        return self._in_batches(tf.function(up_and_down), self.check(x, least=1), 500)

    def gibbs(self, x: Any, steps: int = 1) -> np.ndarray:
        """Where `steps` of Gibbs sampling lead from data: numpy [N, *data_shape]."""
        step = tf.function(self.gibbs_step)
        v = self.standardise(tf.constant(self.check(x, least=1)))
        for _ in range(steps):
            v = step(v)
        return (v * self.deviation + self.mean).numpy()

    @property
    def components_(self) -> np.ndarray:
        """The kernels, float32 [filters, height, width, channels]."""
        return np.transpose(self.W.numpy(), (3, 0, 1, 2))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.reconstruction_error, self.activity]

    def _sizes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Height and width of a kernel and of a map."""
        name, config = type(self).__name__, self.config
        if len(self.data_shape) != 3:
            raise RecipeError(f"{name}: expected data [height, width, channels], got {list(self.data_shape)}: add axes")
        if config.visible_units not in VISIBLE_UNITS:
            raise RecipeError(
                f"{name}: expected visible_units of {' or '.join(VISIBLE_UNITS)}, got {config.visible_units!r}"
            )
        low = {"filters": config.filters, "steps": config.steps, "pool": min(config.pool)}
        for what, value in low.items():
            if value < 1:
                raise RecipeError(f"{name}: expected {what} of at least 1, got {value}")
        for what in ("learning_rate", "momentum", "weight_decay", "sparsity_cost"):
            if not getattr(config, what) >= 0:
                raise RecipeError(f"{name}: expected {what} of at least 0, got {getattr(config, what)}")
        if config.sparsity_target is not None and not 0 < config.sparsity_target < 1:
            raise RecipeError(f"{name}: expected sparsity_target between 0 and 1, got {config.sparsity_target}")
        sides = self.data_shape[:2]
        kernel = tuple(side if size is None else size for size, side in zip(config.kernel, sides, strict=True))
        if min(kernel) < 1 or any(size > side for size, side in zip(kernel, sides, strict=True)):
            raise RecipeError(f"{name}: expected a kernel that fits into {sides[0]}x{sides[1]}, got {config.kernel}")
        maps = tuple(side - size + 1 for size, side in zip(kernel, sides, strict=True))
        if any(size % block for size, block in zip(maps, config.pool, strict=True)):
            raise RecipeError(
                f"{name}: expected blocks that divide the maps of {maps[0]}x{maps[1]}, got {config.pool[0]}x"
                f"{config.pool[1]}: change the kernel, the blocks or the size of the data"
            )
        return (kernel[0], kernel[1]), (maps[0], maps[1])


LEARNER = ConvolutionalRBM
