"""Region proposals: the best boxes out of what a region proposal network says about its anchors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kapps.boxes.anchors import cell_anchors, grid_anchors
from kapps.boxes.coder import decode
from kapps.boxes.formats import clip
from kapps.boxes.suppression import suppress

# Proposals with a shorter side, in pixels, are dropped.
_SMALLEST = 1e-3


@keras.saving.register_keras_serializable("kapps")
class RegionProposals(keras.layers.Layer):
    """Of each map the anchors with the highest scores, moved by their deltas, cut at the image, without their doubles.

    Ren, He, Girshick, Sun: "Faster R-CNN", NIPS 2015, section 3; on a pyramid as in Lin et al.: "Feature Pyramid
    Networks", CVPR 2017, section 4.1, where one size of anchors belongs to each map. Suppression is map by map; then
    the best of all maps are kept. No gradient goes through.

    Args:
        anchor_sizes: for each map, the square roots of its anchors' areas in pixels.
        ratios: heights over widths of the anchors, the same on all maps.
        before: how many of each map go into the suppression.
        after: how many of an image are kept.
        iou_threshold: of the suppression.

    Call arguments:
        scores: a list of `[B, H, W, A]`, one for each map: before any activation.
        deltas: a list of `[B, H, W, 4 A]`: four numbers for each anchor, see `kapps.boxes.coder`.
        image: `[B, height, width, ...]`; only its shape is used, as torchvision counts the map's stride by it.
        sizes: `[B, 2]`: height and width of the part of it that is not padding.

    Returns:
        Proposals `[B, N, 4]`, `"xyxy"`, best first, N being the most that an image has, at least 1 and at most `after`;
        their scores `[B, N]`; and how many each image has, int32 `[B]`. Behind these, boxes are zeros and scores minus
        infinity.

    Raises:
        ValueError: an argument that cannot be used.
    """

    def __init__(
        self,
        anchor_sizes: Sequence[Sequence[float]] = ((32,), (64,), (128,), (256,), (512,)),
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        before: int = 1000,
        after: int = 1000,
        iou_threshold: float = 0.7,
        **kwargs: Any,
    ):
        if not anchor_sizes or not ratios or not all(value > 0 for level in (*anchor_sizes, ratios) for value in level):
            raise ValueError(
                f"RegionProposals: anchors must have positive sizes and ratios, got {anchor_sizes} and {ratios}"
            )
        if before < 1 or after < 1 or not 0 <= iou_threshold <= 1:
            raise ValueError(
                "RegionProposals: before and after must be at least 1 and iou_threshold 0 to 1, got "
                f"{before}, {after}, {iou_threshold}"
            )
        super().__init__(autocast=False, **kwargs)  # float16 cannot hold a place in a large image
        self.supports_jit = False  # the number of proposals depends on the image
        self.anchor_sizes = tuple(map(tuple, anchor_sizes))
        self.ratios = tuple(ratios)
        self.before = before
        self.after = after
        self.iou_threshold = iou_threshold

    def build(self, scores_shape: Any, deltas_shape: Any, image_shape: Any, sizes_shape: Any) -> None:
        if not len(scores_shape) == len(deltas_shape) == len(self.anchor_sizes):
            raise ValueError(
                f"RegionProposals: expected scores and deltas of {len(self.anchor_sizes)} maps, got "
                f"{len(scores_shape)} and {len(deltas_shape)}"
            )

    def call(self, scores, deltas, image, sizes):
        anchors = self.anchors(scores, image)
        sizes = tf.cast(sizes, tf.float32)
        boxes_by_map, scores_by_map = [], []
        for level, level_scores in enumerate(scores):
            batch = tf.shape(level_scores)[0]
            level_scores = tf.reshape(tf.cast(level_scores, tf.float32), [batch, -1])
            level_deltas = tf.reshape(tf.cast(deltas[level], tf.float32), [batch, -1, 4])
            level_scores, chosen = tf.math.top_k(level_scores, tf.minimum(self.before, tf.shape(level_scores)[1]))
            boxes = decode(tf.gather(level_deltas, chosen, batch_dims=1), tf.gather(anchors[level], chosen))
            boxes = clip(boxes, sizes[:, :1], sizes[:, 1:])
            large = tf.reduce_all(boxes[..., 2:] - boxes[..., :2] >= _SMALLEST, axis=-1)
            boxes_by_map.append(boxes)
            scores_by_map.append(tf.where(large, level_scores, float("-inf")))

        def best(image):
            """Of one image: [after, 4], [after] and a scalar."""
            kept_boxes, kept_scores = [], []
            for boxes, scores in zip(*image, strict=True):
                most = tf.minimum(self.after, tf.shape(scores)[0])
                numbers, count = suppress(boxes, scores, iou_threshold=self.iou_threshold, max_outputs=most)
                kept_boxes.append(tf.gather(boxes, numbers[:count]))
                kept_scores.append(tf.gather(scores, numbers[:count]))
            kept_boxes.append(tf.zeros((self.after, 4)))  # what is taken where there are too few
            kept_scores.append(tf.fill([self.after], float("-inf")))
            scores, order = tf.math.top_k(tf.concat(kept_scores, axis=0), self.after)
            boxes = tf.gather(tf.concat(kept_boxes, axis=0), order)
            return boxes, scores, tf.reduce_sum(tf.cast(scores > float("-inf"), tf.int32))

        signature = (tf.TensorSpec((self.after, 4)), tf.TensorSpec((self.after,)), tf.TensorSpec((), tf.int32))
        boxes, scores, count = tf.map_fn(best, (boxes_by_map, scores_by_map), fn_output_signature=signature)
        most = tf.maximum(tf.reduce_max(count), 1)
        return tf.stop_gradient(boxes[:, :most]), tf.stop_gradient(scores[:, :most]), count

    def anchors(self, scores, image):
        """float32 [H W A, 4] for each map of scores [B, H, W, A] on an image [B, height, width, ...]."""
        whole = tf.unstack(tf.shape(image)[1:3])
        return [
            grid_anchors(cell_anchors(sizes, self.ratios), tf.unstack(tf.shape(level)[1:3]), whole)
            for sizes, level in zip(self.anchor_sizes, scores, strict=True)
        ]

    def compute_output_spec(self, scores, deltas, image, sizes):
        batch = scores[0].shape[0]
        return (
            keras.KerasTensor((batch, None, 4), "float32"),
            keras.KerasTensor((batch, None), "float32"),
            keras.KerasTensor((batch,), "int32"),
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "anchor_sizes": [list(sizes) for sizes in self.anchor_sizes],
            "ratios": list(self.ratios),
            "before": self.before,
            "after": self.after,
            "iou_threshold": self.iou_threshold,
        }
