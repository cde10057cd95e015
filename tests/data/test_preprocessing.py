from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kapps.data import Preprocessing
from kapps.errors import DataError, RecipeError

RNG = np.random.default_rng(0)
PHOTO = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((120, 90), Image.Resampling.BICUBIC)
)


def test_scaling_is_pixel_times_scale_minus_mean_by_std():
    image = np.array([[[0, 51, 255]]], np.uint8)
    preprocessing = Preprocessing((1, 1), mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    np.testing.assert_allclose(preprocessing(image)[0, 0], [-0.2, 0.0, 0.35], atol=1e-6)
    # SqueezeNet's from Caffe: BGR, 0..255, its own means.
    caffe = Preprocessing((1, 1), scale=1.0, mean=(104.0, 117.0, 123.0), channel_order="bgr")
    np.testing.assert_allclose(caffe(image)[0, 0], [255 - 104, 51 - 117, 0 - 123], atol=1e-4)


def test_channels_are_converted():
    colour = np.array([[[200, 100, 50]]], np.uint8)
    grey = Preprocessing((1, 1), channels=1, scale=1.0)
    luma = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    np.testing.assert_allclose(grey(colour), [[[luma]]], rtol=1e-6)
    assert abs(luma - np.asarray(Image.fromarray(colour).convert("L"))[0, 0]) <= 0.5
    rgb = Preprocessing((1, 1), scale=1.0)
    np.testing.assert_array_equal(rgb(np.array([[[77]]], np.uint8)), [[[77, 77, 77]]])
    np.testing.assert_array_equal(
        rgb(np.array([[[0, 51]]], np.uint8)), [[[204, 204, 204]]]
    )  # a fifth of black on white
    np.testing.assert_array_equal(rgb(np.array([[[9, 8, 7, 0]]], np.uint8)), [[[255, 255, 255]]])
    # Grey stays exact on every way.
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    same = Preprocessing((16, 16), channels=1, scale=1.0)
    np.testing.assert_array_equal(same(values), values)
    np.testing.assert_array_equal(same(np.repeat(values, 3, -1)), values)


@pytest.mark.parametrize("antialias", [True, False])
def test_stretch_is_pillows_resize(antialias):
    size = (30, 50)
    result = Preprocessing(size, scale=1.0, antialias=antialias)(PHOTO).numpy()
    expected = np.asarray(Image.fromarray(PHOTO).resize(size[::-1], Image.Resampling.BILINEAR), float)
    difference = np.abs(result - expected).max()
    # Pillow always filters before it samples down.
    assert difference < 1.01 if antialias else difference > 5


def test_crop_is_the_centre_of_a_covering_resize():
    result = Preprocessing((56, 56), fit="crop", crop_ratio=0.875, scale=1.0)(PHOTO).numpy()
    whole = Image.fromarray(PHOTO).resize((round(120 * 64 / 90), 64), Image.Resampling.BILINEAR)  # short side 64
    left, top = (whole.width - 56) // 2, (whole.height - 56) // 2
    expected = np.asarray(whole.crop((left, top, left + 56, top + 56)), float)
    assert np.abs(result - expected).max() < 1.01


def test_letterbox_keeps_the_aspect_and_fills():
    result = Preprocessing((60, 60), fit="letterbox", fill=128, scale=1.0)(PHOTO).numpy()
    inside = np.asarray(Image.fromarray(PHOTO).resize((60, 45), Image.Resampling.BILINEAR), float)
    assert np.abs(result[7:52] - inside).max() < 1.01
    assert (result[:7] == 128).all()
    assert (result[52:] == 128).all()


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox", "digit"])
def test_any_size_gives_the_same_shape_in_the_graph(fit):
    preprocessing = Preprocessing((28, 28), channels=3, fit=fit)
    graph = tf.function(preprocessing, input_signature=[tf.TensorSpec([None, None, None], tf.uint8)])
    assert graph.get_concrete_function().outputs[0].shape == (28, 28, 3)
    for shape in [(1, 1, 1), (1, 3000, 3), (3000, 1, 4), (7, 5, 2), (28, 28, 1)]:
        image = RNG.integers(0, 256, shape, dtype=np.uint8)
        result = graph(image)
        assert np.isfinite(result).all()
        np.testing.assert_allclose(result, preprocessing(image), atol=1e-5)


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox", "digit"])
@pytest.mark.parametrize("size", [(28, 28), (20, 24)])
def test_a_batch_is_its_images_one_by_one(fit, size):
    preprocessing = Preprocessing((28, 28), channels=1, fit=fit, mean=(0.1,), std=(0.3,))
    images = RNG.integers(0, 256, (3, *size, 3), dtype=np.uint8)
    expected = np.stack([preprocessing(image) for image in images])
    np.testing.assert_allclose(preprocessing.batch(images), expected, atol=1e-5)


def test_normalised_digits_pass_unchanged():
    preprocessing = Preprocessing((28, 28), channels=1, fit="digit", scale=1.0)
    digit = np.zeros((28, 28, 1), np.uint8)
    digit[5:22, 10:18] = RNG.integers(0, 256, (17, 8, 1))
    np.testing.assert_array_equal(preprocessing(digit), digit)
    np.testing.assert_array_equal(preprocessing(np.repeat(digit, 3, -1)), digit)
    np.testing.assert_array_equal(preprocessing.batch(digit[None]), digit[None])
    mixed = preprocessing.batch(np.stack([digit, 255 - digit])).numpy()
    np.testing.assert_array_equal(mixed[0], digit)
    assert mixed[1][0, 0] == 0  # turned into bright on black


def test_what_is_pointwise():
    assert Preprocessing((28, 28)).is_pointwise((28, 28, 1))
    assert not Preprocessing((28, 28)).is_pointwise((28, 27, 1))
    assert not Preprocessing((28, 28)).is_pointwise((None, None, 3))
    assert not Preprocessing((28, 28), fit="crop", crop_ratio=0.9).is_pointwise((28, 28, 3))
    assert not Preprocessing((28, 28), fit="digit").is_pointwise((28, 28, 1))


def test_only_bytes_are_pixels():
    with pytest.raises(DataError, match=r"expected uint8 pixels .* got float32"):
        Preprocessing((4, 4))(np.zeros((4, 4, 3), np.float32))


def test_it_survives_json():
    preprocessing = Preprocessing(
        (227, 200), fit="crop", crop_ratio=227 / 256, scale=1.0, mean=(104.0, 117.0, 123.0), channel_order="bgr"
    )
    again = Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict())))
    assert again == preprocessing
    assert hash(again) == hash(preprocessing)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": [28, 28], "chanels": 1}, "no field 'chanels': did you mean 'channels'"),
        ({"channels": 1}, "needs the field 'size'"),
        ({"size": [28]}, "size: expected"),
        ({"size": [0, 28]}, "size: expected"),
        ({"size": [28.5, 28]}, "size: expected"),
        ({"size": [10**6, 28]}, "size: expected"),
        ({"size": "28"}, "size: expected"),
        ({"size": [28, 28], "channels": 4}, "channels: expected 1 or 3, got 4"),
        ({"size": [28, 28], "fit": "squeeze"}, "fit: expected one of stretch, crop, letterbox, digit, got 'squeeze'"),
        ({"size": [28, 28], "interpolation": "cubic"}, "interpolation: expected"),
        ({"size": [28, 28], "channel_order": "rbg"}, "channel_order: expected"),
        ({"size": [28, 28], "antialias": 1}, "antialias: expected"),
        ({"size": [28, 28], "crop_ratio": 0}, "crop_ratio: expected"),
        ({"size": [28, 28], "fill": 256}, "fill: expected"),
        ({"size": [28, 28], "scale": -1}, "scale: expected"),
        ({"size": [28, 28], "scale": float("nan")}, "scale: expected"),
        ({"size": [28, 28], "mean": [1, 2]}, "mean: expected 1 or 3 numbers"),
        ({"size": [28, 28], "std": [0]}, "std: expected positive"),
        ({"size": [28, 28], "std": ["1"]}, "std: expected 1 or 3 numbers"),
    ],
)
def test_what_cannot_be_used_is_refused(fields, message):
    with pytest.raises(RecipeError, match=message) as error:
        Preprocessing.from_dict(fields)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [(90, 120), (37, 200), (200, 31), (7, 5), (2, 900)])
@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing((48, 64), scale=1.0),
        Preprocessing((48, 48), fit="crop", crop_ratio=0.875, scale=1.0),
        Preprocessing((30, 48), fit="crop", scale=1.0),
        Preprocessing((48, 64), fit="letterbox", scale=1.0, fill=77.0),
    ],
    ids=["stretch", "crop with ratio", "crop", "letterbox"],
)
def test_places_say_where_each_pixel_went(preprocessing, size):
    """Ramps from 0 to 255: where a pixel's place says that it went, the result has that pixel's value."""
    for axis, length in enumerate(size):
        ramp = np.expand_dims(np.linspace(0, 255, length, dtype=np.float32), 1 - axis)
        image = np.broadcast_to(np.round(ramp)[..., np.newaxis], (*size, 3)).astype(np.uint8)
        result = np.asarray(preprocessing(tf.constant(image)))[..., 0]
        result = result.take(_middle(preprocessing, size, 1 - axis), 1 - axis)
        places = preprocessing.places(*size)[axis]
        inside = (places > 0) & (places < 1)
        assert inside.any()
        found = result[(places[inside] * len(result)).astype(int)]
        # Half a pixel of the coarser of the two on each side, where the result is a mean of several or in between.
        one = (places[1] - places[0]) * len(result)  # so many of the result's pixels is one of the image
        atol = 1.5 + 255 / (length - 1) * max(1, 1 / one)
        np.testing.assert_allclose(found, image.take(0, 1 - axis)[inside, 0], atol=atol)


def _middle(preprocessing: Preprocessing, size: tuple[int, int], axis: int) -> int:
    """A row or column of the result in which the image is."""
    places = preprocessing.places(*size)[axis]
    inside = places[(places > 0) & (places < 1)]
    return int(inside[len(inside) // 2] * preprocessing.size[axis])


def test_places_of_a_digit_are_not_foretold():
    with pytest.raises(RecipeError, match='treats all images alike, got "digit"'):
        Preprocessing((28, 28), channels=1, fit="digit").places(40, 40)
