"""A version appears whole or not at all, whatever fails and whenever the process dies."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kapps.errors import OutputError
from kapps.exporting import atomic
from kapps.exporting.atomic import STAGING_PREFIX, replace_file, staged_version, versions

REPO = Path(__file__).resolve().parents[2]


def write(path: Path, text: str, version: int | None = None, overwrite: bool = False) -> int:
    with staged_version(path, version, overwrite=overwrite) as staged:
        (staged.folder / "variables").mkdir()
        (staged.folder / "variables" / "data").write_text(text)
        staged.beside["card.json"] = json.dumps({"version": staged.version, "text": text}).encode()
        staged.beside["card.md"] = text.encode()
    return staged.version


def content(path: Path) -> dict[str, str]:
    return {str(file.relative_to(path)): file.read_text() for file in sorted(path.rglob("*")) if file.is_file()}


def test_versions_count_up_and_the_card_names_the_last(tmp_path):
    path = tmp_path / "deep" / "model"
    assert versions(path) == []
    assert [write(path, "a"), write(path, "b"), write(path, "c", version=10), write(path, "d")] == [1, 2, 10, 11]
    (path / "notes").mkdir()
    (path / "12").write_text("a file is no version")
    assert versions(path) == [1, 2, 10, 11]
    assert json.loads((path / "card.json").read_text()) == {"version": 11, "text": "d"}
    assert (path / "card.md").read_text() == "d"
    assert (path / "1").stat().st_mode & 0o777 == 0o755
    assert not list(path.glob(".*"))


def test_an_existing_version_is_refused_unless_overwriting_is_asked(tmp_path):
    write(tmp_path, "old", version=1)
    before = content(tmp_path)
    with pytest.raises(OutputError, match="1 exists already: give another version"):
        write(tmp_path, "new", version=1)
    assert content(tmp_path) == before
    write(tmp_path, "new", version=1, overwrite=True)
    assert content(tmp_path) == {
        "1/variables/data": "new",
        "card.json": '{"version": 1, "text": "new"}',
        "card.md": "new",
    }


def test_a_system_that_cannot_swap_folders_refuses_to_overwrite(tmp_path, monkeypatch):
    write(tmp_path, "old", version=1)
    before = content(tmp_path)
    monkeypatch.setattr(atomic.ctypes, "CDLL", lambda *_, **__: object())
    with pytest.raises(OutputError, match="cannot be replaced in one step"):
        write(tmp_path, "new", version=1, overwrite=True)
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["mkdtemp", "rename", "replace", "fsync"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, name, exists):
    path = tmp_path / "new" / "model"
    if exists:
        write(path, "old")
    before = content(tmp_path)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.tempfile if name == "mkdtemp" else atomic.os, name, full)
    with pytest.raises(OutputError, match=r"cannot write to .*model: No space left on device; give a folder"):
        write(path, "new")
    assert content(tmp_path) == before
    assert (tmp_path / "new").exists() == exists


def test_an_error_while_the_version_is_written_leaves_nothing(tmp_path):
    path = tmp_path / "a" / "b"
    with pytest.raises(KeyboardInterrupt), staged_version(path, None) as staged:  # noqa: PT012
        (staged.folder / "half").write_text("x")
        raise KeyboardInterrupt
    assert not (tmp_path / "a").exists()


def test_a_place_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"cannot write to .*file/model: Not a directory"):
        write(tmp_path / "file" / "model", "x")


def test_replace_file_keeps_the_old_content_when_the_disk_is_full(tmp_path, monkeypatch):
    file = tmp_path / "card.json"
    replace_file(file, b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        replace_file(file, b"new")
    assert content(tmp_path) == {"card.json": "old"}


# A process without threads that forks one child after the other; the n-th dies before its n-th call of a function that
# touches the file system. Ends with the first child that lives to the end, and prints how many died.
DYING = """
import os, shutil, sys, tempfile
from pathlib import Path
from kapps.exporting import atomic
root, version, left = Path(sys.argv[1]), int(sys.argv[2]), None

def write(path, text, version, overwrite=True):
    with atomic.staged_version(path, version, overwrite=overwrite) as staged:
        (staged.folder / "variables").mkdir()
        (staged.folder / "variables" / "data").write_text(text)
        staged.beside["card.json"] = f'{{"version": {staged.version}, "text": "{text}"}}'.encode()
        staged.beside["card.md"] = text.encode()

def dying(function):
    def wrapped(*arguments, **options):
        global left
        if left == 0:
            os._exit(9)
        if left is not None:
            left -= 1
        return function(*arguments, **options)
    return wrapped

for module, name in [(os, "rename"), (os, "replace"), (os, "fsync"), (tempfile, "mkdtemp"), (shutil, "rmtree"),
                     (atomic, "_swap"), (atomic, "_write_flushed")]:
    setattr(module, name, dying(getattr(module, name)))
for calls in range(100):
    path = root / str(calls)
    if version:
        write(path, "old", 1)
    child = os.fork()
    if child == 0:
        left = calls
        write(path, "new", max(version, 1))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 9:
        print(calls)
        sys.exit(code)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("version", [0, 1, 2], ids=["the first version", "overwriting", "a second version"])
def test_a_process_killed_at_any_step_leaves_the_old_state_or_the_new_one(tmp_path, version):
    """Dies before every single call in turn; a reader must then find no model, or one whose files are of one kind."""
    ended = subprocess.run(
        [sys.executable, "-c", DYING, str(tmp_path), str(version)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    died = int(ended.stdout)
    assert died > 8
    seen = set()
    for calls in range(died + 1):
        path = tmp_path / str(calls)
        assert versions(path) in {0: ([], [1]), 1: ([1],), 2: ([1], [1, 2])}[version]
        if (path / "card.json").exists():
            current = json.loads((path / "card.json").read_text())
            text = (path / str(current["version"]) / "variables" / "data").read_text()
            # Once an overwritten version is in place, the copy of its card is the old one for a moment; both are whole.
            assert text == current["text"] or (version == 1 and text == "new")
        else:  # before the first card there is either no version or a whole one
            assert version == 0
            text = (path / "1" / "variables" / "data").read_text() if versions(path) else "nothing"
        seen.add(text)

        write(path, "next")
        assert not list(path.glob(STAGING_PREFIX + "*")), "the next export did not clean up"
        assert (path / "card.md").read_text() == "next"
    assert seen == {"new", "old" if version else "nothing"}


def test_exports_into_one_place_wait_for_each_other(tmp_path):
    """Otherwise both would take the same number, and each would remove the other's hidden folder as a stale one."""
    inside, wrong = [], []

    def one():
        with staged_version(tmp_path, None) as staged:
            inside.append(staged.version)
            time.sleep(0.02)
            (staged.folder / "file").write_text("x")
            if inside[-1] != staged.version:
                wrong.append(staged.version)

    threads = [threading.Thread(target=one) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sorted(inside) == versions(tmp_path) == [1, 2, 3, 4, 5]
