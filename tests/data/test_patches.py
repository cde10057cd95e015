"""Patches of natural photographs: normalised, whitened, the same for a seed, in little memory."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kapps.data.patches import CONTRAST_FLOOR, Whitening, natural_patches, patch_stream
from kapps.errors import DataError


def test_a_patch_is_a_piece_of_a_photograph_without_its_mean_and_contrast():
    from sklearn.datasets import load_sample_images

    patches = natural_patches(6, 200, whiten=False, seed=3)
    assert (patches.shape, patches.dtype) == ((200, 6, 6, 1), np.float32)
    rows = patches.reshape(200, -1)
    np.testing.assert_allclose(rows.mean(axis=1), 0, atol=1e-4)
    variances = rows.var(axis=1)
    assert variances.max() < 1
    assert variances.max() > 0.9
    assert np.median(variances) > 0.1  # much of a photograph is nearly flat, and stays so
    # One of them, looked for in the photographs at every place.
    patch = rows[int(np.argmax(variances))]
    nearest = np.inf
    for image in load_sample_images().images:
        grey = image.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])
        windows = np.lib.stride_tricks.sliding_window_view(grey, (6, 6)).reshape(-1, 36)
        windows = windows - windows.mean(1, keepdims=True)
        windows /= np.sqrt(windows.var(1, keepdims=True) + CONTRAST_FLOOR)
        nearest = min(nearest, float(np.abs(windows - patch).max(axis=1).min()))
    assert nearest < 1e-3


def test_whitened_pixels_are_not_correlated():
    before, after = (natural_patches(6, 5000, whiten=whiten).reshape(5000, -1) for whiten in (False, True))

    def correlation(rows):
        matrix = np.corrcoef(rows.T)
        return np.abs(matrix[~np.eye(len(matrix), dtype=bool)]).mean()

    assert correlation(after) < 0.6 * correlation(before)
    # ZCA keeps pictures pictures: a whitened patch is still like what it came from.
    likeness = [np.corrcoef(*pair)[0, 1] for pair in zip(before[:200], after[:200], strict=True)]
    assert np.median(likeness) > 0.4


def test_seeds():
    first, again, other = (natural_patches(4, 30, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


@pytest.mark.parametrize("kind", ["zca", "pca"])
def test_whitening_by_its_definition(kind):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, 5)) @ rng.normal(size=(5, 5)) + 3
    whitening = Whitening.learn(rows, kind=kind, floor=1e-8)
    white = whitening.apply(rows)
    np.testing.assert_allclose(np.cov(white.T), np.eye(5), atol=2e-2)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(whitening.undo(white), rows, atol=1e-2)
    if kind == "zca":
        np.testing.assert_allclose(whitening.matrix, whitening.matrix.T, atol=1e-3)


def test_the_floor_leaves_noise_small():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 2)) * [1.0, 0.01]
    white = Whitening.learn(rows, kind="pca", floor=0.1).apply(rows)
    np.testing.assert_allclose(white.std(axis=0), [1 / np.sqrt(1.1), 0.01 / np.sqrt(0.1001)], rtol=0.05)


def test_a_stream_gives_other_batches_and_the_same_again():
    stream = patch_stream(4, 20, batches=3, seed=5)
    first, again = (np.stack(list(stream.as_numpy_iterator())) for _ in range(2))
    assert first.shape == (3, 20, 4, 4, 1)
    assert stream.cardinality().numpy() == 3
    np.testing.assert_array_equal(first, again)
    assert np.abs(first[0] - first[1]).max() > 0.1
    endless = patch_stream(4, 20, seed=5).as_numpy_iterator()
    np.testing.assert_array_equal(np.stack(list(itertools.islice(endless, 3))), first)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: natural_patches(1, 5), "2 to 64 pixels, got 1"),
        (lambda: natural_patches(65, 5), "got 65"),
        (lambda: natural_patches(8, 0), "count of at least 1, got 0"),
        (lambda: natural_patches(4, 5, kind="ica"), "'zca' or 'pca', got 'ica'"),
        (lambda: patch_stream(8, 0), "batch_size of at least 1"),
        (lambda: patch_stream(8, 5, batches=0), "batches of at least 1"),
        (lambda: Whitening.learn(np.ones((1, 3))), "at least 2 examples"),
        (lambda: Whitening.learn(np.zeros((5, 2, 2))), "flatten them"),
        (lambda: Whitening.learn(np.full((5, 2), np.nan)), "NaN or infinity"),
        (lambda: Whitening.learn(np.arange(10.0).reshape(5, 2) * [1, 0]), "got 1 of 2 that are constant"),
    ],
)
def test_what_is_refused_in_one_line(call, words):
    with pytest.raises(DataError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
