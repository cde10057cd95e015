"""The convolutional autoencoder: a code of maps, and the way back by the same kernels turned around.

Idea: neighbouring pixels belong together, and a feature may be anywhere. So the code is found by small kernels that
slide over the image, and the image is made again by the transposed convolutions.

    stage    what                                                        output          numbers (28x28x1)
    maps1    s(x * W1 + c1), 5x5, every second place                     [14, 14, 16]      416
    maps2    s(maps1 * W2 + c2), 5x5, every second place                 [7, 7, 32]     12,832
    again1   s(maps2 *T W2 + b2), *T being the transposed convolution    [14, 14, 16]       16
    output   t(again1 *T W1 + b1)                                        [28, 28, 1]         1

The objective is that of `autoencoder`: cross-entropy for t sigmoid, squared error for t linear, from damaged inputs
where a corruption is chosen. A stage halves both sides, odd ones rounded up.

Paper: Masci, Meier, Cireşan, Schmidhuber: "Stacked convolutional auto-encoders for hierarchical feature extraction",
ICANN 2011, section 3.

Deviations: strides instead of max-pooling, so that the code alone gives the image back, without the places of the
maxima; all stages learn at once; ReLU and Adam, where the paper has scaled tanh and gradient descent.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.autoencoder import (
    ACTIVATIONS,
    OUTPUTS,
    ReconstructionLearner,
    as_output,
    reconstruction_loss,
)
from kapps.errors import RecipeError
from kapps.layers.corruption import corruption

# A stage takes every second place, in both directions.
_STRIDE = 2


@dataclass(frozen=True)
class ConvolutionalAutoencoderConfig:
    """Stages, and what is damaged.

    Attributes:
        maps: of each stage, from the image on.
        kernel: side of the kernels.
        activation: s: `"relu"`, `"sigmoid"`, `"tanh"` or `"linear"`.
        output: t: `"sigmoid"` for images in [0, 1], `"linear"` for any.
        tied: decode with the encoder's kernels, turned around.
        corruption: of the input in training: `"none"`, `"masking"`, `"salt_and_pepper"` (for images in [0, 1]) or
            `"gaussian"`.
        corruption_level: the probability that a value is damaged, or the standard deviation of Gaussian noise.
        learning_rate: of Adam, where `fit` comes without `compile`.
        seed: of the weights and of the corruption.
    """

    maps: tuple[int, ...] = (16, 32)
    kernel: int = 5
    activation: str = "relu"
    output: str = "sigmoid"
    tied: bool = True
    corruption: str = "none"
    corruption_level: float = 0.25
    learning_rate: float = 1e-3
    seed: int = 0


VARIANTS = {"convolutional_autoencoder": ConvolutionalAutoencoderConfig()}


@keras.saving.register_keras_serializable("kapps")
class ConvolutionalAutoencoder(ReconstructionLearner):
    """Images [B, h, w, C] -> maps, float32 [B, h / 2^n, w / 2^n, maps[-1]] with n stages.

    Args:
        data_shape: (h, w, C).
        config: see `ConvolutionalAutoencoderConfig`.

    Attributes:
        shapes: of the image and of every stage's maps, n + 1 in all.
        kernels: of every stage, [k, k, maps below, maps].
        decoder_kernels: the same where weights are tied, else others of the same shapes.

    Raises:
        RecipeError: a value of the configuration that makes no sense, no images, or more weights than the machine can
            hold.
        UnknownNameError: no corruption has this name.
    """

    CONFIG = ConvolutionalAutoencoderConfig

    def __init__(
        self, data_shape: tuple[int, ...], config: ConvolutionalAutoencoderConfig | None = None, **kwargs: object
    ):
        super().__init__(data_shape, config, **kwargs)
        config = self.config
        _check_config(config, self.data_shape)
        self.noise = corruption(config.corruption, config.corruption_level, seed=config.seed + 1)
        self.bounded = config.output == "sigmoid"
        sizes = (self.data_shape[2], *config.maps)
        pairs = list(zip(sizes, config.maps, strict=False))
        self.check_memory(config.kernel**2 * sum(below * above for below, above in pairs) * (1 if config.tied else 2))
        shapes = [self.data_shape]
        for maps in config.maps:
            height, width, _ = shapes[-1]
            shapes.append((-(-height // _STRIDE), -(-width // _STRIDE), maps))
        self.shapes = tuple(shapes)

        def make(name: str, seed: int) -> list[keras.Variable]:
            return [
                self.add_weight(
                    name=f"{name}{stage}",
                    shape=(config.kernel, config.kernel, below, above),
                    initializer=keras.initializers.GlorotUniform(seed=seed + stage),
                )
                for stage, (below, above) in enumerate(pairs, start=1)
            ]

        self.kernels = make("W", config.seed)
        self.decoder_kernels = self.kernels if config.tied else make("U", config.seed + 100)
        self.code_biases = [
            self.add_weight(name=f"c{stage}", shape=(above,), initializer="zeros")
            for stage, (_, above) in enumerate(pairs, start=1)
        ]
        self.output_biases = [
            self.add_weight(name=f"b{stage}", shape=(below,), initializer="zeros")
            for stage, (below, _) in enumerate(pairs, start=1)
        ]
        self.built = True

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps of the last stage: [B, h, w, C] -> [B, h / 2^n, w / 2^n, maps[-1]]."""
        function, _ = ACTIVATIONS[self.config.activation]
        x = tf.cast(inputs, self.compute_dtype)
        for kernel, bias in zip(self.kernels, self.code_biases, strict=True):
            x = tf.nn.conv2d(x, tf.convert_to_tensor(kernel), strides=_STRIDE, padding="SAME")
            x = function(tf.nn.bias_add(x, bias))
        return x

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        """The image that maps stand for: [B, h / 2^n, w / 2^n, maps[-1]] -> [B, h, w, C]."""
        return as_output(self._scores(codes), self.config.output)

    def objective(self, x: tf.Tensor, seen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        scores = self._scores(self.encode(seen))
        loss = tf.reduce_mean(reconstruction_loss(x, scores, self.config.output))
        return loss, as_output(scores, self.config.output)

    @property
    def components_(self) -> np.ndarray:
        """The first stage's kernels, float32 [maps[0], k, k, C]."""
        return self.kernels[0].numpy().transpose(3, 0, 1, 2)

    def _scores(self, codes: tf.Tensor) -> tf.Tensor:
        """The image before t."""
        function, _ = ACTIVATIONS[self.config.activation]
        x = tf.cast(codes, self.compute_dtype)
        for stage in reversed(range(len(self.kernels))):
            x = tf.nn.conv2d_transpose(
                x,
                tf.convert_to_tensor(self.decoder_kernels[stage]),
                output_shape=[tf.shape(x)[0], *self.shapes[stage]],
                strides=_STRIDE,
                padding="SAME",
            )
            x = tf.nn.bias_add(x, self.output_biases[stage])
            x = function(x) if stage else x
        return x


def _check_config(config: ConvolutionalAutoencoderConfig, data_shape: tuple[int, ...]) -> None:
    def expect(right: bool, field: str, expected: str) -> None:
        if not right:
            got = getattr(config, field)
            raise RecipeError(f"convolutional_autoencoder: expected {expected} as {field}, got {got!r}")

    if len(data_shape) != 3:
        raise RecipeError(
            f"convolutional_autoencoder: expected images (h, w, channels) as data_shape, got {data_shape}: reshape them"
        )
    expect(len(config.maps) > 0 and min(config.maps) >= 1, "maps", "a number of at least 1 for each stage")
    expect(config.kernel >= 1, "kernel", "a side of at least 1")
    expect(config.activation in ACTIVATIONS, "activation", " or ".join(ACTIVATIONS))
    expect(config.output in OUTPUTS, "output", " or ".join(OUTPUTS))
    expect(0 < config.learning_rate < np.inf, "learning_rate", "a number over 0")
    if config.corruption == "salt_and_pepper" and config.output != "sigmoid":
        raise RecipeError(
            "convolutional_autoencoder: expected images in [0, 1], so sigmoid outputs, for salt and pepper, got linear "
            "ones: take gaussian or masking"
        )


LEARNER = ConvolutionalAutoencoder
