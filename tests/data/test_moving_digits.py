from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kapps.data.moving_digits import MOTIONS, MovingDigits, load_split, paint, places
from kapps.errors import DataError, UnknownNameError


@pytest.fixture(scope="module")
def films():
    """140 films and their motions."""
    data = load_split("train", 140)
    videos, motions = next(iter(data.batches(140).as_numpy_iterator()))
    return videos, motions


def centres(videos):
    """Where the light's centre of mass is in each frame, [N, T, 2]."""
    light = videos[..., 0] / videos.sum(axis=(2, 3, 4))[..., None, None]
    at = np.arange(videos.shape[2])
    return np.stack([(light.sum(axis=3) * at).sum(axis=2), (light.sum(axis=2) * at).sum(axis=2)], axis=-1)


def test_bouncing_by_hand():
    """Room for 10 pixels: from 8 by 3 to the side at 10 and back; from 1 by -2 through 0."""
    way = places(tf.constant([[8.0, 1.0]]), tf.constant([[3.0, -2.0]]), 10.0, 5)
    np.testing.assert_allclose(way[:, 0], [[8, 1], [9, 1], [6, 3], [3, 5], [0, 7]], atol=1e-6)
    np.testing.assert_array_equal(places(tf.ones((2, 2)), tf.ones((2, 2)), 0.0, 3), np.zeros((3, 2, 2)))


def test_painting_between_pixels_by_hand():
    image = tf.constant([[[1.0, 0.0], [0.0, 0.5]]])
    shown = paint(image, tf.constant([[[1.0, 0.0]], [[0.0, 0.25]]]), 3)
    np.testing.assert_allclose(shown[0], [[0, 0, 0], [1, 0, 0], [0, 0.5, 0]])
    np.testing.assert_allclose(shown[1], [[0.75, 0.25, 0], [0, 0.375, 0.125], [0, 0, 0]])


def test_the_brighter_digit_is_seen():
    images = tf.constant([[[0.4]], [[0.9]]])
    shown = paint(images, tf.constant([[[0.0, 1.0], [0.0, 1.0]]]), 2)
    np.testing.assert_allclose(shown[0], [[0, 0.9], [0, 0]])


def test_films(films):
    videos, motions = films
    assert videos.shape == (140, 12, 32, 32, 1)
    assert 200 < videos.max() <= 255
    assert np.bincount(motions, minlength=len(MOTIONS)).min() > 5
    light = videos.sum(axis=(2, 3, 4))
    np.testing.assert_allclose(light, light[:, :1].repeat(12, axis=1), rtol=0.03)  # nothing leaves the square


def test_motions_are_what_they_are_called(films):
    videos, motions = films
    steps = np.abs(np.diff(centres(videos), axis=1))  # [N, 11, 2], down and right
    for video_steps, motion in zip(steps, motions, strict=True):
        down, right = np.median(video_steps, axis=0)  # a bounce only shortens single steps
        name = MOTIONS[motion]
        assert (down > 0.2) == (name.startswith(("down", "slanting"))), name
        assert (right > 0.2) == (name.startswith(("across", "slanting"))), name
        if name != "still":
            assert (max(down, right) > 1.4) == name.endswith("fast"), name


def test_film_i_is_always_the_same(films):
    videos, motions = films
    few, few_motions = next(iter(load_split("train", 10).batches(10).as_numpy_iterator()))
    np.testing.assert_array_equal(few, videos[:10])
    np.testing.assert_array_equal(few_motions, motions[:10])
    shuffled = load_split("train", 20).batches(20, shuffle_seed=1, cache=False)
    other, _ = next(iter(shuffled.as_numpy_iterator()))
    assert {film.tobytes() for film in other} == {film.tobytes() for film in videos[:20]}
    seeded, _ = next(iter(load_split("train", 10, MovingDigits(seed=1)).batches(10).as_numpy_iterator()))
    tested, _ = next(iter(load_split("test", 10).batches(10).as_numpy_iterator()))
    for some in (seeded, tested):
        assert not {film.tobytes() for film in some} & {film.tobytes() for film in videos}


def test_the_label_may_be_the_digit(films):
    data = load_split("train", 20, MovingDigits(label="digit"))
    videos, digits = next(iter(data.batches(20).as_numpy_iterator()))
    np.testing.assert_array_equal(videos, films[0][:20])
    assert data.class_names == tuple("0123456789")
    assert len(set(digits.tolist())) > 3


@pytest.mark.slow
def test_two_digits_on_a_larger_square():
    data = load_split("test", 4, MovingDigits(digits=2, side=40, frames=3, digit_side=20))
    assert data.input_shape == (3, 40, 40, 1)
    videos, _ = next(iter(data.batches(4).as_numpy_iterator()))
    assert videos.shape == (4, 3, 40, 40, 1)


@pytest.mark.parametrize(
    ("films", "split", "count", "error", "complaint"),
    [
        (MovingDigits(source="mnst"), "train", 5, UnknownNameError, "did you mean 'mnist'"),
        (MovingDigits(label="motoin"), "train", 5, UnknownNameError, "did you mean 'motion'"),
        (MovingDigits(), "train[:5]", 5, DataError, "split train or test"),
        (MovingDigits(), "train", 0, DataError, "at least 1 film"),
        (MovingDigits(frames=0), "train", 5, DataError, "at least 1 frame"),
        (MovingDigits(digit_side=40), "train", 5, DataError, "fit into 32x32, got 40"),
        (MovingDigits(digits=2, label="digit"), "train", 5, DataError, "one digit a film"),
    ],
)
def test_what_cannot_be_filmed(films, split, count, error, complaint):
    with pytest.raises(error, match=complaint) as caught:
        load_split(split, count, films)
    assert "\n" not in str(caught.value)
