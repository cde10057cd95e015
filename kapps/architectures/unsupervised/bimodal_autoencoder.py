"""The bimodal deep autoencoder: an image and a sound through one code, from which either brings back both.

Idea: what is seen and what is heard of the same thing are squeezed into one code. In a third of the examples the sound
is missing, in a third the image; both must be reconstructed always. So the code of an image alone has to hold what it
would sound like, and comes to lie where the code of that sound lies.

    layer      what                                                   shape (28x28 image, 32x32 spectrogram)
    row        image and sound, flat, side by side                    [784 + 1,024]
    image1     sigmoid units on the image                             [500]
    sound1     sigmoid units on the sound                             [500]
    code       sigmoid units on both                                  [200]
    and back by layers of their own: code -> [500 + 500] -> [784 + 1,024]

`pretrain` teaches a restricted Boltzmann machine for each layer, from below: one on images, one on sounds, and one on
what the two say of a pair. Unrolled, their weights are the first ones of the way up and, transposed, of the way back.
`fit` then teaches all of it: the cross-entropy of both reconstructions, from rows of which `missing` lack one half,
filled with zeros.

Paper: Ngiam, Khosla, Kim, Nam, Lee, Ng: "Multimodal deep learning", ICML 2011, section 4 and figure 3b.

Deviations: still images and whole words in place of films of lips with sound, so the sizes are ours. The paper's lowest
machines have Gaussian units and sparsity; pixels and log-mel energies lie between 0 and 1 here, and have Bernoulli
units.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.feature_learner import FeatureLearner
from kapps.architectures.unsupervised.rbm import RBM, RBMConfig
from kapps.errors import DataError, RecipeError

# An image and a sound for each example; None for all of one kind that are missing.
Pair = tuple[Any, Any]


@dataclass(frozen=True)
class BimodalAutoencoderConfig:
    """What a bimodal autoencoder may differ in.

    Attributes:
        image_shape: of one image.
        sound_shape: of one sound, e.g. of its spectrogram.
        image_hidden: units of the layers on the image alone, from below.
        sound_hidden: units of the layers on the sound alone.
        code: units of the shared code.
        missing: the share of training examples of which one half is hidden, each half as often; 0 = always both.
        sound_weight: how much the sound's reconstruction counts beside the image's.
        learning_rate: of the default optimizer, Adam.
        seed: of the first weights and of what is hidden.
    """

    image_shape: tuple[int, ...] = (28, 28, 1)
    sound_shape: tuple[int, ...] = (32, 32, 1)
    image_hidden: tuple[int, ...] = (500,)
    sound_hidden: tuple[int, ...] = (500,)
    code: int = 200
    missing: float = 2 / 3
    sound_weight: float = 1.0
    learning_rate: float = 1e-3
    seed: int = 0


VARIANTS = {"bimodal_autoencoder": BimodalAutoencoderConfig()}


@keras.saving.register_keras_serializable("kapps")
class BimodalAutoencoder(FeatureLearner):
    """Rows of an image and a sound to codes, float32 [B, code].

    Wherever data are taken, a pair (images [N, *image_shape], sounds [N, *sound_shape]) does as well as rows; in a pair
    one may be None, which is missing.

    Args:
        data_shape: (numbers in an image + numbers in a sound,).
        config: see `BimodalAutoencoderConfig`.

    Raises:
        RecipeError: a data shape that does not fit the configuration, a layer without units, or numbers out of their
            range.
    """

    CONFIG = BimodalAutoencoderConfig

    def __init__(self, data_shape: tuple[int, ...], config: BimodalAutoencoderConfig | None = None, **kwargs: Any):
        super().__init__(data_shape, config, **kwargs)
        config = self.config
        self.halves = (math.prod(config.image_shape), math.prod(config.sound_shape))
        self._check_config()
        self.bounded = True
        chains = [(self.halves[0], *config.image_hidden), (self.halves[1], *config.sound_hidden)]
        self.joint = (chains[0][-1], chains[1][-1])
        chains.append((sum(self.joint), config.code))
        self.check_memory(2 * sum(a * b for chain in chains for a, b in itertools.pairwise(chain)))
        self.seeds = keras.random.SeedGenerator(config.seed)
        # Ways up and back of the image, of the sound and of both; the ways back are listed from below, too.
        ups: list[list[keras.layers.Dense]] = []
        backs: list[list[keras.layers.Dense]] = []
        seed = itertools.count(config.seed)
        for name, chain in zip(("image", "sound", "code"), chains, strict=True):
            steps = list(enumerate(itertools.pairwise(chain), start=1))
            ups.append([_dense(f"{name}{level}", a, b, next(seed)) for level, (a, b) in steps])
            backs.append([_dense(f"{name}{level}_back", b, a, next(seed)) for level, (a, b) in steps])
        self.ups, self.backs = ups, backs
        self.image_loss = keras.metrics.Mean(name="image_loss")
        self.sound_loss = keras.metrics.Mean(name="sound_loss")
        self.built = True

    # ---- the ways up and back, on rows [B, image + sound]

    def encode(self, inputs: tf.Tensor) -> tf.Tensor:
        image, sound = tf.split(inputs, self.halves, axis=1)
        both = tf.concat([_through(self.ups[0], image), _through(self.ups[1], sound)], axis=1)
        return _through(self.ups[2], both)

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(self.scores(codes))

    def scores(self, codes: tf.Tensor) -> tf.Tensor:
        """The reconstruction before its last sigmoid: [B, code] -> [B, image + sound]."""
        image, sound = tf.split(_through(self.backs[2][::-1], codes), self.joint, axis=1)
        ways = [(self.backs[0], image), (self.backs[1], sound)]
        return tf.concat([way[0](_through(way[:0:-1], half)) for way, half in ways], axis=1)

    # ---- learning

    def hide(self, rows: tf.Tensor) -> tf.Tensor:
        """Rows of which some lost the image or the sound, drawn anew: the same shape, zeros where it is missing."""
        each = self.config.missing / 2
        drawn = keras.random.uniform((tf.shape(rows)[0], 1), seed=self.seeds)
        seen = tf.concat([drawn >= each, drawn < 1 - each], axis=1)  # [B, 2]
        return rows * tf.repeat(tf.cast(seen, rows.dtype), self.halves, axis=1)

    def losses_of(self, shown: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The cross-entropies of image and sound, in nats an example, when `shown` is all that the encoder sees."""
        crossed = tf.nn.sigmoid_cross_entropy_with_logits(labels=rows, logits=self.scores(self.encode(shown)))
        image, sound = tf.split(crossed, self.halves, axis=1)
        return tf.reduce_mean(tf.reduce_sum(image, axis=1)), tf.reduce_mean(tf.reduce_sum(sound, axis=1))

    def train_step(self, data: Any) -> dict[str, Any]:
        rows, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        rows = tf.cast(rows, tf.float32)
        shown = self.hide(rows)
        with tf.GradientTape() as tape:
            image_loss, sound_loss = self.losses_of(shown, rows)
            loss = image_loss + self.config.sound_weight * sound_loss
        weights = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        self.image_loss.update_state(image_loss)
        self.sound_loss.update_state(sound_loss)
        return self.get_metrics_result()

    def pretrain(
        self,
        x: Any,
        *,
        epochs: int = 5,
        batch_size: int = 100,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        **kwargs: Any,
    ) -> list[keras.callbacks.History]:
        """Teach an RBM for each layer, from below, and take its weights for the way up and the way back.

        Args:
            x: pairs, nothing missing, or rows.
            epochs: of each RBM.
            batch_size: examples a step.
            callbacks, kwargs: see `keras.Model.fit`; they see one RBM after the other.

        Returns:
            what their `fit` returned: image, sound, code.

        Raises:
            DataError: as `fit`.
        """
        rows = self.check(self.as_rows(x))
        below = np.split(rows, self.halves[:1], axis=1)
        histories: list[keras.callbacks.History] = []
        for way in range(3):
            codes = below[way] if way < 2 else np.concatenate(below, axis=1)
            for up, back in zip(self.ups[way], self.backs[way], strict=True):
                config = RBMConfig(hidden=up.units, seed=self.config.seed + len(histories))
                rbm = RBM((codes.shape[1],), config)
                histories.append(rbm.fit(codes, epochs=epochs, batch_size=batch_size, callbacks=callbacks, **kwargs))
                up.kernel.assign(rbm.W)
                up.bias.assign(rbm.c)
                back.kernel.assign(rbm.W.numpy().T)
                back.bias.assign(rbm.b)
                codes = rbm.transform(codes)
            if way < 2:
                below[way] = codes
        return histories

    def fit(self, x: Any, y: Any = None, **kwargs: Any) -> Any:
        """Learn from pairs, from rows, or from a stream of batches of rows; see `FeatureLearner.fit`.

        Nothing may be missing: what the network shall do without is hidden in training.
        """
        return super().fit(self.as_rows(x), y, **kwargs)

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        return keras.optimizers.Adam(self.config.learning_rate)

    # ---- pairs

    def join(self, images: Any, sounds: Any) -> np.ndarray:
        """Pairs as rows, zeros where one is None: float32 [N, image + sound].

        Raises:
            DataError: nothing at all, other shapes, or not as many sounds as images.
        """
        halves = []
        shapes = (self.config.image_shape, self.config.sound_shape)
        for what, some, shape in zip(("images", "sounds"), (images, sounds), shapes, strict=True):
            if some is not None:
                some = np.asarray(some, "float32")
                if some.shape[1:] != shape:
                    expected = ", ".join(["N", *map(str, shape)])
                    raise DataError(f"{type(self).__name__}: expected {what} [{expected}], got {list(some.shape)}")
                some = some.reshape(len(some), -1)
            halves.append(some)
        counts = {len(half) for half in halves if half is not None}
        if len(counts) != 1:
            told = " and ".join(map(str, sorted(counts))) or "neither"
            raise DataError(f"{type(self).__name__}: expected as many sounds as images, or one kind alone, got {told}")
        (count,) = counts
        filled = [
            np.zeros((count, size), "float32") if half is None else half
            for half, size in zip(halves, self.halves, strict=True)
        ]
        return np.concatenate(filled, axis=1)

    def split(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows [N, image + sound] as images [N, *image_shape] and sounds [N, *sound_shape]."""
        image, sound = np.split(rows, self.halves[:1], axis=1)
        return image.reshape(-1, *self.config.image_shape), sound.reshape(-1, *self.config.sound_shape)

    def as_rows(self, x: Any) -> Any:
        """A pair as rows; what is no pair as it is."""
        if not isinstance(x, tuple):
            return x
        if len(x) != 2:
            raise DataError(f"{type(self).__name__}: expected a pair (images, sounds), got {len(x)}")
        return self.join(*x)

    def transform(self, x: Any, *, batch_size: int = 1000) -> np.ndarray:
        """The codes of pairs, of which one may be None, or of rows: numpy [N, code]."""
        return super().transform(self.as_rows(x), batch_size=batch_size)

    def reconstruct(self, x: Any) -> tuple[np.ndarray, np.ndarray]:
        """Both images and sounds from pairs, of which one may be None."""
        return self.split(self.inverse_transform(self.transform(x)))

    def encoder(self) -> keras.Model:
        """The way to the code as a functional model with the inputs `image` and `sound`; zeros are what is missing."""
        image = keras.Input(self.config.image_shape, name="image")
        sound = keras.Input(self.config.sound_shape, name="sound")
        flat = [keras.layers.Reshape((size,))(x) for size, x in zip(self.halves, (image, sound), strict=True)]
        codes = self(keras.layers.Concatenate(name="row")(flat))
        return keras.Model({"image": image, "sound": sound}, codes, name=f"{self.name}_encoder")

    @property
    def components_(self) -> np.ndarray:
        """What each unit of the lowest layers looks for: those of the image, then of the sound, as rows [K, .]."""
        image, sound = (self.ups[way][0].kernel.numpy().T for way in (0, 1))
        left = np.pad(image, ((0, 0), (0, self.halves[1])))
        return np.concatenate([left, np.pad(sound, ((0, 0), (self.halves[0], 0)))])

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.image_loss, self.sound_loss]

    def _check_config(self) -> None:
        name, config = type(self).__name__, self.config
        if self.data_shape != (sum(self.halves),):
            raise RecipeError(
                f"{name}: expected rows of {self.halves[0]} + {self.halves[1]} = {sum(self.halves)} numbers, got the "
                f"shape {list(self.data_shape)}: change image_shape or sound_shape"
            )
        units = (*config.image_hidden, *config.sound_hidden, config.code)
        if not config.image_hidden or not config.sound_hidden or min(units) < 1:
            raise RecipeError(f"{name}: expected layers of at least 1 unit on both sides and for the code, got {units}")
        if not 0 <= config.missing <= 1:
            raise RecipeError(f"{name}: expected missing from 0 to 1, got {config.missing}")
        if not config.sound_weight > 0 or not config.learning_rate > 0:
            raise RecipeError(
                f"{name}: expected sound_weight and learning_rate above 0, got {config.sound_weight} and "
                f"{config.learning_rate}"
            )


def _dense(name: str, inputs: int, outputs: int, seed: int) -> keras.layers.Dense:
    layer = keras.layers.Dense(outputs, kernel_initializer=keras.initializers.GlorotUniform(seed=seed), name=name)
    layer.build((None, inputs))
    return layer


def _through(layers: Sequence[keras.layers.Dense], x: tf.Tensor) -> tf.Tensor:
    """Layer after layer, each with a sigmoid."""
    for layer in layers:
        x = tf.sigmoid(layer(x))
    return x


LEARNER = BimodalAutoencoder
