from __future__ import annotations

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.create import create_backbone
from kapps.data.images import read_image
from kapps.data.preprocessing import Preprocessing
from kapps.errors import DataError
from kapps.tasks.transfer import features as module
from kapps.tasks.transfer.features import extract, pooled
from kapps.tasks.transfer.photos import read_photos

STEPS = Preprocessing((32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(1)
    return pooled(create_backbone("resnet20"))


@pytest.fixture
def photos(folder):
    return read_photos(folder, validation=0).train


def test_they_are_what_the_network_gives_of_each_photo_and_its_mirror_image(network, photos):
    rows = extract(network, photos, STEPS)
    assert (rows.shape, rows.dtype) == ((24, 2, 64), np.float32)
    for index in (0, 17):
        image = STEPS(read_image(photos[index].path.read_bytes())).numpy()
        expected = network(np.stack([image, image[:, ::-1]])).numpy()
        np.testing.assert_allclose(rows[index], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(extract(network, photos, STEPS, mirrored=False)[:, 0], rows[:, 0], rtol=1e-4, atol=1e-5)


def test_only_what_is_new_is_computed(network, photos, monkeypatch):
    computed = []
    real = module._compute

    def compute(network, photos, *args, **kwargs):
        computed.append(len(photos))
        return real(network, photos, *args, **kwargs)

    monkeypatch.setattr(module, "_compute", compute)
    steps = []
    first = extract(network, photos[:10], STEPS)
    again = extract(network, photos, STEPS, progress=steps.append)
    np.testing.assert_array_equal(again[:10], first)
    assert computed == [10, 14]
    assert sum(steps) == 24
    extract(network, photos, STEPS)
    assert computed == [10, 14]
    # other weights, another preprocessing, or no memory: all of it
    network.weights[0].assign(network.weights[0] * 2)
    extract(network, photos, STEPS)
    extract(network, photos, Preprocessing((32, 32)))
    extract(network, photos, STEPS, remember=False)
    assert computed == [10, 14, 24, 24, 24]


def test_the_next_photos_are_read_while_the_network_works(folder, monkeypatch):
    """The third batch is read although nobody has asked for the second: the first is still being worked on."""
    photos = read_photos(folder, validation=0).train
    ahead = threading.Event()
    read = []

    def noted(contents):
        read.append(contents)
        if len(read) > 8:
            ahead.set()
        return contents

    real = module.decode_image
    monkeypatch.setattr(
        module,
        "decode_image",
        lambda contents: real(tf.ensure_shape(tf.py_function(noted, [contents], tf.string), [])),
    )
    batches = iter(module.stream(photos, STEPS, 4))
    next(batches)
    assert ahead.wait(60)
    assert sum(len(batch) for batch in batches) == 20
    assert len(read) == 24


def test_a_damaged_memory_is_made_anew(network, photos):
    first = extract(network, photos[:3], STEPS)
    (store,) = (module.cache_dir() / "features").iterdir()
    for damage in (b"", b"PK\x03\x04 nothing", store.read_bytes()[:200]):
        store.write_bytes(damage)
        np.testing.assert_allclose(extract(network, photos[:3], STEPS), first, rtol=1e-5, atol=1e-6)


def test_a_photo_that_has_gone_is_told(network, photos):
    photos[4].path.unlink()
    with pytest.raises(DataError, match=r"has gone or cannot be decoded .*begin again"):
        extract(network, photos, STEPS)
    assert not (module.cache_dir() / "features").exists()
