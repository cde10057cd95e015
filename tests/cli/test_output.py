from __future__ import annotations

import errno
import os

import pytest

from kapps.cli.output import check_writable, written_whole
from kapps.errors import OutputError


def test_a_possible_place_is_returned(tmp_path):
    assert check_writable(tmp_path / "out.png", suffixes=(".png",)) == tmp_path / "out.png"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("out.gif", "ending in .png"), ("none/out.png", "is not a folder"), ("folder.png", "is a folder")],
)
def test_an_impossible_place_is_refused(tmp_path, name, complaint):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match=complaint):
        check_writable(tmp_path / name, suffixes=(".png",))


def test_read_only_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # chmod does not stop root
    with pytest.raises(OutputError, match="no permission"):
        check_writable(tmp_path / "out.png")


def test_file_appears_whole(tmp_path):
    with written_whole(tmp_path / "out.txt") as part:
        part.write_text("new")
        assert not (tmp_path / "out.txt").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["out.txt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyError("bug")])
def test_failed_write_leaves_the_old_file(tmp_path, error):
    (tmp_path / "out.txt").write_text("old")

    def write() -> None:
        with written_whole(tmp_path / "out.txt") as part:
            part.write_text("half")
            raise error

    with pytest.raises(OutputError if isinstance(error, OSError) else KeyError):
        write()
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]
