from __future__ import annotations

import logging
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kapps.data import Preprocessing, load, read_image
from kapps.errors import DataError


def add_images(folder: Path, count: int, *, size: tuple[int, int] = (12, 10), suffix: str = ".png", mode="RGB") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new(mode, size, number * 5).save(folder / f"{number:03d}{suffix}")


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "photos"
    for name in ("猫 und Katze", "dog", "bird"):
        add_images(root / name, 10)
    return root


def paths_of(data) -> list[str]:
    return [path.decode() for path, _ in data.records.as_numpy_iterator()]


def test_classes_and_examples(folder):
    data = load(folder)
    assert data.class_names == ("bird", "dog", "猫 und Katze")
    assert (data.num_examples, data.input_shape, data.kind, data.name) == (24, (10, 12, 3), "image", "photos")
    assert data.notes == ()
    for (path, label), (image, same_label) in zip(
        data.records.as_numpy_iterator(), data.examples.as_numpy_iterator(), strict=True
    ):
        assert label == same_label
        assert Path(path.decode()).parent.name == data.class_names[label]
        np.testing.assert_array_equal(image, read_image(path.decode()))


def test_the_split_depends_on_the_paths_alone(folder, tmp_path):
    train, test = paths_of(load(folder)), paths_of(load(folder, "test"))
    assert sorted(train + test) == sorted(str(path) for path in folder.glob("*/*"))
    assert Counter(Path(path).parent.name for path in test) == {"bird": 2, "dog": 2, "猫 und Katze": 2}
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    assert [os.path.relpath(path, moved) for path in paths_of(load(moved, "test"))] == [
        os.path.relpath(path, folder) for path in test
    ]
    # One more image moves at most one other.
    add_images(moved / "new", 0)
    Image.new("RGB", (12, 10)).save(moved / "dog" / "more.png")
    after = {os.path.relpath(path, moved) for path in paths_of(load(moved, "test"))}
    assert len(after - {os.path.relpath(path, folder) for path in test}) <= 1


def test_explicit_splits(tmp_path):
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        for name in ("a", "b"):
            add_images(tmp_path / split / name, count)
    assert [load(tmp_path, split).num_examples for split in ("train", "validation", "test")] == [8, 4, 6]
    assert load(tmp_path, "test[:50%]").num_classes == 2
    with pytest.raises(DataError, match="no split 'dev'"):
        load(tmp_path, "dev")
    add_images(tmp_path / "test" / "c", 1)
    with pytest.raises(DataError, match="class 'c' in 'test' and no image of it in 'train'"):
        load(tmp_path)


def test_classes_may_be_called_like_splits(tmp_path):
    for name in ("train", "test", "bus"):
        add_images(tmp_path / name, 5)
    assert load(tmp_path).class_names == ("bus", "test", "train")


def test_images_of_different_kinds(tmp_path):
    add_images(tmp_path / "a", 5, size=(30, 20), suffix=".jpg")
    add_images(tmp_path / "a" / "deeper", 5, size=(20, 30), suffix=".GIF")
    add_images(tmp_path / "b", 5, size=(9, 9), suffix=".bmp", mode="L")
    add_images(tmp_path / "c", 5, size=(16, 16), suffix=".JPEG", mode="L")
    data = load(tmp_path)
    assert data.num_examples == 16
    assert data.input_shape == (None, None, None)
    with pytest.raises(DataError, match="differ in size"):
        data.batches(4)
    for cache in (True, False):
        batches = data.batches(4, preprocessing=Preprocessing((8, 8)), shuffle_seed=0, cache=cache)
        assert [inputs.shape for inputs, _ in batches] == [(4, 8, 8, 3)] * 4


def test_grey_and_colour_images_of_one_size(tmp_path):
    add_images(tmp_path / "a", 3, mode="L")
    add_images(tmp_path / "b", 3)
    data = load(tmp_path)
    assert data.input_shape == (10, 12, None)
    for cache in (True, False):
        (inputs, _), *_ = data.batches(4, preprocessing=Preprocessing((10, 12)), cache=cache)
        assert inputs.shape == (4, 10, 12, 3)


def test_a_photo_may_be_turned_by_its_orientation(tmp_path):
    for name in ("a", "b"):
        add_images(tmp_path / name, 2, size=(30, 20), suffix=".jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "a" / "turned.jpg", exif=exif)
    data = load(tmp_path, "train+test")
    assert data.input_shape == (None, None, 3)
    assert Counter(image.shape for image, _ in data.examples.as_numpy_iterator()) == {(20, 30, 3): 4, (30, 20, 3): 1}


def test_what_cannot_be_read_is_left_out_by_name(folder, caplog, damaged):
    name, data, message = damaged
    bad = folder / "dog" / "bad.jpg"
    bad.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        dataset = load(folder)
    assert dataset.num_examples == 24
    (note,) = dataset.notes
    assert note.startswith(f"left out {bad}: expected"), name
    assert message.split(",")[0].split(".*")[0] in note
    assert len(caplog.records) == 1
    assert "\n" not in note


def test_many_bad_files_are_counted(folder):
    for number in range(50):
        (folder / "dog" / f"bad{number}.png").write_text("text")
    notes = load(folder).notes
    assert len(notes) == 21
    assert notes[-1] == "left out 30 more files that cannot be read"


def test_other_files_are_ignored(folder):
    (folder / "readme.txt").write_text("x")
    (folder / "dog" / "Thumbs.db").write_text("x")
    (folder / "dog" / ".hidden.png").write_text("x")
    (folder / ".git").mkdir()
    add_images(folder / ".git", 3)
    data = load(folder)
    assert data.num_classes == 3
    assert data.notes == (
        f"left out 2 files in {folder} that are not .png, .jpg, .jpeg, .gif, .bmp files in a class folder",
    )


def test_links_in_circles(folder):
    (folder / "loop").symlink_to(folder)
    (folder / "self").symlink_to("self")
    (folder / "dog" / "up").symlink_to(folder)
    (folder / "dog" / "linked.png").symlink_to(folder / "bird" / "000.png")
    data = load(folder)
    assert data.num_examples + load(folder, "test").num_examples == 31
    assert any("a link to a folder that it lies in" in note for note in data.notes)


def test_a_class_with_one_image_keeps_it_for_training(folder):
    add_images(folder / "rare", 1)
    train, test = load(folder), load(folder, "test")
    assert "rare" in train.class_names
    assert any("rare" in path for path in paths_of(train))
    assert not any("rare" in path for path in paths_of(test))
    assert any("class 'rare' has one image" in note for note in train.notes)
    assert test.class_names == train.class_names


def test_a_class_without_images_is_left_out(folder):
    (folder / "empty").mkdir()
    data = load(folder)
    assert data.num_classes == 3
    assert data.notes == ("left out the class 'empty': no image in it can be read",)


def test_folders_that_are_no_data_set(tmp_path):
    def refused(path, message):
        with pytest.raises(DataError, match=message) as error:
            load(path)
        assert "\n" not in str(error.value)

    refused(tmp_path / "absent", "found nothing")
    refused(tmp_path, "expected class folders")
    Image.new("L", (5, 5)).save(tmp_path / "flat.png")
    refused(tmp_path, "expected class folders")
    (tmp_path / "a").mkdir()
    refused(tmp_path, "found none that can be read")
    (tmp_path / "a" / "text.png").write_text("hello")
    refused(tmp_path, r"found none that can be read \(left out .*text.png: expected")
    add_images(tmp_path / "a", 3)
    refused(tmp_path, "at least two class folders")
    refused(tmp_path / "flat.png", "found a file that is neither")


def test_a_folder_that_may_not_be_read(folder, monkeypatch):
    walk = os.walk

    def denied(top, onerror=None, **options):
        onerror(PermissionError(13, "Permission denied", str(top)))
        return walk(top, **options)

    monkeypatch.setattr(os, "walk", denied)
    with pytest.raises(DataError, match=r"the folder .*bird cannot be read \(Permission denied\)"):
        load(folder)


def test_a_file_that_may_not_be_read_is_left_out(folder, monkeypatch):
    read_bytes = Path.read_bytes

    def denied(path):
        if path.name == "003.png" and path.parent.name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", denied)
    data = load(folder)
    assert data.notes == (f"left out {folder / 'dog' / '003.png'}: cannot be read (Permission denied)",)
