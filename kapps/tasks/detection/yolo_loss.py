"""The loss of YOLO: a sum of squared errors, line by line as the paper writes it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from kapps.boxes.overlap import iou
from kapps.layers.grid_detections import grid_boxes, split_answers

# Their names, in the order of the lines of equation 3.
LOSSES = ("centre_loss", "size_loss", "object_loss", "no_object_loss", "class_loss")


def yolo_losses(
    answers: Any, places: Any, classes: Any, *, boxes: int, coord_weight: float = 5.0, no_object_weight: float = 0.5
) -> dict[str, tf.Tensor]:
    """What the cells say against what they should say.

    Redmon, Divvala, Girshick, Farhadi: "You Only Look Once", CVPR 2016, equation 3. Of a cell's boxes the one that
    overlaps the object most is responsible for it: its centre, its size and its confidence count, and the confidence
    should be the overlap that it has now. All other boxes should have a confidence of 0. Where no box of a cell
    overlaps the object, the one whose numbers come nearest is responsible (as in the authors' code). No gradient goes
    through the overlap.

    Args:
        answers: [N, S, S, 5 B + classes], see `kapps.layers.grid_detections.split_answers`.
        places: [N, S, S, 4], as `kapps.tasks.detection.yolo.grid_targets` gives them.
        classes: int [N, S, S], likewise: -1 where a cell has no object.
        boxes: B.
        coord_weight: lambda_coord.
        no_object_weight: lambda_noobj.

    Returns:
        Scalars under the names of `LOSSES`, their weights included: sums over cells and boxes, means over the N images.
    """
    answers, places = tf.convert_to_tensor(answers), tf.convert_to_tensor(places)
    found, confidence, probabilities = split_answers(answers, boxes)
    truth = places[..., None, :]  # [N, S, S, 1, 4]
    has_object = tf.cast(classes >= 0, answers.dtype)  # [N, S, S]

    error = (found - truth) ** 2  # [N, S, S, B, 4]
    overlap = tf.stop_gradient(iou(grid_boxes(found), grid_boxes(truth))[..., 0])  # [N, S, S, B]
    touched = tf.reduce_max(overlap, axis=-1, keepdims=True) > 0
    fitness = tf.where(touched, overlap, -tf.stop_gradient(tf.reduce_sum(error, axis=-1)))
    responsible = has_object[..., None] * tf.one_hot(tf.argmax(fitness, axis=-1), boxes, dtype=answers.dtype)

    wanted = tf.one_hot(classes, tf.shape(probabilities)[-1], dtype=answers.dtype)  # zeros for -1
    lines = (
        coord_weight * responsible * tf.reduce_sum(error[..., :2], axis=-1),
        coord_weight * responsible * tf.reduce_sum(error[..., 2:], axis=-1),
        responsible * (confidence - overlap) ** 2,
        no_object_weight * (1 - responsible) * confidence**2,
        has_object * tf.reduce_sum((probabilities - wanted) ** 2, axis=-1),
    )
    images = tf.cast(tf.maximum(tf.shape(answers)[0], 1), answers.dtype)
    return {name: tf.reduce_sum(line) / images for name, line in zip(LOSSES, lines, strict=True)}
