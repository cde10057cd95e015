from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from kapps.data import load_boxes
from kapps.data.box_augment import BoxAugment
from kapps.errors import RecipeError

STILL = BoxAugment(flip=False, scale=(1, 1), brightness=0, contrast=0, saturation=0, hue=0)


def compiled(augment: BoxAugment):
    """As `BoxDataset.batches` calls it: in a graph, of images of any size."""
    spec = (
        tf.TensorSpec([None, None, 3], tf.uint8),
        tf.TensorSpec([None, 4], tf.float32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([2], tf.int64),
    )
    function = tf.function(augment, input_signature=spec)

    def call(image, boxes, classes, seed):
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        result = function(image, boxes, np.asarray(classes, np.int32), np.asarray(seed, np.int64))
        return tuple(part.numpy() for part in result)

    return call


def scene(height: int = 48, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A blue and a red rectangle on black, and their boxes."""
    image = np.zeros((height, width, 3), np.uint8)
    boxes = np.array([[4, 6, 20, 18], [30, 20, 58, 44]], np.float32)
    for channel, (left, top, right, bottom) in zip((2, 0), boxes.astype(int), strict=True):
        image[top:bottom, left:right, channel] = 255
    return image, boxes


def extent(mask: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_a_mirrored_image_by_hand():
    call = compiled(dataclasses.replace(STILL, flip=True))
    image, boxes = scene()
    results = [call(image, boxes, [0, 1], (0, seed)) for seed in range(40)]
    mirrored = [not np.array_equal(result[0], image) for result in results]
    assert 10 <= sum(mirrored) <= 30
    for is_mirrored, (pixels, moved, classes) in zip(mirrored, results, strict=True):
        np.testing.assert_array_equal(pixels, image[:, ::-1] if is_mirrored else image)
        assert moved.tolist() == ([[44, 6, 60, 18], [6, 20, 34, 44]] if is_mirrored else boxes.tolist())
        assert classes.tolist() == [0, 1]


@pytest.mark.parametrize("scale", [(0.8, 1.25), (0.1, 2.0)])
def test_boxes_stay_on_their_things(scale):
    """Where a colour is seen after all that was done, there is its box."""
    call = compiled(dataclasses.replace(STILL, flip=True, scale=scale, min_visible=0))
    image, boxes = scene()
    cropped = padded = 0
    for seed in range(60):
        pixels, moved, classes = call(image, boxes, [2, 0], (7, seed))
        assert pixels.shape == image.shape
        assert pixels.dtype == np.uint8
        for box, channel in zip(moved, classes, strict=True):
            if min(box[2] - box[0], box[3] - box[1]) < 4:
                continue  # its edges are all that is left
            others = [other for other in range(3) if other != channel]
            mask = (pixels[..., channel] > 128) & (pixels[..., others] < 100).all(axis=-1)
            np.testing.assert_allclose(box, extent(mask), atol=1.01)
            assert (box >= 0).all()
            assert (box <= [64, 48, 64, 48]).all()
        is_padded = (pixels[-1, -1] == 128).all()
        padded += is_padded
        cropped += not is_padded
        if is_padded:
            assert len(classes) == 2  # nothing falls out of a smaller image
    assert cropped > 5
    assert padded > 5


def test_what_falls_out_is_dropped():
    """Twice as large: the crop shows a quarter of the image."""
    image = np.zeros((40, 40, 3), np.uint8)
    box = [[10, 10, 20, 20]]
    strict, lenient = (compiled(dataclasses.replace(STILL, scale=(2, 2), min_visible=part)) for part in (0.9, 0.0))
    kept_by = {"strict": 0, "lenient": 0}
    for seed in range(80):
        for name, call in (("strict", strict), ("lenient", lenient)):
            _, moved, classes = call(image, box, [5], (1, seed))
            assert len(moved) == len(classes)
            if len(moved):
                kept_by[name] += 1
                ((left, top, right, bottom),) = moved
                share = (right - left) * (bottom - top) / 400
                assert share >= (0.9 if name == "strict" else 0.25)  # with its centre inside, a quarter stays
                assert classes.tolist() == [5]
    assert 0 < kept_by["strict"] < kept_by["lenient"] < 80


def test_a_still_view_is_the_image():
    image, boxes = scene()
    pixels, moved, classes = compiled(STILL)(image, boxes, [3, 1], (0, 0))
    np.testing.assert_array_equal(pixels, image)
    np.testing.assert_array_equal(moved, boxes)
    assert classes.tolist() == [3, 1]


@pytest.mark.parametrize("field", ["brightness", "contrast", "saturation", "hue"])
def test_light_changes_pixels_and_no_box(field):
    call = compiled(dataclasses.replace(STILL, **{field: 0.5}))
    image = np.random.default_rng(0).integers(60, 190, (12, 16, 3), np.uint8)
    changed = 0
    for seed in range(30):
        pixels, moved, _ = call(image, [[1, 2, 3, 4]], [0], (0, seed))
        assert moved.tolist() == [[1, 2, 3, 4]]
        difference = np.abs(pixels.astype(int) - image).max()
        changed += difference > 1
        if field == "brightness":
            assert difference <= 128
    assert 5 <= changed <= 25  # every second time


def test_the_seed_says_all():
    call = compiled(BoxAugment(scale=(0.5, 2)))
    image, boxes = scene()
    first, again, other = (call(image, boxes, [0, 1], seed) for seed in ((3, 4), (3, 4), (3, 5)))
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, same)
    assert not np.array_equal(first[0], other[0])


def test_no_boxes_and_odd_sizes():
    call = compiled(BoxAugment(scale=(0.1, 2)))
    for shape in ((1, 1, 3), (3, 200, 3), (50, 2, 3)):
        for seed in range(5):
            pixels, boxes, classes = call(np.full(shape, 200, np.uint8), np.zeros((0, 4)), [], (0, seed))
            assert pixels.shape == shape
            assert boxes.shape == (0, 4)
            assert classes.shape == (0,)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flip", 1),
        ("scale", 0.8),
        ("scale", (1.2, 0.8)),
        ("scale", (0, 1)),
        ("scale", (0.5, float("nan"))),
        ("min_visible", 1.5),
        ("brightness", -0.1),
        ("contrast", 2),
        ("saturation", "much"),
        ("hue", 0.6),
        ("hue", True),
    ],
)
def test_bad_values(field, value):
    with pytest.raises(RecipeError, match=f"box_augment.{field}: expected ") as error:
        BoxAugment(**{field: value})
    assert "\n" not in str(error.value)
    assert dataclasses.replace(BoxAugment(), scale=[1, 1]).scale == (1, 1)


def test_in_batches():
    def prepare(image):
        return tf.cast(image, tf.float32), tf.cast(tf.shape(image)[:2], tf.float32)

    data = load_boxes("scene_boxes", "train[:8]")
    batches = data.batches(8, prepare, shuffle_seed=1, start_epoch=3, augment=BoxAugment())
    plain = data.batches(8, prepare, shuffle_seed=1, start_epoch=3)
    ((inputs, targets),) = batches
    ((before, _),) = plain
    assert inputs["image"].shape == (8, 128, 128, 3)
    assert not np.array_equal(inputs["image"], before["image"])
    boxes = targets["boxes"][targets["valid"]].numpy()
    assert len(boxes) > 5
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert ((boxes >= 0) & (boxes <= 128)).all()
    assert targets["classes"].shape == targets["boxes"].shape[:2]
