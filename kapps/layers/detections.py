"""Detections: what is left of the proposals when every class has said its score and moved them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from kapps.boxes.coder import decode
from kapps.boxes.formats import clip
from kapps.boxes.suppression import suppress

# Boxes with a shorter side, in pixels, are dropped.
_SMALLEST = 1e-2


@keras.saving.register_keras_serializable("kapps")
class Detections(keras.layers.Layer):
    """Every proposal as a box of every class, those with a good score, without their doubles, the best of an image.

    Girshick: "Fast R-CNN", ICCV 2015, sections 2.1 and 2.4: scores are the softmax over classes and background, boxes
    are regressed class by class and suppressed class by class. The background is the last class and never comes out.

    Args:
        score_threshold: a detection must have more.
        iou_threshold: of the suppression among boxes of a class.
        max_detections: places in the answer.
        weights: of the box coder, see `kapps.boxes.coder`.

    Call arguments:
        scores: `[B, N, classes + 1]`, before the softmax.
        deltas: `[B, N, 4 (classes + 1)]`; those of the background are not used.
        proposals: `[B, N, 4]`, `"xyxy"`.
        counts: `[B]`: how many of the N are proposals; the others pad the batch.
        sizes: `[B, 2]`: height and width of the image in pixels.

    Returns:
        A dict in the words of the TF object-detection API: `detection_boxes` `[B, max_detections, 4]`, `"xyxy"` in
        pixels, `detection_scores` `[B, max_detections]`, `detection_classes` int32 `[B, max_detections]` from 0, best
        first, and `num_detections` int32 `[B]`, behind which all are zeros.

    Raises:
        ValueError: an argument that cannot be used.
    """

    def __init__(
        self,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.5,
        max_detections: int = 100,
        weights: Sequence[float] = (10.0, 10.0, 5.0, 5.0),
        **kwargs: Any,
    ):
        if not (0 <= score_threshold <= 1 and 0 <= iou_threshold <= 1 and max_detections >= 1 and len(weights) == 4):
            raise ValueError(
                "Detections: thresholds must be 0 to 1, max_detections at least 1 and weights four numbers, got "
                f"{score_threshold}, {iou_threshold}, {max_detections}, {weights}"
            )
        super().__init__(autocast=False, **kwargs)  # float16 cannot hold a place in a large image
        self.supports_jit = False  # the number of candidates depends on the image
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.max_detections = max_detections
        self.box_weights = tuple(weights)

    def call(self, scores, deltas, proposals, counts, sizes):
        classes = scores.shape[-1] - 1
        scores = tf.nn.softmax(tf.cast(scores, tf.float32))[..., :classes]
        sizes = tf.cast(sizes, tf.float32)

        def best(image):
            """Of one image: [max_detections, 4], [max_detections] twice and a scalar."""
            scores, deltas, proposals, count, size = image
            real = tf.range(tf.shape(scores)[0]) < count
            good = tf.where((scores > self.score_threshold) & real[:, None])  # [n, 2]: proposal, class
            deltas = tf.gather_nd(tf.reshape(deltas, [-1, classes + 1, 4]), good)
            boxes = decode(deltas, tf.gather(proposals, good[:, 0]), self.box_weights)
            boxes = clip(boxes, size[0], size[1])
            return best_of_image(
                boxes,
                tf.gather_nd(scores, good),
                good[:, 1],
                iou_threshold=self.iou_threshold,
                max_detections=self.max_detections,
            )

        images = (scores, tf.cast(deltas, tf.float32), proposals, counts, sizes)
        return detections_of(best, images, self.max_detections)

    def compute_output_spec(self, scores, deltas, proposals, counts, sizes):
        return detections_spec(scores.shape[0], self.max_detections)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "score_threshold": self.score_threshold,
            "iou_threshold": self.iou_threshold,
            "max_detections": self.max_detections,
            "weights": list(self.box_weights),
        }


def best_of_image(
    boxes: Any, scores: Any, classes: Any, *, iou_threshold: float, max_detections: int
) -> tuple[tf.Tensor, ...]:
    """What is left of the candidates of one image: without those that have hardly an area, and without doubles.

    Args:
        boxes: [n, 4], `"xyxy"` in pixels.
        scores: [n].
        classes: integers [n]; boxes of different classes leave each other alone.
        iou_threshold: of the suppression.
        max_detections: places in the answer.

    Returns:
        Boxes [max_detections, 4], scores and int32 classes [max_detections], best first and zeros behind the last, and
        their number.
    """
    large = tf.reduce_all(boxes[..., 2:] - boxes[..., :2] >= _SMALLEST, axis=-1)
    ranked = tf.where(large, scores, float("-inf"))
    classes = tf.cast(classes, tf.int32)
    numbers, count = suppress(boxes, ranked, classes, iou_threshold=iou_threshold, max_outputs=max_detections)
    kept, padding = numbers[:count], [0, max_detections - count]
    return (
        tf.ensure_shape(tf.pad(tf.gather(boxes, kept), [padding, [0, 0]]), (max_detections, 4)),
        tf.ensure_shape(tf.pad(tf.gather(ranked, kept), [padding]), (max_detections,)),
        tf.ensure_shape(tf.pad(tf.gather(classes, kept), [padding]), (max_detections,)),
        count,
    )


def detections_of(best: Callable[..., Any], images: Any, max_detections: int) -> dict[str, tf.Tensor]:
    """The dict of `Detections` for a batch.

    Args:
        best: what one image has in `images` -> what `best_of_image` gives.
        images: tensors whose first dimension are the images.
        max_detections: as `best` has it.
    """
    signature = (
        tf.TensorSpec((max_detections, 4)),
        tf.TensorSpec((max_detections,)),
        tf.TensorSpec((max_detections,), tf.int32),
        tf.TensorSpec((), tf.int32),
    )
    boxes, scores, classes, count = tf.map_fn(best, images, fn_output_signature=signature)
    return {
        "detection_boxes": boxes,
        "detection_scores": scores,
        "detection_classes": classes,
        "num_detections": count,
    }


def detections_spec(batch: int | None, max_detections: int) -> dict[str, keras.KerasTensor]:
    """Shapes and types of that dict."""
    return {
        "detection_boxes": keras.KerasTensor((batch, max_detections, 4), "float32"),
        "detection_scores": keras.KerasTensor((batch, max_detections), "float32"),
        "detection_classes": keras.KerasTensor((batch, max_detections), "int32"),
        "num_detections": keras.KerasTensor((batch,), "int32"),
    }
