"""Random distortions of training batches with Keras' own layers, repeatable: batch b of epoch e always gets the same
ones."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from kapps.training.recipe import AugmentSpec


class _SeedOfStep(keras.random.SeedGenerator):
    """Hands Keras' layers seeds that follow from one tensor instead of from a counter in a variable.

    A counter would go on counting while batches are prefetched, and start again from zero after a resume; a seed that
    is a function of (recipe's seed, epoch, batch) makes a resumed run see what the uninterrupted one saw.
    """

    def __init__(self, seed: tf.Tensor):  # no super().__init__(): that would make the variable
        self.seed, self.drawn = seed, 0

    def next(self, ordered: bool = True) -> tf.Tensor:
        self.drawn += 1
        return tf.random.experimental.stateless_fold_in(self.seed, self.drawn)


def make_augment(spec: AugmentSpec) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A function (images [B, H, W, C] float32, seed [2] int) -> distorted images of the same shape.

    Uncovered corners are filled with the nearest pixel, so the background stays what the preprocessing made of it.
    """
    kinds = keras.layers
    layers: list[keras.layers.Layer] = []
    if spec.flip:
        layers.append(kinds.RandomFlip("horizontal"))
    if spec.rotate:
        layers.append(kinds.RandomRotation(spec.rotate / 360, fill_mode="nearest"))
    if spec.zoom:
        layers.append(kinds.RandomZoom(spec.zoom, spec.zoom, fill_mode="nearest"))
    if spec.shear:
        layers.append(kinds.RandomShear(spec.shear, spec.shear, fill_mode="nearest"))
    if spec.shift:
        layers.append(kinds.RandomTranslation(spec.shift, spec.shift, fill_mode="nearest"))
    if spec.contrast:
        layers.append(kinds.RandomContrast(spec.contrast, value_range=(-10.0, 10.0)))  # preprocessed values, not 0..255

    def augment(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        for index, layer in enumerate(layers):
            seeds = _SeedOfStep(tf.random.experimental.stateless_fold_in(seed, index))
            transformation = layer.get_random_transformation(images, training=True, seed=seeds)
            shape = images.shape
            images = layer.transform_images(images, transformation, training=True)
            images = tf.ensure_shape(images, shape)
        return images

    return augment
