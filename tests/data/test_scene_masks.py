"""The built-in segmentation set: images with the class of every pixel."""

from __future__ import annotations

import numpy as np
import pytest

from kapps.cli.data import class_histogram, contact_sheet
from kapps.data import Preprocessing, load
from kapps.data.scenes import CLASS_NAMES, MASK_CLASS_NAMES, label_map, make_scene
from kapps.errors import DataError


@pytest.fixture(scope="module")
def data():
    return load("scene_masks", "train[:12]")


def test_labels_are_the_masks_of_the_scenes(data):
    assert (data.input_shape, data.label_shape, data.num_classes) == ((64, 64, 3), (64, 64), 19)
    assert MASK_CLASS_NAMES[-1] == "background"
    for index, (image, label) in enumerate(data.examples.as_numpy_iterator()):
        scene = make_scene(1, index, (64, 64), num_objects=(1, 5))
        np.testing.assert_array_equal(image, scene.image)
        np.testing.assert_array_equal(label, label_map(scene))
        for thing, mask in zip(scene.objects, scene.masks, strict=True):
            assert set(label[mask]) == {CLASS_NAMES.index(thing.name)}
        assert (label[~scene.masks.any(axis=0)] == 18).all()


def test_splits_hold_other_scenes():
    first = {
        split: next(iter(load("scene_masks", f"{split}[:1]").examples)) for split in ("train", "validation", "test")
    }
    pictures = [image.numpy().tobytes() for image, _ in first.values()]
    assert len(set(pictures)) == 3


def test_batches_keep_images_and_labels_together(data):
    steps = Preprocessing(size=(64, 64))
    plain = {image.tobytes(): label for image, label in data.examples.as_numpy_iterator()}
    for cache in (True, False):
        seen = 0
        for images, labels in data.batches(5, preprocessing=steps, shuffle_seed=3, cache=cache).as_numpy_iterator():
            assert labels.shape == (len(images), 64, 64)
            for image, label in zip(images, labels, strict=True):
                np.testing.assert_array_equal(plain[np.rint(image * 255).astype(np.uint8).tobytes()], label)
                seen += 1
        assert seen == 12


def test_pixels_are_not_moved_from_under_their_labels(data):
    with pytest.raises(DataError, match=r"keep the size \(64, 64\) of scene_masks, .* got size=\(32, 32\)"):
        data.batches(4, preprocessing=Preprocessing(size=(32, 32)))


def test_looking_into_it(data):
    histogram = class_histogram(data)
    assert histogram["background"] == 12
    assert 0 < sum(histogram.values()) - 12 <= 12 * 5
    assert contact_sheet(data, 4).width > 100
