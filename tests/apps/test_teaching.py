"""What stands behind "Teach it yours": strangers' photos are bounded, and a job leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps import teaching, teaching_worker
from kapps import paths
from kapps.errors import DataError, ImageError, MissingExtraError
from kapps.weights import sources

EPOCH = {"epoch": 1, "loss": 0.5, "accuracy": 0.7, "validation_loss": 0.6, "validation_accuracy": 0.75}
# In the place of the process that learns: it says how far it is, and goes on until it is ended.
LEARNS = f"""
import json, time
with open("course.jsonl", "w") as course:
    for row in ({{"step": "computing features", "done": 3, "of": 10}}, {EPOCH}):
        course.write(json.dumps(row) + "\\n")
    course.write('{{"step": "half a li')
    course.flush()
    time.sleep(600)
"""


def encoded(width: int = 60, height: int = 40, kind: str = "PNG", seed: int = 0, **options: object) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def classes() -> dict[str, list[teaching.Snapshot]]:
    return {
        name: [teaching.take_in(encoded(seed=10 * place + n), f"{n}.png") for n in range(5)]
        for place, name in enumerate(("cats & dogs", "猫"))
    }


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[teaching.Desk]:
    """A desk whose processes do not learn but wait."""
    (tmp_path / "waiting_worker.py").write_text(LEARNS)
    monkeypatch.setattr(teaching, "MODULE", "waiting_worker")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(teaching.tempfile, "tempdir", None)  # it remembers the folder that it found first
    own = teaching.Desk()
    yield own
    own.close()


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


# --- photos


def test_a_photo_is_kept_small_and_encoded_anew() -> None:
    exif = Image.Exif()
    exif[0x9286] = "where I live"
    data = encoded(900, 600, "JPEG", exif=exif)
    kept = teaching.take_in(data, "mine.jpg")
    assert b"where I live" in data
    assert b"where I live" not in kept.jpeg
    with Image.open(io.BytesIO(kept.jpeg)) as photo, Image.open(io.BytesIO(kept.thumbnail)) as small:
        assert (photo.format, photo.size) == ("JPEG", (480, 320))
        assert small.size == (144, 96)
    grey = io.BytesIO()
    Image.new("L", (30, 20), 90).save(grey, "PNG")
    with Image.open(io.BytesIO(teaching.take_in(grey.getvalue(), "grey.png").jpeg)) as photo:
        assert (photo.mode, photo.size) == ("RGB", (30, 20))


def test_what_is_no_photo_or_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match=r"notes.png: expected a PNG, JPEG, GIF or BMP image, got text"):
        teaching.take_in(b"This is not a picture.\n", "notes.png")
    monkeypatch.setattr(teaching, "LARGEST_PHOTO", 1000)
    with pytest.raises(ImageError, match=r"mine.png: expected at most 1,000 bytes, got"):
        teaching.take_in(encoded(), "mine.png")


def test_a_zip_file_gives_its_folders_with_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teaching, "LARGEST_PHOTO", 20_000)
    found, notes = teaching.read_zip(
        packed(
            {
                "pets/cats/1.png": encoded(seed=1),
                "pets/cats/2.PNG": encoded(seed=2),
                "pets/dogs/3.png": encoded(seed=3),
                "pets/../../dogs/out.png": encoded(seed=8),
                "pets/dogs/cut.png": encoded(seed=4)[:300],
                "pets/dogs/bomb.png": bytes(5_000_000),  # 5 kB in the file
                "pets/.hidden/4.png": encoded(seed=5),
                "__MACOSX/cats/5.png": encoded(seed=6),
                "pets/dogs/readme.txt": b"no photo",
                "alone.png": encoded(seed=7),
            }
        )
    )
    assert {name: [photo.name for photo in photos] for name, photos in found.items()} == {
        "cats": ["1.png", "2.PNG"],
        "dogs": ["3.png"],
    }
    assert len(notes) == 3
    assert any("cut.png" in note for note in notes)
    assert any("bomb.png: expected at most 20,000 bytes, got 20,001" in note for note in notes)
    assert "left out alone.png: it lies in no folder" in notes


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no zip file", "expected a zip file of folders with photos, it cannot be read"),
        (packed({"cats/1.png": encoded()}), "at least two folders of photos, found cats"),
        (packed({f"{n}/1.png": encoded() for n in range(9)}), "expected at most 8 folders"),
    ],
)
def test_other_zip_files_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        teaching.read_zip(data)


def test_a_zip_file_of_no_photos_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teaching, "MOST_LEFT_OUT", 3)
    with pytest.raises(DataError, match=r"3 of its files are none that can be read \(left out 2.png: expected a PNG"):
        teaching.read_zip(packed({f"cats/{n}.png": b"no photo" for n in range(5)}))


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("red  wine ", "red wine"),
        ("../../etc", "etc"),
        ("a/b\\c\0d\n", "abcd"),
        (".hidden", "hidden"),
        ("猫 и собака", "猫 и собака"),
        ("...", ""),
        ("x" * 60, "x" * 40),
    ],
)
def test_a_class_name_becomes_a_folder_s(name: str, clean: str) -> None:
    assert teaching.clean_name(name) == clean


def test_what_is_missing_is_said(classes: dict[str, list[teaching.Snapshot]]) -> None:
    five = classes["猫"]
    assert teaching.what_is_missing([("a", five), ("b", five)]) == ""
    assert teaching.what_is_missing([("a", five), ("", five)]) == "Give every class a name."
    assert "called A" in teaching.what_is_missing([("A", five), ("a", five)])
    assert teaching.what_is_missing([("a", five), ("b", five[:3]), ("c", [])]) == "Still needed: 2 of b, 5 of c."


def test_the_examples_are_classes_that_can_be_taught() -> None:
    for example, names in ((teaching.shapes(6), {"heart", "ring", "star"}), (teaching.pieces(6), {"flower", "temple"})):
        assert set(example) == names
        assert teaching.what_is_missing(list(example.items())) == ""
        assert {len(photos) for photos in example.values()} == {6}
        assert len({photo.jpeg for photos in example.values() for photo in photos}) == 6 * len(names)


# --- jobs


def test_a_job_tells_how_far_it_is_and_leaves_nothing_behind(
    desk: teaching.Desk, classes: dict[str, list[teaching.Snapshot]], tmp_path: Path
) -> None:
    job = desk.start(classes, {"tune": False})
    assert job.folder.parent == tmp_path
    photos = job.folder / "cats & dogs and 猫"
    assert sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg")) == [
        f"{name}/00{n}.jpg" for name in ("cats & dogs", "猫") for n in range(1, 6)
    ]
    until(lambda: job.course().epochs)
    course = job.course()
    assert course.steps == [("computing features", 3, 10)]
    assert course.epochs == [EPOCH]
    assert job.status == "learning"
    order = json.loads((job.folder / "order.json").read_text())
    assert order == {"folder": photos.name, "options": {"tune": False}, "server": os.getpid()}
    desk.close(job)
    assert job.process.returncode is not None
    assert job.status == "gone"
    assert not job.folder.exists()


def test_a_step_s_last_line_is_written_however_soon_it_comes(tmp_path: Path) -> None:
    course = teaching_worker.Course(tmp_path / "course.jsonl")
    for done in range(1, 8):
        course.step("reading the photos", done, 0)
    course.step("computing features", 0, 2)
    course.step("computing features", 1, 2)
    course.step("computing features", 2, 2)
    course.epoch(EPOCH)
    rows = [json.loads(line) for line in (tmp_path / "course.jsonl").read_text().splitlines()]
    assert [(row["step"], row["done"]) for row in rows[:-1]] == [
        ("reading the photos", 1),
        ("reading the photos", 7),
        ("computing features", 0),
        ("computing features", 2),
    ]
    assert rows[-1] == EPOCH


def test_only_so_many_learn_at_once(
    desk: teaching.Desk, classes: dict[str, list[teaching.Snapshot]], tmp_path: Path
) -> None:
    jobs = [desk.start(classes, {}) for _ in range(teaching.MOST_AT_ONCE)]
    with pytest.raises(DataError, match="expected at most 2 visitors who teach at once"):
        desk.start(classes, {})
    desk.close(jobs[0])
    desk.start(classes, {})
    desk.close()
    assert not list(tmp_path.glob("kapps-teach-*"))


def test_a_visitor_who_has_left_takes_the_job_along(
    desk: teaching.Desk, classes: dict[str, list[teaching.Snapshot]], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {"first", "second"}
    monkeypatch.setattr(teaching, "_LOOK", 0.05)
    monkeypatch.setattr(teaching, "_GRACE", 0.2)
    monkeypatch.setattr(teaching, "_is_here", lambda session: session in here)
    first, second = (desk.start(classes, {}, session) for session in ("first", "second"))
    here.remove("first")
    until(lambda: first.status == "gone")
    assert first.process.poll() is not None
    assert second.status == "learning"


def test_a_process_whose_server_is_no_more_ends_and_cleans_up(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "order.json").write_text(json.dumps({"folder": "photos", "options": {}, "server": -1}))
    ended = subprocess.run(
        [sys.executable, "-P", "-m", teaching.MODULE],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(paths.PACKAGE.parent)},
        timeout=240,
        check=False,
    )
    assert ended.returncode == 1
    assert not folder.exists()


def test_without_the_pretrained_network_the_extra_is_named(
    desk: teaching.Desk, classes: dict[str, list[teaching.Snapshot]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "installed_file", lambda source: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'kapps\[pretrained\]'"):
        desk.start(classes, {})
