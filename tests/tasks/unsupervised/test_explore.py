"""Looking into learners: what is found, drawn, made noisy, dreamt and retrieved; on untrained machines, by hand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image, ImageDraw

from kapps import catalog, paths
from kapps.architectures.unsupervised.dbn import DBN, DBNConfig
from kapps.architectures.unsupervised.feature_learner import FeatureLearner
from kapps.architectures.unsupervised.rbm import RBM, RBMConfig
from kapps.architectures.unsupervised.sparse_coding import SparseCoding, SparseCodingConfig
from kapps.errors import DataError, ImageError, WeightsError
from kapps.tasks.unsupervised import explore


@pytest.fixture(scope="module")
def rbm() -> RBM:
    keras.utils.set_random_seed(0)
    return RBM((28, 28, 1), RBMConfig(hidden=6), name="an_rbm")


@pytest.fixture(scope="module")
def dbn() -> DBN:
    keras.utils.set_random_seed(0)
    return DBN((8, 8, 1), DBNConfig(hidden=(9, 2), classes=3), name="a_dbn")


@pytest.fixture(scope="module")
def coder() -> SparseCoding:
    return SparseCoding((6, 6, 1), SparseCodingConfig(atoms=5), name="a_coder")


@pytest.fixture(autouse=True)
def _no_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAPPS_DATA_DIR", str(tmp_path))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def a_one() -> bytes:
    image = Image.new("L", (100, 80), 240)
    ImageDraw.Draw(image).line([(30, 15), (27, 65)], fill=20, width=7)
    return png(image)


# --- what there is


def test_learners_are_found_by_their_cards_and_loaded(dbn, tmp_path, monkeypatch):
    entry = catalog.LearnerEntry("dbn", "kapps.architectures.unsupervised.dbn", "DBN", 2006, "", (784,), 1, "1")
    monkeypatch.setattr(catalog, "LEARNERS", (entry,))
    assert explore.shipped(tmp_path) == []
    card = json.loads((paths.saved_models_dir() / "mnist_lenet5" / "card.json").read_text())
    for name, architecture in (("b_net", "lenet5"), ("c_net", "dbn"), ("a_net", "dbn")):
        (tmp_path / name / "1").mkdir(parents=True)
        text = json.dumps({**card, "name": name, "title": name, "architecture": architecture, "version": 1})
        (tmp_path / name / "card.json").write_text(text)
    dbn.encoder().save(tmp_path / "c_net" / "1" / "model.keras")
    (tmp_path / "d_net").mkdir()
    (tmp_path / "d_net" / "card.json").write_text("{")
    (found,) = explore.shipped(tmp_path)  # a_net's file is missing, b_net is no learner, d_net is damaged
    assert (found.name, found.architecture) == ("c_net", "dbn")
    again = explore.load(found)
    assert type(again) is DBN
    np.testing.assert_array_equal(again.components_, dbn.components_)
    found.file.write_bytes(found.file.read_bytes()[:100])
    with pytest.raises(WeightsError):
        explore.load(found)


def test_recorded_results_are_read_by_name(tmp_path, monkeypatch):
    for name in ("b", "a"):
        (tmp_path / f"{name}.results.json").write_text(json.dumps({"recipe": name}))
    (tmp_path / "c.py").write_text("")
    monkeypatch.setattr(explore.resources, "files", lambda package: tmp_path)
    assert [result["recipe"] for result in explore.recorded()] == ["a", "b"]


# --- pictures


def test_filters_are_scaled_and_the_strongest_first(rbm, dbn):
    found = explore.filters(rbm, 4)
    assert found.shape == (4, 28, 28, 1)
    np.testing.assert_allclose(np.abs(found).max(axis=(1, 2, 3)), 1, rtol=1e-6)
    lengths = np.linalg.norm(rbm.components_.reshape(6, -1), axis=1)
    strongest = rbm.components_[lengths.argmax()]
    np.testing.assert_allclose(found[0], strongest / np.abs(strongest).max(), rtol=1e-5)
    assert explore.layers_of(rbm) == []
    assert explore.layers_of(dbn) == ["first layer", "top layer"]
    assert explore.filters(dbn).shape == (9, 8, 8, 1)
    assert explore.filters(dbn, layer="top layer").shape == (2, 8, 8, 1)


def test_a_grid_by_hand():
    pictures = np.array([[[[-1.0], [0.0]]], [[[1.0], [3.0]]], [[[0.0], [0.0]]]])  # three of 1 x 2 pixels
    sheet = explore.grid(pictures, low=-1, high=1, columns=2)
    assert (sheet.shape, sheet.dtype) == ((3, 5, 4), np.uint8)
    np.testing.assert_array_equal(sheet[0, :, 0], [0, 128, 0, 255, 255])
    np.testing.assert_array_equal(sheet[..., 3], [[255, 255, 0, 255, 255], [0] * 5, [255, 255, 0, 0, 0]])
    coloured = explore.grid(np.zeros((5, 4, 4, 3)), gap=0)
    assert coloured.shape == (8, 12, 4)


@pytest.mark.parametrize(("shape", "expected"), [((9,), (3, 3, 1)), ((4, 5), (4, 5, 1)), ((4, 5, 3), (4, 5, 3))])
def test_shapes_that_are_pictures(shape, expected):
    learner = RBM(shape, RBMConfig(hidden=2))
    assert explore.picture_shape(learner) == expected
    assert explore.filters(learner).shape == (2, *expected)


def test_what_is_no_picture_is_refused():
    for shape in ((10,), (2, 2, 2), (2, 2, 2, 2)):
        with pytest.raises(DataError, match="expected pictures as data"):
            explore.picture_shape(RBM(shape, RBMConfig(hidden=2)))

    class Blind(FeatureLearner):
        CONFIG = RBMConfig

    with pytest.raises(DataError, match="no filters"):
        explore.filters(Blind((4,)))


# --- data


def test_examples_are_of_the_learners_kind(rbm, dbn, coder):
    digits = explore.examples(rbm, 50)
    assert digits.data.shape == (50, 28, 28, 1)
    assert digits.source == "scikit-learn's scanned digits, enlarged"
    assert set(digits.labels) <= set(range(10))
    scans = explore.examples(dbn, 40)
    assert (scans.data.shape, scans.source) == ((40, 8, 8, 1), "scikit-learn's scanned digits")
    patches = explore.examples(coder, 30)
    assert (patches.data.shape, patches.labels) == ((30, 6, 6, 1), None)
    assert patches.data.min() < 0
    assert explore.shows_patches(coder)
    assert not explore.shows_patches(rbm)
    pieces = explore.examples(RBM((12, 12, 3), RBMConfig(hidden=2)), 3)
    assert pieces.data.shape == (3, 12, 12, 3)
    assert 0 <= pieces.data.min() < pieces.data.max() <= 1
    np.testing.assert_array_equal(explore.examples(rbm, 50).data, digits.data)
    assert explore.as_pictures(coder, patches.data).min() >= 0


def test_scans_get_mnists_form():
    rng = np.random.default_rng(0)
    scans = rng.random((4, 8, 8)).astype(np.float32)
    scans[0] = 0
    scans[0, :, 0] = 1  # a stroke at the left edge
    placed = explore.in_mnist_form(scans, 28, 28)
    assert placed.shape == (4, 28, 28, 1)
    np.testing.assert_allclose(placed.max(axis=(1, 2, 3)), 1, rtol=1e-5)
    for digit in placed:
        mass = digit[..., 0] / digit.sum()
        inked = np.argwhere(mass > 1e-3)
        assert (inked.max(0) - inked.min(0) < 20).all()
        assert abs((mass.sum(1) @ np.arange(28)) - 14) < 1
    # The stroke's centre would be in the middle if its box did not reach the border.
    assert placed[0].sum(axis=(0, 2)).argmax() >= 8
    np.testing.assert_array_equal(explore.in_mnist_form(scans, 8, 8)[..., 0], scans)


def test_a_drawn_digit_is_normalised(rbm, coder):
    digit = explore.drawn(rbm, a_one())
    assert digit.shape == (1, 28, 28, 1)
    assert digit.max() == pytest.approx(1)
    assert digit[0, :4].max() == 0
    assert abs(float(digit[0, ..., 0].sum(0) @ np.arange(28) / digit.sum()) - 14) < 1
    with pytest.raises(DataError, match="draw a digit"):
        explore.drawn(rbm, png(Image.new("L", (50, 50), 200)))
    with pytest.raises(DataError, match="learner of digits"):
        explore.drawn(coder, a_one())
    with pytest.raises(ImageError):
        explore.drawn(rbm, b"text")


def test_noise_is_as_much_as_asked_for(rbm, coder):
    data = np.full((30, 28, 28, 1), 0.5, np.float32)
    noisy = explore.noisy(rbm, data, 0.3)
    assert (noisy != 0.5).mean() == pytest.approx(0.3, abs=0.01)
    assert set(np.unique(noisy)) == {0.0, 0.5, 1.0}
    np.testing.assert_array_equal(explore.noisy(rbm, data, 0.3), noisy)
    np.testing.assert_array_equal(explore.noisy(rbm, data, 0), data)
    patches = explore.examples(coder, 200).data
    added = explore.noisy(coder, patches, 0.5) - patches
    assert added.std() == pytest.approx(0.5 * patches.std(), rel=0.05)


# --- what a learner does


def test_reconstructions_are_the_learners_own(rbm):
    data = explore.examples(rbm, 5).data
    again = explore.reconstruct(rbm, data)
    np.testing.assert_allclose(again, rbm.decode(rbm.encode(data)), atol=1e-6)


def test_chains_start_at_the_data_and_move(rbm, dbn, coder):
    data = explore.examples(rbm, 4).data
    frames = explore.chain(rbm, data, 3)
    assert frames.shape == (4, 4, 28, 28, 1)
    np.testing.assert_array_equal(frames[0], data)
    assert set(np.unique(frames[1:])) == {0.0, 1.0}
    assert (frames[2] != frames[3]).any()
    start = explore.examples(dbn, 4).data
    deep = explore.chain(dbn, start, 3)
    assert deep.shape == (4, 4, 8, 8, 1)
    assert ((deep[1:] > 0) & (deep[1:] < 1)).all()
    assert explore.has_chains(dbn)
    assert not explore.has_chains(coder)
    with pytest.raises(DataError, match="no Boltzmann machine"):
        explore.chain(coder, explore.examples(coder, 2).data, 1)


def test_dreams_are_of_classes_it_knows(rbm, dbn):
    assert (explore.classes(dbn), explore.classes(rbm)) == (3, 0)
    assert explore.dream(dbn, 2, 5, 2).shape == (5, 8, 8, 1)
    with pytest.raises(DataError, match="from 0 to 2, got 3"):
        explore.dream(dbn, 3, 1, 1)
    with pytest.raises(DataError, match="knows no classes"):
        explore.dream(rbm, 0, 1, 1)


def test_a_map_is_decoded_row_by_row_from_the_top(dbn):
    codes = np.random.default_rng(0).random((200, 2)).astype(np.float32)
    sheet = explore.sheet_of_codes(dbn, codes, side=3)
    assert sheet.shape == (9, 8, 8, 1)
    low, high = np.percentile(codes, [2, 98], axis=0)
    corner = dbn.inverse_transform([[low[0], high[1]]])
    np.testing.assert_allclose(sheet[0], corner[0], atol=1e-5)
    with pytest.raises(DataError, match="two numbers"):
        explore.sheet_of_codes(dbn, np.zeros((5, 3)))


def test_nearest_by_hand():
    codes = np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0], [0.0, -2.0]])
    places, distances = explore.nearest(codes, np.array([[0.0, 0.0]]), 3)
    assert places.tolist() == [0, 2, 3]
    np.testing.assert_allclose(distances, [0, 1, 2])
