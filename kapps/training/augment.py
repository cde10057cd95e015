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


def _shift_whole_pixels(images: tf.Tensor, largest: int, seed: tf.Tensor) -> tf.Tensor:
    """Each image moved by -largest to +largest rows and columns, zeros where it was: a random piece of it in a border.

    Args:
        images: [B, H, W, C].
        seed: [2].
    """
    batch, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    corners = tf.random.stateless_uniform([2, batch, 1], seed, 0, 2 * largest + 1, tf.int32)
    framed = tf.pad(images, [[0, 0], [largest, largest], [largest, largest], [0, 0]])
    rows = tf.gather(framed, corners[0] + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(rows, corners[1] + tf.range(width), axis=2, batch_dims=1)


def make_augment(spec: AugmentSpec) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A function (images [B, H, W, C] float32, seed [2] int) -> distorted images of the same shape.

    Uncovered corners are filled with the nearest pixel, so the background stays what the preprocessing made of it;
    only `crop` puts zeros there.
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
        if spec.crop:
            seeds = tf.random.experimental.stateless_fold_in(seed, len(layers))
            images = tf.ensure_shape(_shift_whole_pixels(images, spec.crop, seeds), images.shape)
        return images

    return augment
