"""Detections of a grid whose cells each answer for the objects that are centred in them."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from kapps.boxes.formats import clip
from kapps.layers.detections import best_of_image, detections_of, detections_spec


@keras.saving.register_keras_serializable("kapps")
class GridDetections(keras.layers.Layer):
    """Every box of every cell as one of every class, those with a good score, without their doubles, the best.

    Redmon, Divvala, Girshick, Farhadi: "You Only Look Once", CVPR 2016, section 2, equation 1: a box's score for a
    class is its confidence times the cell's probability of the class; section 2.3: suppression class by class.
    Confidence and probabilities are numbers that nothing holds between 0 and 1; here they are cut there first, so that
    scores are between 0 and 1, too.

    Args:
        boxes: B, of each cell.
        score_threshold: a detection must have more.
        iou_threshold: of the suppression among boxes of a class.
        max_detections: places in the answer.

    Call arguments:
        answers: `[N, S, S, 5 B + classes]`, see `split_answers`.
        sizes: `[N, 2]`: height and width in pixels of the image that the grid covers.

    Returns:
        A dict in the words of the TF object-detection API, as that of `kapps.layers.detections.Detections`:
        `detection_boxes` `[N, max_detections, 4]`, `"xyxy"` in pixels, `detection_scores` `[N, max_detections]`,
        `detection_classes` int32 `[N, max_detections]` from 0, best first, and `num_detections` int32 `[N]`, behind
        which all are zeros.

    Raises:
        ValueError: an argument that cannot be used.
    """

    def __init__(
        self,
        boxes: int = 2,
        score_threshold: float = 0.01,
        iou_threshold: float = 0.5,
        max_detections: int = 100,
        **kwargs: Any,
    ):
        if not (boxes >= 1 and max_detections >= 1 and 0 <= score_threshold <= 1 and 0 <= iou_threshold <= 1):
            raise ValueError(
                "GridDetections: boxes and max_detections must be at least 1 and thresholds 0 to 1, got "
                f"{boxes}, {max_detections}, {score_threshold}, {iou_threshold}"
            )
        super().__init__(autocast=False, **kwargs)  # float16 cannot hold a place in a large image
        self.supports_jit = False  # the number of candidates depends on the image
        self.boxes = boxes
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.max_detections = max_detections

    def build(self, answers_shape: Any, sizes_shape: Any) -> None:
        if len(answers_shape) != 4 or None in answers_shape[1:] or answers_shape[-1] <= 5 * self.boxes:
            raise ValueError(
                f"GridDetections: expected answers [N, S, S, {5 * self.boxes} + classes] with all but N known, got "
                f"{tuple(answers_shape)}"
            )

    def call(self, answers, sizes):
        places, confidence, classes = split_answers(tf.cast(answers, tf.float32), self.boxes)
        sizes = tf.cast(sizes, tf.float32)
        scores = tf.clip_by_value(confidence, 0, 1)[..., None] * tf.clip_by_value(classes, 0, 1)[..., None, :]
        count = scores.shape[1] * scores.shape[2] * self.boxes
        scores = tf.reshape(scores, [-1, count, classes.shape[-1]])
        height, width = sizes[:, :1], sizes[:, 1:]  # [N, 1]
        boxes = tf.reshape(grid_boxes(places), [-1, count, 4])
        boxes = boxes * tf.concat([width, height, width, height], axis=1)[:, None]
        boxes = clip(boxes, height, width)

        def best(image):
            """Of one image: [max_detections, 4], [max_detections] twice and a scalar."""
            boxes, scores = image
            good = tf.where(scores > self.score_threshold)  # [n, 2]: box, class
            boxes = tf.gather(boxes, good[:, 0])
            return best_of_image(
                boxes,
                tf.gather_nd(scores, good),
                good[:, 1],
                iou_threshold=self.iou_threshold,
                max_detections=self.max_detections,
            )

        return detections_of(best, (boxes, scores), self.max_detections)

    def compute_output_spec(self, answers, sizes):
        return detections_spec(answers.shape[0], self.max_detections)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "boxes": self.boxes,
            "score_threshold": self.score_threshold,
            "iou_threshold": self.iou_threshold,
            "max_detections": self.max_detections,
        }


def split_answers(answers: Any, boxes: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The numbers of each cell by what they mean.

    Args:
        answers: [..., 5 B + classes]: for each of the B boxes (x, y, root of w, root of h, confidence), then the
            probabilities of the classes.
        boxes: B.

    Returns:
        Places [..., B, 4], as `grid_boxes` takes them, confidences [..., B] and probabilities [..., classes].
    """
    answers = tf.convert_to_tensor(answers)
    of_boxes, classes = answers[..., : 5 * boxes], answers[..., 5 * boxes :]
    of_boxes = tf.reshape(of_boxes, tf.concat([tf.shape(answers)[:-1], [boxes, 5]], axis=0))
    of_boxes = tf.ensure_shape(of_boxes, (*answers.shape[:-1], boxes, 5))
    return of_boxes[..., :4], of_boxes[..., 4], classes


def grid_boxes(places: Any) -> tf.Tensor:
    """Where boxes are in the image, from where they are in their cells.

    Args:
        places: [..., S, S, B, 4], rows before columns: x and y of the centre, 0 to 1 from the cell's left and top edge
            to its right and bottom edge; and the roots of width and height, both as parts of the image's.

    Returns:
        [..., S, S, B, 4], `"rel_xyxy"`.
    """
    places = tf.convert_to_tensor(places)
    rows, columns = places.shape[-4], places.shape[-3]
    x = (places[..., 0] + tf.range(columns, dtype=places.dtype)[:, None]) / columns
    y = (places[..., 1] + tf.range(rows, dtype=places.dtype)[:, None, None]) / rows
    half_width, half_height = places[..., 2] ** 2 / 2, places[..., 3] ** 2 / 2
    return tf.stack([x - half_width, y - half_height, x + half_width, y + half_height], axis=-1)
