from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest

from kapps.data import Preprocessing, arrays, load
from kapps.errors import DataError

IMAGES = np.arange(5 * 3 * 4, dtype=np.uint8).reshape(5, 3, 4)
LABELS = np.array([0, 1, 2, 0, 1])


def test_grey_images_get_a_channel():
    data = load((IMAGES, LABELS))
    assert (data.kind, data.input_shape, data.num_examples) == ("image", (3, 4, 1), 5)
    assert data.class_names == ("0", "1", "2")
    inputs, labels = next(iter(data.batches(5)))
    np.testing.assert_array_equal(inputs[..., 0], IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def test_slices_keep_all_classes():
    data = load((IMAGES, LABELS), "train[:2]")
    assert data.num_examples == 2
    assert data.num_classes == 3


def test_other_numbers_go_to_the_model_as_they_are():
    points = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float64)
    data = load((points, np.array([[0], [1], [1], [0]])))
    assert (data.kind, data.input_shape) == ("array", (2,))
    inputs, labels = next(iter(data.batches(4)))
    assert inputs.dtype == "float32"
    np.testing.assert_array_equal(inputs, points)
    assert labels.numpy().tolist() == [0, 1, 1, 0]
    with pytest.raises(DataError, match="uint8"):
        data.batches(4, preprocessing=Preprocessing((2, 2)))


def test_npz_with_splits(tmp_path):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:2], y_test=LABELS[:2])
    assert load(path).num_examples == 5
    test = load(str(path), "test")
    assert (test.num_examples, test.num_classes, test.name) == (2, 3, "set")
    with pytest.raises(DataError, match="no split 'validation'"):
        load(path, "validation")


@pytest.mark.parametrize("keys", [("x", "y"), ("images", "labels"), ("inputs", "labels")])
def test_npz_with_one_pair(tmp_path, keys):
    path = tmp_path / "set.npz"
    np.savez(path, **dict(zip(keys, (IMAGES, LABELS), strict=True)))
    assert load(path).num_examples == 5


def test_npy_is_read_row_by_row(tmp_path):
    np.save(tmp_path / "big.npy", np.repeat(IMAGES[..., np.newaxis], 3, axis=-1))
    np.save(tmp_path / "big_labels.npy", LABELS)
    data = load(tmp_path / "big.npy", "train[1:]")
    assert data.input_shape == (3, 4, 3)
    inputs, labels = next(iter(data.batches(4, cache=False)))
    np.testing.assert_array_equal(inputs[..., 1], IMAGES[1:])
    np.testing.assert_array_equal(labels, LABELS[1:])


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (IMAGES, LABELS[:3], "as many labels as inputs"),
        (IMAGES, np.eye(5), "argmax"),
        (IMAGES, LABELS - 1, "from 0"),
        (IMAGES, LABELS + 0.5, "whole numbers"),
        (IMAGES, np.array(list("abcde")), "expected numbers"),
        (IMAGES, LABELS * 10**9, "renumber"),
        (IMAGES[:0], LABELS[:0], "at least one example"),
        (np.arange(5.0), LABELS, r"expected inputs \[N, ...\]"),
        (np.array([[1.0], [2.0], [np.nan], [1.0], [1.0]]), LABELS, "example 2 holds NaN"),
        (np.array([[1.0], [2.0], [1.0], [np.inf], [1.0]]), LABELS, "example 3 holds NaN or inf"),
        (np.array([[object()]] * 5), LABELS, "expected numbers"),
    ],
)
def test_arrays_that_do_not_fit(inputs, labels, message):
    with pytest.raises(DataError, match=message):
        load((inputs, labels))


def test_files_that_are_not_what_they_should_be(tmp_path):
    def refused(path, message):
        with pytest.raises(DataError, match=message) as error:
            load(path)
        assert "\n" not in str(error.value)

    refused(tmp_path / "absent.npz", "found nothing")
    (tmp_path / "text.npz").write_text("not a zip")
    refused(tmp_path / "text.npz", "not a readable")
    np.savez(tmp_path / "names.npz", a=IMAGES, b=LABELS)
    refused(tmp_path / "names.npz", "x_train, y_train.*found a, b")
    np.save(tmp_path / "alone.npy", IMAGES)
    refused(tmp_path / "alone.npy", "alone_labels.npy")
    np.savez(tmp_path / "cut.npz", x=IMAGES, y=LABELS)
    data = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    refused(tmp_path / "cut.npz", "not a readable")
    np.savez(tmp_path / "differ.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:, :2], y_test=LABELS)
    refused(tmp_path / "differ.npz", "differ in shape")


class Bomb:
    """Would leave a trace if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_in_a_file_is_executed(tmp_path):
    np.savez(tmp_path / "evil.npz", x=np.array([Bomb(tmp_path / "trace")], object), y=LABELS)
    (tmp_path / "evil.npy").write_bytes(pickle.dumps(Bomb(tmp_path / "trace")))
    np.save(tmp_path / "evil_labels.npy", LABELS)
    for name in ("evil.npz", "evil.npy"):
        with pytest.raises(DataError, match="never loaded"):
            load(tmp_path / name)
    assert not (tmp_path / "trace").exists()


def test_a_zip_bomb_is_refused_by_its_header(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MAX_NPZ_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(100_000))
    with pytest.raises(DataError, match="unpacks to 100,000 bytes"):
        load(tmp_path / "bomb.npz")
