from __future__ import annotations

import shutil
from collections import Counter

import pytest
from PIL import Image

from kapps.errors import DataError
from kapps.tasks.transfer.photos import group_nearly_equal, read_photos

from .conftest import picture


def sides(photos):
    return {side: {photo.path.name for photo in getattr(photos, side)} for side in ("train", "validation", "test")}


def test_every_class_is_split_by_about_the_share(folder):
    photos = read_photos(folder, validation=0.25)
    assert photos.class_names == ("bars", "点 dots")
    assert Counter(photo.label for photo in photos.train) == {0: 9, 1: 9}
    assert Counter(photo.label for photo in photos.validation) == {0: 3, 1: 3}
    assert photos.notes == ()


def test_the_split_follows_from_the_contents_alone(folder, tmp_path):
    first = read_photos(folder)
    renamed = tmp_path / "other"
    for index, path in enumerate(sorted(folder.rglob("*.png"), reverse=True)):
        (renamed / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, renamed / path.parent.name / f"{index}.png")
    second = read_photos(renamed)
    assert {photo.digest for photo in first.validation} == {photo.digest for photo in second.validation}


def test_nearly_equal_photos_stay_on_one_side(folder):
    for index in range(12):
        image = picture(index, side=160)
        image.save(folder / "点 dots" / f"photo {index}.png")
        image.resize((48, 48)).save(folder / "点 dots" / f"small {index}.jpg", quality=70)
        image.crop((1, 1, 160, 160)).save(folder / "点 dots" / f"cut {index}.bmp")
    photos = read_photos(folder, validation=0.3)
    groups = [{photo.group for photo in side} for side in (photos.train, photos.validation)]
    assert not groups[0] & groups[1]
    dots = [photo for photo in (*photos.train, *photos.validation) if photo.label == 1]
    assert len(dots) == 36
    assert len({photo.group for photo in dots}) == 12


def test_different_photos_are_not_grouped(folder):
    photos = read_photos(folder)
    assert len({photo.group for photo in (*photos.train, *photos.validation)}) == 24


def test_exact_copies_count_once_and_contradictions_not_at_all(folder):
    shutil.copy(folder / "bars" / "photo 0.png", folder / "bars" / "again.png")
    shutil.copy(folder / "bars" / "photo 1.png", folder / "点 dots" / "wrong.png")
    photos = read_photos(folder)
    names = [photo.path.name for photo in (*photos.train, *photos.validation) if photo.label == 0]
    assert len(names) == 11  # photo 1 lies in both classes
    assert "photo 1.png" not in names
    assert any("the same photo lies in the classes 'bars' and '点 dots'" in note for note in photos.notes)
    assert any("left out 1 exact copies" in note for note in photos.notes)


def test_split_folders_are_taken_and_what_leaks_is_left_out(folder, tmp_path):
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole / "train")
    for kind, name in (("dots", "点 dots"), ("bars", "bars")):
        for side, first in (("val", 100), ("test", 200)):
            (whole / side / name).mkdir(parents=True)
            for index in range(3):
                picture(5000 * (kind == "bars") + first + index, kind).save(whole / side / name / f"{side}{index}.png")
    picture(4).resize((60, 60)).save(whole / "val" / "点 dots" / "leak.png")
    photos = read_photos(whole)
    found = sides(photos)
    assert found["validation"] == {"val0.png", "val1.png", "val2.png", "leak.png"}
    assert found["test"] == {"test0.png", "test1.png", "test2.png"}
    assert len(photos.train) == 23
    assert any("left out 1 training photos that are nearly equal to one of validation" in note for note in photos.notes)


def test_a_class_with_one_photo_keeps_it_for_learning(folder):
    (folder / "one").mkdir()
    picture(77).save(folder / "one" / "only.png")
    photos = read_photos(folder)
    assert [photo.path.name for photo in photos.train if photo.label == photos.class_names.index("one")] == ["only.png"]
    assert not [photo for photo in photos.validation if photo.label == photos.class_names.index("one")]


def test_damage_is_left_out_and_told(folder):
    whole = (folder / "bars" / "photo 3.png").read_bytes()
    (folder / "bars" / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "bars" / "text.jpg").write_text("I am a text")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    photos = read_photos(folder)
    assert len(photos.train) + len(photos.validation) == 24
    told = " ".join(photos.notes)
    assert "half.png" in told
    assert "text.jpg" in told


def test_a_file_that_goes_while_the_folder_is_read_is_left_out(folder, monkeypatch):
    import kapps.tasks.transfer.photos as module

    real = module.scan

    def scan(path):
        found = real(path)
        (folder / "bars" / "photo 5.png").unlink()
        return found

    monkeypatch.setattr(module, "scan", scan)
    photos = read_photos(folder)
    assert len(photos.train) + len(photos.validation) == 23
    assert any("photo 5.png: cannot be decoded" in note for note in photos.notes)


def test_hashes_are_remembered(folder, monkeypatch):
    first = read_photos(folder)
    monkeypatch.setattr("kapps.tasks.transfer.photos._perceptual_hash", lambda path: pytest.fail(f"{path} again"))
    assert read_photos(folder) == first


def test_groups_are_chains_of_small_steps():
    assert len(set(group_nearly_equal([0b0, 0b11, 0b1111, 0xF << 60], distance=2))) == 2
    assert group_nearly_equal([]) == []
    far = [int.from_bytes(bytes([value]) * 8, "big") for value in (0x00, 0x0F, 0xF0)]
    assert len(set(group_nearly_equal(far))) == 3


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_an_impossible_share_is_refused(folder, share):
    with pytest.raises(DataError, match="expected a share for validation"):
        read_photos(folder, validation=share)


def test_a_class_that_is_all_contradictions_is_refused(folder):
    (folder / "same").mkdir()
    shutil.copy(folder / "bars" / "photo 0.png", folder / "same" / "x.png")
    with pytest.raises(DataError, match="no photo of 'same' is left to learn from"):
        read_photos(folder)


def test_a_large_jpeg_is_hashed_at_a_fraction_of_its_size(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    picture(1, side=1600).save(tmp_path / "a" / "large.jpg", quality=90)
    picture(1, side=1600).resize((400, 400), Image.Resampling.LANCZOS).save(tmp_path / "a" / "small.jpg", quality=80)
    picture(2).save(tmp_path / "b" / "other.png")
    photos = read_photos(tmp_path, validation=0)
    assert len({photo.group for photo in photos.train}) == 2
