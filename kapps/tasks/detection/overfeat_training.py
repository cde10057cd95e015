"""What OverFeat learns from: windows of images, with an object or without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import keras
import tensorflow as tf

from kapps.boxes.formats import area
from kapps.tasks.detection.network_training import NetworkTraining

if TYPE_CHECKING:
    from kapps.tasks.detection.overfeat_detector import OverFeatDetectorConfig

# A window shows an object of which it holds at least so much (section 4.2), and does not show one of which it holds
# less than so much; between the two nothing is learned.
_SEEN, _UNSEEN = 0.5, 0.3
# A window that is so many times larger than the largest that an object is learned from does not show it either.
_TOO_LARGE = 1.5
# By how many pixels two images differ to find a stride by: a multiple of all that there are.
_STEP = 2880
# Windows that are drawn for each one that is to show background.
_TRIES = 8


class OverFeatTraining(NetworkTraining):
    """A network of `overfeat_detector.build` that learns by `fit`: the classifier, or the regressor.

    Sermanet et al.: "OverFeat", ICLR 2014, section 4.2: the layers up to the pooling are the classifier's and stay as
    they are while the regressor learns, by the squared error of the box of the window's own class.

    Args:
        network: of `overfeat_detector.build`; its weights are what learns.
        config: of the network.
        learn: `"classes"` or `"boxes"`.
        seed: of the windows.
    """

    def __init__(
        self,
        network: keras.Model,
        config: OverFeatDetectorConfig,
        *,
        learn: Literal["classes", "boxes"],
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(network, config, ["class_loss" if learn == "classes" else "box_loss"], seed=seed, **kwargs)
        self.learn = learn
        self.stride = map_side_and_stride(self._parts["maps"], config.view)[1]

    def learns(self, layer: keras.layers.Layer) -> bool:
        return layer.name.startswith("box") == (self.learn == "boxes")

    @cached_property  # not an attribute that Keras tracks: its layers are the network's
    def _parts(self) -> dict[str, keras.Model]:
        layer = self.network.get_layer
        maps = layer("pooled").input
        return {
            "maps": keras.Model(self.network.input, maps, name="maps"),
            "classes": keras.Model(maps, layer("class_map").output, name="classifier"),
            "boxes": keras.Model(maps, layer("boxes").output, name="regressor"),
        }

    def losses_of(self, inputs: Mapping[str, Any], truths: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        config = self.config
        windows, labels, targets = draw_windows(
            truths["boxes"],
            truths["classes"],
            truths["valid"],
            inputs["sizes"],
            num_classes=self.network.get_layer("class_map").filters - 1,
            objects=config.objects_per_image,
            backgrounds=config.backgrounds_per_image if self.learn == "classes" else 0,
            scales=config.scales,
            context=config.context,
            seed=self.step_seed,
        )
        maps = self.maps_of(inputs["image"], windows, training=self.learn == "classes")
        answers = self._parts[self.learn](maps, training=True)[:, 0, 0]
        labels = tf.reshape(labels, [-1])
        if self.learn == "classes":
            return {"class_loss": class_loss(answers, labels)}
        return {"box_loss": box_loss(answers, labels, tf.reshape(targets, [-1, 4]))}

    def maps_of(self, images: Any, windows: Any, *, training: bool) -> tf.Tensor:
        """The backbone's maps of windows, before the pooling.

        Args:
            images: [B, H, W, 3].
            windows: [B, K, 4], `"xyxy"` in pixels.
            training: whether the backbone's normalisations learn.

        Returns:
            [B * K, side, side, C], the side being `pool` times `window`.
        """
        margin, side = self.config.margin, self.config.pool * self.config.window
        maps = self._parts["maps"](cut(images, windows, self.config.view, margin * self.stride), training=training)
        return maps[:, margin : margin + side, margin : margin + side]


def map_side_and_stride(body: keras.Model, view: int) -> tuple[int, int]:
    """The side of the map of a window, and how many pixels of the image a pixel of the map is on.

    Args:
        body: from images [B, H, W, 3] of any size to a map.
        view: side of a window.
    """
    sides = (body.compute_output_spec(keras.KerasTensor((1, side, side, 3))).shape[1] for side in (view, view + _STEP))
    side, larger = sides
    return side, _STEP // (larger - side)


def class_loss(scores: Any, labels: Any) -> tf.Tensor:
    """The mean cross-entropy of scores [N, classes + 1] before the softmax; labels int [N], -1 does not count."""
    taken = tf.cast(labels >= 0, tf.float32)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), scores)
    return tf.reduce_sum(taken * entropy) / tf.maximum(tf.reduce_sum(taken), 1.0)


def box_loss(boxes: Any, labels: Any, targets: Any) -> tf.Tensor:
    """The mean squared distance of boxes [N, 4 classes] to targets [N, 4], each by its own class.

    Args:
        boxes: of all classes.
        labels: int [N]: -1 does not count, nor does a background's.
        targets: where the box is.
    """
    boxes = tf.reshape(boxes, [tf.shape(boxes)[0], -1, 4])
    classes = tf.shape(boxes)[1]
    taken = tf.cast((labels >= 0) & (labels < classes), tf.float32)
    own = tf.gather(boxes, tf.clip_by_value(labels, 0, classes - 1), batch_dims=1)
    return tf.reduce_sum(taken * tf.reduce_sum((own - targets) ** 2, axis=-1)) / tf.maximum(tf.reduce_sum(taken), 1.0)


def draw_windows(
    boxes: Any,
    classes: Any,
    valid: Any,
    sizes: Any,
    *,
    num_classes: int,
    objects: int,
    backgrounds: int,
    scales: Sequence[float],
    context: Sequence[float],
    seed: Any,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Square windows of each image at random, as large as those that are looked at when objects are to be found.

    An object's window is `context` times as large as its longer side, as far as `scales` have such windows, and holds
    at least half of it. A background's window holds less than 30 percent of every object, except those that are far too
    small for it: they are found at another scale.

    Args:
        boxes: [B, M, 4], `"xyxy"` in pixels; M may be 0.
        classes: int [B, M].
        valid: bool [B, M], False where the batch is only padded.
        sizes: [B, 2]: height and width of the images.
        num_classes: without the background, whose number this is.
        objects: how many windows with an object; several may have the same.
        backgrounds: how many without.
        scales: an image's shorter side, in windows.
        context: from and to.
        seed: two integers; the same seed draws the same windows.

    Returns:
        Windows float32 [B, objects + backgrounds, 4], `"xyxy"`; int32 [B, objects + backgrounds], their classes, -1
        where there is no such window; and float32 [B, objects + backgrounds, 4], the objects' boxes as parts of the
        window's side, zeros for background.
    """
    boxes, sizes = tf.cast(boxes, tf.float32), tf.cast(sizes, tf.float32)
    # one more row, so that there is something to take where an image has nothing
    boxes = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]])
    classes = tf.pad(tf.cast(classes, tf.int32), [[0, 0], [0, 1]])
    valid = tf.pad(tf.cast(valid, tf.bool), [[0, 0], [0, 1]])
    seed = tf.cast(tf.convert_to_tensor(seed), tf.int32)
    batch, shorter = tf.shape(boxes)[0], tf.reduce_min(sizes, axis=1)[:, None]
    smallest, largest = shorter / max(scales), shorter / min(scales)  # [B, 1]

    which, grown, across, down = tf.unstack(tf.random.stateless_uniform((4, batch, objects), seed))
    count = tf.reduce_sum(tf.cast(valid, tf.int32), axis=1)[:, None]
    real = tf.argsort(tf.cast(~valid, tf.int32), axis=1, stable=True)  # the true boxes first
    chosen = tf.minimum(tf.cast(which * tf.cast(count, tf.float32), tf.int32), tf.maximum(count - 1, 0))
    chosen = tf.gather(real, chosen, batch_dims=1)
    object_boxes = tf.gather(boxes, chosen, batch_dims=1)  # [B, objects, 4]
    width_height = object_boxes[..., 2:] - object_boxes[..., :2]
    side = tf.reduce_max(width_height, axis=-1) * (context[0] + grown * (context[1] - context[0]))
    side = tf.clip_by_value(side, smallest, largest)
    # so far from the middle that a quarter of its width and of its height may be outside
    room = tf.maximum((side[..., None] - width_height) / 2 + width_height / 4, 0)
    middle = (object_boxes[..., :2] + object_boxes[..., 2:]) / 2
    shift = (2 * tf.stack([across, down], axis=-1) - 1) * room
    object_windows = _inside(middle + shift - side[..., None] / 2, side, sizes)
    held = _held(object_windows, object_boxes[:, :, None])[..., 0]
    labels = tf.where((count > 0) & (held >= _SEEN), tf.gather(classes, chosen, batch_dims=1), -1)
    corner = tf.concat([object_windows[..., :2]] * 2, axis=-1)
    targets = (object_boxes - corner) / tf.maximum(side, 1e-6)[..., None]
    targets = tf.where(labels[..., None] >= 0, targets, 0.0)
    if not backgrounds:
        return object_windows, labels, targets

    background_seed = seed + tf.constant([0, 1 << 30])
    grown, across, down = tf.unstack(tf.random.stateless_uniform((3, batch, _TRIES * backgrounds), background_seed))
    side = smallest + grown * (largest - smallest)
    space = tf.reverse(sizes, [1])[:, None] - side[..., None]  # [B, tries, 2]: x, y
    tried = _inside(tf.stack([across, down], axis=-1) * space, side, sizes)
    longer = tf.reduce_max(boxes[..., 2:] - boxes[..., :2], axis=-1)  # [B, M + 1]
    too_large = _TOO_LARGE * tf.maximum(context[1] * longer, smallest)
    shown = (_held(tried, boxes[:, None]) >= _UNSEEN) & (side[..., None] < too_large[:, None])
    empty = ~tf.reduce_any(shown & valid[:, None], axis=-1)  # [B, tries]
    first = tf.argsort(tf.cast(~empty, tf.int32), axis=1, stable=True)[:, :backgrounds]
    windows = tf.concat([object_windows, tf.gather(tried, first, batch_dims=1)], axis=1)
    of_background = tf.where(tf.gather(empty, first, batch_dims=1), num_classes, -1)
    return (
        windows,
        tf.concat([labels, of_background], axis=1),
        tf.pad(targets, [[0, 0], [0, backgrounds], [0, 0]]),
    )


def cut(images: Any, windows: Any, view: int, margin: int = 0) -> tf.Tensor:
    """The pixels of windows, resized to [view, view] by linear interpolation between the middles of pixels.

    Args:
        images: [B, H, W, C].
        windows: [B, K, 4], `"xyxy"` in pixels; outside of the image there are zeros.
        view: side of a window in the answer, in pixels.
        margin: so many of these pixels more on each side.

    Returns:
        [B * K, view + 2 margin, view + 2 margin, C].
    """
    images, windows = tf.convert_to_tensor(images), tf.cast(windows, tf.float32)
    batch, count = tf.shape(windows)[0], tf.shape(windows)[1]
    step = (windows[..., 2:] - windows[..., :2]) / view
    # middles of the first and of the last pixel: x, y
    first, last = windows[..., :2] + step * (0.5 - margin) - 0.5, windows[..., 2:] - step * (0.5 - margin) - 0.5
    extent = tf.cast(tf.maximum(tf.reverse(tf.shape(images)[1:3], [0]) - 1, 1), tf.float32)
    corners = tf.reverse(tf.concat([last / extent, first / extent], axis=-1), [-1])  # y, x of the first, of the last
    numbers, side = tf.repeat(tf.range(batch), count), view + 2 * margin
    return tf.image.crop_and_resize(images, tf.reshape(corners, [-1, 4]), numbers, [side, side])


def _inside(corner: tf.Tensor, side: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
    """Windows [B, K, 4] by their left and top [B, K, 2] and their side [B, K], moved into images of `sizes` [B, 2]."""
    most = tf.maximum(tf.reverse(sizes, [1])[:, None] - side[..., None], 0)
    corner = tf.clip_by_value(corner, 0, most)
    return tf.concat([corner, corner + side[..., None]], axis=-1)


def _held(windows: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """[B, K, M]: which part of each box [B, 1 or K, M, 4] is in each window [B, K, 4]."""
    windows = windows[:, :, None]
    shared = tf.concat(
        [tf.maximum(windows[..., :2], boxes[..., :2]), tf.minimum(windows[..., 2:], boxes[..., 2:])], axis=-1
    )
    return tf.math.divide_no_nan(area(shared), area(boxes))
