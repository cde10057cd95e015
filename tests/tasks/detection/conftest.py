"""Images that are easy to find something in: one or two squares, red or blue, on dark noise."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kapps.data.boxes import BoxDataset

COLOURS = {"red": (230, 40, 40), "blue": (40, 60, 230)}


def square_image(number: int, *, empty: bool = False) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Image uint8 [64, 64, 3] number so much, and its targets."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 70, (64, 64, 3), dtype=np.uint8)
    boxes = []
    for left, colour in () if empty else enumerate(rng.permutation(list(COLOURS))[: rng.integers(1, 3)]):
        side = rng.integers(16, 29)
        x, y = rng.integers(0, 32 - side + 1) + 32 * left, rng.integers(0, 64 - side + 1)
        image[y : y + side, x : x + side] = COLOURS[colour]
        boxes.append((x, y, x + side, y + side, list(COLOURS).index(colour)))
    return image, targets_of(boxes)


def targets_of(boxes: list) -> dict[str, np.ndarray]:
    """The targets of an image, of `(left, top, right, bottom, class)` of each box."""
    found = np.array(boxes, np.float32).reshape(-1, 5)
    return {
        "boxes": found[:, :4],
        "classes": found[:, 4].astype(np.int32),
        "crowd": np.zeros(len(found), bool),
        "difficult": np.zeros(len(found), bool),
        "areas": np.prod(found[:, 2:4] - found[:, :2], axis=1),
    }


def box_dataset(examples: list) -> BoxDataset:
    """Images with their targets as a data set."""
    signature = (
        tf.TensorSpec((None, None, 3), tf.uint8),
        {
            "boxes": tf.TensorSpec((None, 4)),
            "classes": tf.TensorSpec((None,), tf.int32),
            "crowd": tf.TensorSpec((None,), tf.bool),
            "difficult": tf.TensorSpec((None,), tf.bool),
            "areas": tf.TensorSpec((None,)),
        },
    )
    return BoxDataset(
        records=tf.data.Dataset.from_generator(lambda: iter(examples), output_signature=signature),
        decode=None,
        num_examples=len(examples),
        class_names=tuple(COLOURS),
        name="squares",
        split="train",
        source="generated",
        licence="generated",
    )


@pytest.fixture(scope="session")
def square():
    """`square_image`."""
    return square_image


@pytest.fixture(scope="session")
def dataset_of():
    """`box_dataset`."""
    return box_dataset


@pytest.fixture(scope="session")
def squares():
    """Eight images, the last one without a box."""
    return box_dataset([*(square_image(number) for number in range(7)), square_image(7, empty=True)])


@pytest.fixture(scope="session")
def found_right():
    """Whether each true box of an image was found: right class, a score above a half, an IoU of at least a half."""
    from kapps.boxes.overlap import iou

    def right(found: dict[str, np.ndarray], targets: dict[str, np.ndarray]) -> np.ndarray:
        sure = found["scores"] > 0.5
        if not sure.any():
            return np.zeros(len(targets["classes"]), bool)
        overlaps = np.asarray(iou(targets["boxes"], found["boxes"][sure]))
        same = targets["classes"][:, None] == found["classes"][sure][None]
        return ((overlaps >= 0.5) & same).any(axis=1)

    return right


@pytest.fixture(scope="session")
def planted():
    """`planted(count, sides=(least, most))`: grey images of 32x48 with a red and a blue square; the first has none, the
    second only the red one."""

    def make(count: int, sides: tuple[int, int]) -> BoxDataset:
        rng = np.random.default_rng(0)
        examples = []
        for number in range(count):
            image = rng.integers(90, 130, (32, 48, 3)).astype(np.uint8)
            boxes = []
            for kind, colour in enumerate(list(COLOURS.values())[: min(number, 2)]):
                side = int(rng.integers(*sides))
                left = 24 * kind + int(rng.integers(0, 24 - side))
                top = int(rng.integers(0, 32 - side))
                image[top : top + side, left : left + side] = colour
                boxes.append((left, top, left + side, top + side, kind))
            examples.append((image, targets_of(boxes)))
        return box_dataset(examples)

    return make
