"""The sums tell a whole copy of a model from a damaged one, and name the file."""

from __future__ import annotations

import hashlib

import pytest

from kapps.errors import SavedModelError
from kapps.exporting.integrity import sha256_of_files, verify


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "variables" / "data").write_bytes(b"weights")
    (tmp_path / "card.json").write_bytes(b"{}")
    return tmp_path


def test_every_file_but_the_card_has_its_sum(folder):
    assert sha256_of_files(folder) == {
        "saved_model.pb": hashlib.sha256(b"graph").hexdigest(),
        "variables/data": hashlib.sha256(b"weights").hexdigest(),
    }


def test_what_was_not_touched_passes_also_with_another_card(folder):
    sums = sha256_of_files(folder)
    (folder / "card.json").write_bytes(b"other")
    verify(folder, sums)


def test_missing_changed_and_added_files_are_named(folder):
    sums = sha256_of_files(folder)
    (folder / "variables" / "data").write_bytes(b"weightz")
    with pytest.raises(SavedModelError, match=r"changed \(other sha256\) variables/data; copy or export"):
        verify(folder, sums)
    (folder / "variables" / "data").unlink()
    with pytest.raises(SavedModelError, match="missing variables/data; copy or export"):
        verify(folder, sums)
    (folder / "variables" / "data").write_bytes(b"weights")
    (folder / "assets").mkdir()
    (folder / "assets" / "vocabulary.txt").write_bytes(b"")
    with pytest.raises(SavedModelError, match=r"not in the card assets/vocabulary.txt; copy or export"):
        verify(folder, sums)


def test_a_linked_folder_does_not_hide_files(folder, tmp_path_factory):
    sums = sha256_of_files(folder)
    (folder / "more").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(SavedModelError, match="not in the card more"):
        verify(folder, sums)


def test_many_faults_are_summed_up_in_one_line(folder):
    with pytest.raises(SavedModelError, match=r"missing a0, a1, a2 and 7 more; not in the card saved") as caught:
        verify(folder, {f"a{n}": "0" for n in range(10)})
    assert "\n" not in str(caught.value)
