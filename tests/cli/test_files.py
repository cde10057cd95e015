from __future__ import annotations

import pytest

from kapps.cli.files import image_files


@pytest.fixture
def scans(tmp_path):
    """scans/ with images, a hidden one, a text and a subfolder; empty/ with nothing."""
    folder = tmp_path / "scans"
    (folder / "more").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for name in ("b.PNG", "a.jpg", ".hidden.png", "notes.txt", "more/c.gif", "odd[1].bmp"):
        (folder / name).write_bytes(b"")
    return folder


def names(files, folder):
    return [file.relative_to(folder).as_posix() for file in files]


def test_folder_gives_its_images_at_any_depth(scans):
    files, errors = image_files([str(scans)])
    assert names(files, scans) == ["a.jpg", "b.PNG", "more/c.gif", "odd[1].bmp"]
    assert errors == []


def test_file_is_taken_whatever_its_ending_and_once(scans):
    files, _ = image_files([str(scans / "notes.txt"), str(scans / "a.jpg"), str(scans / "notes.txt")])
    assert names(files, scans) == ["notes.txt", "a.jpg"]


def test_pattern_that_the_shell_left_alone(scans):
    files, _ = image_files([str(scans / "**" / "*.gif")])
    assert names(files, scans) == ["more/c.gif"]


def test_existing_file_is_no_pattern(scans):
    files, errors = image_files([str(scans / "odd[1].bmp")])
    assert names(files, scans) == ["odd[1].bmp"]
    assert errors == []


def test_each_word_without_a_file_is_one_error(scans):
    files, errors = image_files(
        [str(scans.parent / "empty"), str(scans / "a.jpg"), str(scans / "*.tiff"), str(scans / "none.png"), "x" * 5000]
    )
    assert names(files, scans) == ["a.jpg"]
    assert [str(error).partition(": ")[2].split(" ")[0] for error in errors] == ["expected", "no", "no", "no"]
