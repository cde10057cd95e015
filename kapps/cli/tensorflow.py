"""Loading TensorFlow without the notes that it writes to stderr past every setting of its own."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from pathlib import Path

# "I0000 00:00:1795347608.489449   29392 port.cc:153] oneDNN custom operations are on. ..."
_NOTE = re.compile(r"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} [\d:.]+ +\d+ [\w./]+:\d+\] ")
_NO_GPU = re.compile(r"E\d{4} [\d:.]+ +\d+ cuda_\w+\.cc:\d+\] ")


def load_tensorflow() -> None:
    """Import TensorFlow, so that a command's stderr holds the command's own lines alone.

    Its C++ parts write to the file descriptor itself, before any log level is heard. They are caught while it loads and
    looks for GPUs; what is no mere note is passed on afterwards. On a machine without NVIDIA's driver, so is the
    complaint that there is none.
    """
    if "tensorflow" in sys.modules:
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as caught:
        stderr = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            caught.seek(0)
            sys.stderr.write(
                without_notes(caught.read().decode(errors="replace"), has_gpu=Path("/dev/nvidiactl").exists())
            )

    logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS warns of its own deprecations


def without_notes(text: str, *, has_gpu: bool) -> str:
    """The lines of a log that tell a user something: no notes, and no missing driver where there is no GPU."""
    kept = [line for line in text.splitlines(keepends=True) if not _NOTE.match(line)]
    return "".join(line for line in kept if has_gpu or not _NO_GPU.match(line))
