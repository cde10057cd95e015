"""LeCun's size normalisation, on digits that Pillow renders and on real ones put into made-up photos."""

from __future__ import annotations

import itertools
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from kapps.data import load
from kapps.data.size_normalisation import is_size_normalised, size_normalise

FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"


@pytest.fixture(scope="module")
def normalise():
    graph = tf.function(size_normalise, input_signature=[tf.TensorSpec([None, None], tf.float32)])
    return lambda picture: graph(np.asarray(picture, np.float32)).numpy()


def printed(digit: str, height: int, *, canvas: tuple[int, int], at: tuple[int, int], paper=235, ink=30) -> np.ndarray:
    image = Image.new("L", canvas[::-1], paper)
    ImageDraw.Draw(image).text(at, digit, fill=ink, font=ImageFont.truetype(str(FONT), height))
    return np.asarray(image)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1]) if first.any() and second.any() else 0.0


def best_correlation(result: np.ndarray, expected: np.ndarray) -> float:
    """Over shifts by one pixel: the centre of mass may round to the other side."""
    steps = itertools.product((-1, 0, 1), repeat=2)
    return max(correlation(np.roll(result, step, (0, 1)), expected) for step in steps)


def photo(digit: np.ndarray, rng: np.random.Generator, *, side=224, noise=8.0, light=80.0, ink=0.2) -> np.ndarray:
    """A digit (bright on black, 28x28) as dark ink somewhere on a large, grainy sheet that is lit from one side."""
    height, width = 480, 640
    strokes = np.zeros((height, width))
    top, left = rng.integers(0, height - side), rng.integers(0, width - side)
    enlarged = Image.fromarray(digit.astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    strokes[top : top + side, left : left + side] = np.asarray(enlarged) / 255
    y, x = np.mgrid[0:1:480j, 0:1:640j]
    sheet = 215 - light * (0.7 * x + 0.4 * y**2)
    picture = sheet * (1 - strokes * (1 - ink)) + rng.normal(0, noise, sheet.shape)
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(1)))


def test_form_of_the_result(normalise):
    for digit in "12478":
        result = normalise(printed(digit, 150, canvas=(240, 320), at=(90, 20)))
        rows, columns = np.flatnonzero(result.any(1)), np.flatnonzero(result.any(0))
        sides = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert max(sides) == 20, digit
        assert result.max() == pytest.approx(255)
        assert result.min() == 0
        index = np.arange(28)
        centre = (result.sum(1) @ index) / result.sum(), (result.sum(0) @ index) / result.sum()
        assert np.abs(np.array(centre) - 14).max() <= 0.51, digit


def test_polarity_does_not_matter(normalise):
    picture = printed("5", 120, canvas=(200, 200), at=(60, 20))
    np.testing.assert_allclose(normalise(picture), normalise(255 - picture), atol=1e-2)


def test_place_does_not_matter(normalise):
    first = normalise(printed("2", 100, canvas=(300, 300), at=(30, 20)))
    second = normalise(printed("2", 100, canvas=(300, 300), at=(190, 140)))
    np.testing.assert_allclose(first, second, atol=6)


def test_size_hardly_matters(normalise):
    results = [
        normalise(printed("3", height, canvas=(2 * height, 2 * height), at=(height // 2, height // 4)))
        for height in (48, 90, 200, 380)
    ]
    for result in results[:-1]:
        assert best_correlation(result, results[-1]) > 0.97


def test_contrast_and_light_hardly_matter(normalise):
    plain = printed("6", 150, canvas=(240, 320), at=(90, 20))
    y, x = np.mgrid[0:1:240j, 0:1:320j]
    lit = plain * (1 - 0.5 * x) * (1 - 0.3 * y**2)
    assert best_correlation(normalise(lit), normalise(plain)) > 0.97
    faint = printed("6", 150, canvas=(240, 320), at=(90, 20), paper=200, ink=150)
    np.testing.assert_allclose(normalise(faint), normalise(plain), atol=12)


@pytest.mark.parametrize(
    "circumstances", [{}, {"noise": 20.0, "light": 140.0}, {"ink": 0.7, "side": 440}, {"side": 90}]
)
def test_real_digits_are_found_in_photos(normalise, shared_dir, circumstances):
    rng = np.random.default_rng(0)
    digits = load("mnist", "test[:25]", data_dir=shared_dir / "data" / "tfds")
    images = next(iter(digits.batches(25)))[0].numpy()[..., 0]
    results = [normalise(photo(digit, rng, **circumstances)) for digit in images]
    as_they_are = [correlation(result, digit) for result, digit in zip(results, images, strict=True)]
    nearly = [best_correlation(result, digit) for result, digit in zip(results, images, strict=True)]
    assert np.median(as_they_are) > 0.93
    assert np.median(nearly) > 0.95
    assert min(nearly) > 0.85
    # The same digit, and not merely some digit: nearest among all 25.
    nearest = [int(np.argmax([best_correlation(result, digit) for digit in images])) for result in results[:10]]
    assert nearest == list(range(10))


@pytest.mark.parametrize("shape", [(100, 120), (1, 1), (1, 50), (50, 1), (2, 3), (900, 1500)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_blank_picture_gives_a_blank_result(normalise, shape, value):
    assert not normalise(np.full(shape, value)).any()


@pytest.mark.parametrize(("noise", "blur"), [(3, 0), (12, 0), (30, 0), (30, 2)])
def test_noise_and_light_are_no_ink(normalise, noise, blur):
    y, x = np.mgrid[0:1:300j, 0:1:400j]
    picture = 200 - 90 * x - 30 * y**2 + np.random.default_rng(0).normal(0, noise, x.shape)
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(blur))
    assert not normalise(np.asarray(image)).any()


def test_any_picture_of_any_size_gives_finite_numbers(normalise):
    rng = np.random.default_rng(0)
    for shape in [(1, 1), (1, 7), (3, 2), (28, 28), (5, 900)]:
        result = normalise(rng.integers(0, 256, shape))
        assert result.shape == (28, 28)
        assert np.isfinite(result).all()
        assert result.min() >= 0
        assert result.max() <= 255.01


def test_what_needs_no_normalisation():
    black = np.zeros((28, 28), np.float32)
    stroke = black.copy()
    stroke[:, 12:15] = 255  # reaches the frame, which stays mostly black
    pictures = np.stack([black, stroke, 255 - stroke, black + 60])
    assert is_size_normalised(tf.constant(pictures)).numpy().tolist() == [True, True, False, False]


def test_all_of_mnist_is_normalised(shared_dir):
    digits = load("mnist", "test", data_dir=shared_dir / "data" / "tfds")
    for images, _ in digits.batches(2500):
        assert bool(tf.reduce_all(is_size_normalised(images[..., 0])))
