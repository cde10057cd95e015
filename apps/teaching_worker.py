"""The process that learns a visitor's classes: `python -m apps.teaching_worker` in the folder of a `teaching.Job`.

order.json     what to do: the photos' folder, the options of `kapps.transfer`, the server's process
course.jsonl   a line for every step and epoch, as they come
error.txt      one line, if it fails
taught/        report.html, result.json, model/; and model.zip, which holds model and report
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
import traceback
import zipfile
from pathlib import Path
from typing import Any

from kapps.errors import KappsError

OUT = "taught"
_PAUSE = 0.2  # seconds between two lines of one step


class Course:
    """Writes down how far the work is."""

    def __init__(self, path: Path):
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._last = ("", 0.0)
        self._kept: dict[str, Any] | None = None  # a line that came too soon after another

    def step(self, name: str, done: int, of: int) -> None:
        """For `kapps.transfer(progress=...)`."""
        step, when = self._last
        now = time.monotonic()
        row = {"step": name, "done": done, "of": of}
        if name == step and now - when < _PAUSE and done != of:
            self._kept = row
            return
        if name == step:
            self._kept = None
        self._last = (name, now)
        self._write(row)

    def epoch(self, row: dict[str, float]) -> None:
        """For `kapps.transfer(watch=...)`."""
        self._write(row)

    def _write(self, row: dict[str, Any]) -> None:
        for line in (self._kept, row):  # the last line of a step is not lost when the next begins
            if line is not None:
                self._file.write(json.dumps(line) + "\n")
        self._kept = None


def leave_with(server: int, folder: Path) -> None:
    """End, and take the folder along, as soon as the server that started this process is no more."""
    while os.getppid() == server:
        time.sleep(2)
    for _ in range(5):  # the rest of this process may be writing yet
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(0.1)
    os._exit(1)


def pack(out: Path) -> None:
    """`model.zip`: the version, its cards and the report, at the paths that the report names."""
    part = out / ".model.zip"
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in (out / "report.html", *sorted((out / "model").rglob("*"))):
            if file.is_file():
                archive.write(file, file)
    os.replace(part, out / "model.zip")


def main() -> int:
    """Learn; returns the exit code."""
    folder = Path.cwd()
    order = json.loads((folder / "order.json").read_text(encoding="utf-8"))
    threading.Thread(target=leave_with, args=(order["server"], folder), daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(5)  # those who look at pages come first
    course = Course(folder / "course.jsonl")
    course.step("starting", 0, 0)
    try:
        from kapps.tasks.transfer.transfer import transfer

        transfer(order["folder"], out=OUT, progress=course.step, watch=course.epoch, **order["options"])
        pack(Path(OUT))
    except KappsError as error:
        (folder / "error.txt").write_text(str(error), encoding="utf-8")
        return 2
    except Exception as error:
        traceback.print_exc()  # into log.txt
        (folder / "error.txt").write_text(
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", encoding="utf-8"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
