"""What stands behind the page that teaches: photos taken in from strangers, and the process that learns from them.

What a visitor gives is untrusted. It is bounded in size and number, decoded once by kapps' own decoder, made small and
encoded anew; only that is kept, and only that gets onto the disk, under names of ours. The learning is a process of its
own: the pages of other visitors go on, it can be ended at any moment, and everything it writes lies in one temporary
folder that goes with it.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from apps import layout
from kapps import paths
from kapps.errors import DataError, ImageError, MissingExtraError

BACKBONE = "efficientnet_lite0"

LARGEST_PHOTO = layout.LARGEST_UPLOAD * 2**20  # bytes, encoded
LARGEST_ZIP = 200  # MB, packed
MOST_PHOTOS = 300  # of a class
LEAST_PHOTOS = 5  # of a class: one of them is then kept back
MOST_CLASSES = 8
MOST_LEFT_OUT = 200  # of a zip file: so many that cannot be read are no mishap
LONGEST_NAME = 40
_SIDE = 320  # pixels of the shorter side that are kept: the network sees 224
_THUMBNAIL = 96
_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp")

MOST_AT_ONCE = 2  # processes that learn; each takes what the processors have
_LOOK = 5.0  # seconds from one look for visitors who have left to the next
_GRACE = 150.0  # seconds for which a visitor's connection may be broken; Streamlit itself keeps a session for 120

MODULE = "apps.teaching_worker"


# --- photos ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """A photo as it is kept: ours, whatever came.

    Attributes:
        jpeg: the whole photo, small.
        thumbnail: the same as a JPEG for a strip of many.
        name: what the visitor calls it.
    """

    jpeg: bytes
    thumbnail: bytes
    name: str


def take_in(data: bytes, name: str) -> Snapshot:
    """Decode a stranger's photo, make it small, encode it anew.

    Raises:
        ImageError: no image that can be read rightly, or too large a file.
    """
    from kapps.data.images import read_image

    if len(data) > LARGEST_PHOTO:
        raise ImageError(f"{name}: expected at most {LARGEST_PHOTO:,} bytes, got {len(data):,}: make the photo smaller")
    return snapshot(read_image(data, name), name)


def snapshot(pixels: np.ndarray, name: str) -> Snapshot:
    """uint8 [h, w, 1 or 3] as it is kept."""
    photo = Image.fromarray(pixels.repeat(3, axis=-1) if pixels.shape[-1] == 1 else pixels)
    shrink = _SIDE / min(photo.size)
    if shrink < 1:
        width, height = (max(1, round(side * shrink)) for side in photo.size)
        photo = photo.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    small = photo.copy()
    small.thumbnail((2 * _THUMBNAIL, _THUMBNAIL))
    return Snapshot(_jpeg(photo, 93), _jpeg(small, 80), name)


def _jpeg(photo: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def read_zip(data: bytes) -> tuple[dict[str, list[Snapshot]], list[str]]:
    """The photos of a zip file by the folder they lie in, and what was left out, one line each.

    Nothing is unpacked to the disk, and no member further than a photo may be large.

    Raises:
        DataError: no zip file, not two to eight folders with photos, or hardly one that can be read.
    """
    classes: dict[str, list[Snapshot]] = {}
    notes: list[str] = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                path = PurePosixPath(member.filename)
                hidden = any(part.startswith((".", "__")) for part in path.parts)
                if member.is_dir() or hidden or path.suffix.lower() not in _SUFFIXES:
                    continue
                name = clean_name(path.parent.name)
                if not name:
                    notes.append(f"left out {path.name}: it lies in no folder")
                    continue
                if name not in classes and len(classes) == MOST_CLASSES:
                    raise DataError(f"expected at most {MOST_CLASSES} folders of photos in the zip file: pack fewer")
                photos = classes.setdefault(name, [])
                if len(photos) == MOST_PHOTOS:
                    continue
                if len(notes) == MOST_LEFT_OUT:
                    raise DataError(
                        f"expected a zip file of photos, {MOST_LEFT_OUT} of its files are none that can be read "
                        f"({notes[-1]}): pack photos only"
                    )
                try:
                    photos.append(take_in(_read_member(archive, member), path.name))
                except ImageError as error:
                    notes.append(f"left out {error}")
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError) as error:
        raise DataError(
            f"expected a zip file of folders with photos, it cannot be read ({error}): pack it anew"
        ) from None
    classes = {name: photos for name, photos in classes.items() if photos}
    if len(classes) < 2:
        raise DataError(
            f"expected a zip file with at least two folders of photos, found {', '.join(classes) or 'none'}: "
            "put the photos of each class into a folder and pack these"
        )
    return classes, notes


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as file:
        return file.read(LARGEST_PHOTO + 1)  # what the header says of its size need not be true


def clean_name(name: str) -> str:
    """A class' name that can be a folder's: no separators, no leading dot, no control characters."""
    kept = "".join(character for character in name if character.isprintable() and character not in '/\\:*?"<>|')
    return " ".join(kept.split()).lstrip(". ")[:LONGEST_NAME].rstrip(". ")


def what_is_missing(classes: Sequence[tuple[str, Sequence[Snapshot]]]) -> str:
    """Why nothing can be learned from these yet, in a sentence; empty if it can."""
    names = [name for name, _ in classes]
    if not all(names):
        return "Give every class a name."
    folded = [name.casefold() for name in names]
    twice = next((name for name in names if folded.count(name.casefold()) > 1), None)
    if twice is not None:
        return f"Two classes are called {twice}: give one another name."
    few = [(name, LEAST_PHOTOS - len(photos)) for name, photos in classes if len(photos) < LEAST_PHOTOS]
    if few:
        return "Still needed: " + ", ".join(f"{count} of {name}" for name, count in few) + "."
    return ""


@st.cache_data(show_spinner="Drawing the shapes")
def shapes(each: int = 24) -> dict[str, list[Snapshot]]:
    """Generated scenes with one shape, cut out around it: three classes on all kinds of backgrounds."""
    from kapps.data.scenes import make_scene  # only now: TensorFlow takes seconds

    classes: dict[str, list[Snapshot]] = {name: [] for name in ("heart", "ring", "star")}
    index = 0
    while any(len(photos) < each for photos in classes.values()):
        scene = make_scene(11, index, (160, 160), num_objects=(1, 1))
        index += 1
        (thing,) = scene.objects
        photos = classes.get(thing.name)
        if photos is None or len(photos) == each:
            continue
        left, top, right, bottom = thing.box
        half = 0.5 * max(right - left, bottom - top) + 14
        x, y = ((low + high) / 2 for low, high in ((left, right), (top, bottom)))
        rows, columns = (slice(max(0, round(middle - half)), round(middle + half)) for middle in (y, x))
        photos.append(snapshot(scene.image[rows, columns], f"scene {index - 1}"))
    return classes


@st.cache_data(show_spinner="Cutting up the photos")
def pieces(each: int = 36) -> dict[str, list[Snapshot]]:
    """Square pieces, of many sizes, of the two photographs that come with scikit-learn: can a piece tell its whole?"""
    from sklearn.datasets import load_sample_image  # only now: it takes a second

    draw = np.random.default_rng(4)
    classes: dict[str, list[Snapshot]] = {}
    for name, file in (("flower", "flower.jpg"), ("temple", "china.jpg")):
        photo = load_sample_image(file)
        classes[name] = []
        for index in range(each):
            side = int(draw.integers(90, 240))
            y, x = (int(draw.integers(0, length - side)) for length in photo.shape[:2])
            classes[name].append(snapshot(photo[y : y + side, x : x + side], f"piece {index + 1}"))
    return classes


# --- learning --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Course:
    """How far a process is.

    Attributes:
        steps: [step, done, of] in their order; `of` is 0 where nobody knows.
        epochs: the rows of fine-tuning so far.
        seconds: since it was started.
    """

    steps: list[tuple[str, int, int]]
    epochs: list[dict[str, float]]
    seconds: float


@dataclass
class Job:
    """One visitor's classes being learned, and what came of it.

    Attributes:
        folder: everything of it lies here.
        process: the one that learns.
        session: the visitor's.
        classes: name -> how many photos.
        started: by the clock of `time.monotonic`.
        last_seen: when the visitor's session was last there, likewise.
        took: seconds until the process ended; None while it runs.
    """

    folder: Path
    process: subprocess.Popen
    session: str | None
    classes: dict[str, int]
    started: float = field(default_factory=time.monotonic)
    last_seen: float = field(default_factory=time.monotonic)
    took: float | None = None

    @property
    def taught(self) -> Path:
        """The folder with what came of it; see `teaching_worker`."""
        return self.folder / "taught"

    @property
    def status(self) -> str:
        """`"learning"`, `"done"`, `"failed"`, or `"gone"` when it was closed."""
        if not self.folder.is_dir():
            return "gone"
        code = self.process.poll()
        if code is None:
            return "learning"
        if self.took is None:
            self.took = time.monotonic() - self.started
        return "done" if code == 0 else "failed"

    def course(self) -> Course:
        """What the process has written down of its way."""
        steps: dict[str, tuple[str, int, int]] = {}
        epochs = []
        with contextlib.suppress(OSError):
            for line in (self.folder / "course.jsonl").read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):  # the last line may be half written
                    row = json.loads(line)
                    if "epoch" in row:
                        epochs.append(row)
                    else:
                        steps[row["step"]] = row["step"], row["done"], row["of"]
        return Course(list(steps.values()), epochs, self.took or time.monotonic() - self.started)

    def result(self) -> dict[str, Any]:
        """`result.json` of a job that is done; see `kapps.tasks.transfer.transfer.summary`."""
        return json.loads((self.taught / "result.json").read_text(encoding="utf-8"))

    def error(self) -> str:
        """Why it failed, in one line."""
        with contextlib.suppress(OSError):
            if line := (self.folder / "error.txt").read_text(encoding="utf-8").strip():
                return line
        return (
            f"The learning ended without a result (exit code {self.process.returncode}): try again with fewer photos."
        )

    def close(self) -> None:
        """End the process if it runs, and remove everything."""
        if self.process.poll() is None:
            self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


class Desk:
    """All jobs of the server. Those of visitors who have left are closed."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._lock = threading.Lock()
        self._looks_round = False
        atexit.register(self.close)

    def start(
        self, classes: Mapping[str, Sequence[Snapshot]], options: Mapping[str, Any], session: str | None = None
    ) -> Job:
        """Write the photos down and let a process learn from them.

        Args:
            classes: name -> photos; the names are clean and differ.
            options: of `kapps.transfer`.
            session: the visitor's; when it is gone, so is the job. None: nobody's.

        Raises:
            DataError: too many others are learning.
            MissingExtraError: there is no pre-trained network.
        """
        if "weights" not in options:
            check_network()
        with self._lock:
            if sum(job.status == "learning" for job in self._jobs) >= MOST_AT_ONCE:
                raise DataError(
                    f"expected at most {MOST_AT_ONCE} visitors who teach at once, there are {MOST_AT_ONCE} now: "
                    "try again in some minutes"
                )
            job = _start(classes, options, session)
            self._jobs.append(job)
            if not self._looks_round:
                self._looks_round = True
                threading.Thread(target=self._look_round, daemon=True, name="teaching").start()
        return job

    def close(self, job: Job | None = None) -> None:
        """Close one job, or all."""
        with self._lock:
            closing = [job] if job is not None else list(self._jobs)
            self._jobs = [other for other in self._jobs if other not in closing]
        for one in closing:
            one.close()

    def _look_round(self) -> None:
        while True:
            time.sleep(_LOOK)
            now = time.monotonic()
            with self._lock:
                for job in self._jobs:
                    if job.session is None or _is_here(job.session):
                        job.last_seen = now
                left = [job for job in self._jobs if now - job.last_seen > _GRACE]
                if not self._jobs:
                    self._looks_round = False
                    return
            for job in left:
                self.close(job)


@st.cache_resource(show_spinner=False)
def desk() -> Desk:
    """The server's."""
    return Desk()


def this_session() -> str | None:
    """The visitor's; None outside a server, as in a test."""
    from streamlit import runtime
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    context = get_script_run_ctx()
    return context.session_id if context is not None and runtime.exists() else None


def _is_here(session: str) -> bool:
    from streamlit import runtime

    return runtime.exists() and runtime.get_instance().is_active_session(session)


def check_network() -> None:
    """Whether there is a pre-trained network on this machine.

    Raises:
        MissingExtraError: there is none; names the extra.
    """
    from kapps.weights import sources

    packaged = [source for source in sources.sources(BACKBONE) if source.package]
    if not any(sources.installed_file(source) for source in packaged):
        raise MissingExtraError(packaged[0].package, "pretrained")


def _start(classes: Mapping[str, Sequence[Snapshot]], options: Mapping[str, Any], session: str | None) -> Job:
    folder = Path(tempfile.mkdtemp(prefix="kapps-teach-"))
    try:
        photos = folder / (clean_name(" and ".join(classes)) or "photos")
        for name, snapshots in classes.items():
            (photos / name).mkdir(parents=True)
            for index, photo in enumerate(snapshots):
                (photos / name / f"{index + 1:03d}.jpg").write_bytes(photo.jpeg)
        # The folder is named relative to the process' own, so that report and card do not tell where it was.
        order = {"folder": photos.name, "options": dict(options), "server": os.getpid()}
        (folder / "order.json").write_text(json.dumps(order), encoding="utf-8")
        roots = [Path(__file__).resolve().parent.parent, paths.PACKAGE.parent]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*map(str, roots), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "KAPPS_CACHE": str(folder / "cache"),  # nothing of a visitor's photos is remembered
        }
        with open(folder / "log.txt", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", MODULE],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Job(folder, process, session, {name: len(snapshots) for name, snapshots in classes.items()})


def digest(data: bytes) -> str:
    """By which a photo that was taken in already is known."""
    return hashlib.sha256(data).hexdigest()
