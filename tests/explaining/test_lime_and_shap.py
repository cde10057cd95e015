"""LIME and SHAP of models whose values can be worked out by hand."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest

from kapps.errors import DataError, MissingExtraError, RecipeError
from kapps.explaining import attribute, lime, shap

WORDS = {"good": 2.0, "bad": -1.5, "not": -3.0}


def values_of_words(texts):
    return np.array([sum(WORDS.get(word.strip(".,!"), 0.0) for word in text.split()) for text in texts])


@pytest.fixture(scope="module", params=["lime", "shap"])
def method(request):
    pytest.importorskip(request.param)
    return request.param


@pytest.fixture(scope="module")
def module(method):
    return {"lime": lime, "shap": shap}[method]


def tolerance(method, exact):
    """LIME's ridge draws its values to 0 by some hundredths; Kernel SHAP is exact for what adds up."""
    return {"rtol": 0.04, "atol": 0.03} if method == "lime" else {"rtol": 1e-4, "atol": exact}


def test_of_a_linear_model_a_segment_is_worth_its_pixels(method, linear):
    random = np.random.default_rng(3)
    image, baseline = random.normal(size=(2, 4, 5, 2)).astype(np.float32)
    weights = linear.layers[-1].get_weights()[0].reshape(4, 5, 2, 3)[..., 1]
    by_hand = ((image - baseline) * weights).sum(axis=-1)
    result = attribute(linear, image, method=method, target=1, baseline=baseline, segments=20, samples=1000)
    np.testing.assert_allclose(result.map, by_hand, **tolerance(method, 1e-4))
    halves = np.repeat([[0, 0, 1, 1, 1]], 4, axis=0)
    result = attribute(linear, image, method=method, target=1, baseline=baseline, segments=halves, samples=200)
    left, right = by_hand[:, :2].sum(), by_hand[:, 2:].sum()
    np.testing.assert_allclose(result.details["values"], [left, right], **tolerance(method, 1e-4))
    np.testing.assert_allclose(result.map[:, [0, 4]], np.repeat([result.details["values"]], 4, axis=0))
    assert (result.map.dtype, result.signed, result.target, result.method) == (np.float32, True, 1, method)
    assert result.score == pytest.approx(float(linear(image[None])[0, 1]), rel=1e-5)
    if method == "shap":
        assert result.details["base"] == pytest.approx(float(linear(baseline[None])[0, 1]), rel=1e-4)
    else:
        assert result.details["r2"] > 0.99


def test_shap_shares_a_product_and_a_chance_seed_decides_nothing_else():
    """x0 x1 of (2, 3, 5) against 0: by hand 3 for each factor, and nothing for what is not looked at."""
    pytest.importorskip("shap")
    image = np.array([[[2.0], [3.0], [5.0]]], np.float32)
    result = attribute(
        lambda batch: batch[:, 0, 0] * batch[:, 0, 1], image, method="shap", target=0, segments=3, samples=6
    )
    np.testing.assert_allclose(result.map, [[3.0, 3.0, 0.0]], atol=1e-5)
    before = np.random.get_state()[1].copy()
    again = attribute(
        lambda batch: batch[:, 0, 0] * batch[:, 0, 1], image, method="shap", target=0, segments=3, samples=6
    )
    np.testing.assert_array_equal(again.map, result.map)
    assert (np.random.get_state()[1] == before).all()


def test_the_size_of_the_batches_does_not_matter_and_the_seed_does(method, convnet, digit):
    one, other = (
        attribute(convnet, digit, method=method, segments=16, samples=100, batch_size=size).map for size in (7, 64)
    )
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    if method == "lime":
        seeded = attribute(convnet, digit, method=method, segments=16, samples=100, seed=1).map
        assert not np.array_equal(seeded, one)
    assert attribute(convnet, digit, method=method, segments=16, samples=100).details["explained"] == "evidence"


def test_words(method, module):
    sentence = "Not a good film, a bad good end!"
    found = module.text(lambda texts: values_of_words([text.lower() for text in texts]), sentence, samples=400)
    by_name = dict(zip(found.names, found.values, strict=True))
    # LIME takes a word away wherever it stands; SHAP each for itself
    by_hand = {"Not": -3.0, "film": 0.0, "bad": -1.5, "end": 0.0, "good": 4.0 if method == "lime" else 2.0}
    for word, value in by_hand.items():
        assert by_name[word] == pytest.approx(
            value, **{"rel": 0.05, "abs": 0.06} if method == "lime" else {"abs": 1e-3}
        )
    for word, spans in zip(found.names, found.spans, strict=True):
        assert all(sentence[begin:end] == word for begin, end in spans)
    if method == "lime":
        assert len(found.spans[found.names.index("good")]) == 2
    with pytest.raises(DataError, match="at least one word, got none"):
        module.text(values_of_words, " ,.! ")


def test_words_between_other_marks_and_of_other_scripts(method, module):
    found = module.text(lambda texts: np.array([text.count("好") for text in texts]), "很好|很坏", split=r"\|")
    # of two words LIME sees no difference but the one between them
    assert found.values[0] - found.values[1] == pytest.approx(1, abs=0.02)
    assert found.names == ("很好", "很坏")


def test_stretches_of_sound(method, module):
    """The score is what the samples from 30 to 59 add up to."""
    wave = np.zeros(100, np.float32)
    wave[30:60] = 0.5
    found = module.audio(lambda waves: waves[:, 30:60].sum(axis=1), wave, rate=100, segments=10, samples=500)
    np.testing.assert_allclose(found.values, [0, 0, 0, 5, 5, 5, 0, 0, 0, 0], atol=0.15 if method == "lime" else 1e-4)
    assert found.names[3] == "0.300 to 0.400 s"
    assert found.spans[3] == ((30, 40),)
    if method == "shap":
        louder = module.audio(lambda waves: waves[:, 30:60].sum(axis=1), wave, segments=10, baseline=1.0)
        np.testing.assert_allclose(louder.values[2:7], [0, -5, -5, -5, 0], atol=1e-4)


def test_rows_of_a_table(method, module):
    random = np.random.default_rng(4)
    background = random.normal([1.0, -2.0, 5.0], [1.0, 2.0, 0.5], (500, 3))
    weights, row = np.array([2.0, -1.0, 0.0]), np.array([3.0, 1.0, 5.0])
    options = {"background": background[:80], "names": ["a", "b", "c"], "samples": 2000}
    if method == "shap":  # weight times distance from the background's mean
        expected = weights * (row - background[:80].mean(axis=0))
    else:  # weight for a standard deviation
        expected, options = weights * background[:80].std(axis=0), options | {"discretize": False}
    found = module.table(lambda rows: rows @ weights, row, **options)
    np.testing.assert_allclose(found.values, expected, rtol=0.01, atol=0.01)
    assert found.names == ("a", "b", "c")
    if method == "lime":
        quarters = module.table(lambda rows: rows @ weights, row, background=background, names="abc", samples=2000)
        assert all(name in told for name, told in zip("abc", quarters.names, strict=True))  # such as "a > 1.70"
        # the mean of a normal's upper quarter is 1.27 deviations, of the rest -0.42
        np.testing.assert_allclose(quarters.values, [2 * 1.69, -1 * 2 * 1.69, 0], atol=0.6)
    else:
        # of many rows a hundred are drawn
        many = module.table(lambda rows: rows @ weights, row, background=background)
        np.testing.assert_allclose(many.values, weights * (row - background.mean(axis=0)), atol=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"expected background=rows of the table"),
        ({"background": np.zeros((4, 2))}, r"background rows \[n, F\], got \[3\] and \[4, 2\]"),
        ({"background": np.full((4, 3), np.nan)}, "fill the gaps first"),
        ({"background": np.zeros((4, 3)), "names": ["a"]}, "expected 3 feature names, one for each column, got 1"),
    ],
)
def test_wrong_tables_are_refused(method, module, options, message):
    with pytest.raises(DataError, match=message):
        module.table(lambda rows: rows[:, 0], np.zeros(3), **options)


def test_too_few_samples_are_refused(method, digit, convnet):
    with pytest.raises(RecipeError, match="at least twice the 64 parts, got 100"):
        attribute(convnet, digit, method=method, segments=64, samples=100)


def test_functions_are_asked_with_arrays_and_checked(method):
    image = np.ones((2, 2, 1), np.float32)
    shapes = []

    def function(batch):
        shapes.append((type(batch), batch.dtype, batch.shape[1:]))
        return batch.sum(axis=(1, 2))  # [B, 1]

    result = attribute(function, image, method=method, segments=4, samples=14)
    assert result.target == 0
    assert set(shapes) == {(np.ndarray, np.dtype("float32"), (2, 2, 1))}
    with pytest.raises(DataError, match=r"expected scores \[1, N\] for 1 inputs, the function gave \[1, 2, 2, 1\]"):
        attribute(lambda batch: batch, image, method=method)
    with pytest.raises(DataError, match=r"got a function, whose inside cannot be seen: take lime, shap or occlusion"):
        attribute(function, image, method="grad_cam")
    with pytest.raises(DataError, match="do not depend on the image by differentiable steps: use occlusion, lime or"):
        attribute(function, image, method="saliency")


@pytest.mark.parametrize("package", ["lime", "shap"])
def test_a_missing_package_is_named(monkeypatch, package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package} is needed .*kapps\[explain\]"):
        attribute(lambda batch: batch.sum(axis=(1, 2)), np.ones((2, 2, 1), np.float32), method=package)


def test_occlusion_needs_no_inside_either():
    image = keras.Input((1, 3, 1))
    model = keras.Model(image, image[:, 0, :, 0])
    picture = np.array([[[5.0], [2.0], [7.0]]], np.float32)
    options = {"method": "occlusion", "target": 2, "patch": 1, "stride": 1}
    expected = attribute(model, picture, **options)
    np.testing.assert_array_equal(attribute(lambda batch: batch[:, 0, :, 0], picture, **options).map, expected.map)
