"""How much memory does it take to learn from a million patches that are generated as they are needed?

    kapps train rbm_memory --seeds 5

A Gaussian machine with 256 hidden units learns once from 1,000,000 whitened 8x8 patches of photographs, in batches of
100 of a `tf.data` stream that nothing keeps. All of it happens in a process of its own, and what is told is the most
memory that process ever held, with Python, TensorFlow and scikit-learn in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kapps.errors import TrainingError
from kapps.tasks.experiments import Experiment, in_new_process

PATCHES = 1_000_000
BATCH = 100
HIDDEN = 256


def run(
    case: str,
    seed: int,
    *,
    data_dir: Path | None,
    folder: Path,
    report: Callable[[str], None],
    patches: int = PATCHES,
) -> dict[str, Any]:
    """Train in a new process; `value` is the most memory it held, in MB (10^6 bytes).

    Args:
        patches: in the stream.

    Raises:
        TrainingError: the process failed; its last line.
    """
    result = in_new_process(f"from {__name__} import train; train({patches}, {seed})")
    report(f"{patches:,} patches: {result['peak']:.0f} MB at most, {result['before']:.0f} MB before the training")
    return {
        "value": result["peak"],
        "parts": {
            "MB before the training": result["before"],
            "updates": result["updates"],
            "reconstruction error": result["error"],
        },
    }


def train(patches: int, seed: int) -> None:
    """What the process does; prints its figures as one line of JSON."""
    from kapps.architectures.unsupervised.rbm import RBM, RBMConfig
    from kapps.data.patches import patch_stream

    before = _peak()
    rbm = RBM((8, 8, 1), RBMConfig(hidden=HIDDEN, visible_units="gaussian", learning_rate=0.005, seed=seed))
    rows = rbm.fit(patch_stream(8, BATCH, batches=patches // BATCH, seed=seed), verbose=0).history
    figures = {
        "peak": _peak(),
        "before": before,
        "updates": int(rbm.optimizer.iterations.numpy()),
        "error": rows["reconstruction_error"][-1],
    }
    print(json.dumps(figures))


def _peak() -> float:
    """The most memory that this process held so far, in MB.

    Not `ru_maxrss`: a process begins with that of the one that started it.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise TrainingError("expected the peak of this process (VmHWM) in /proc/self/status, found none: run it on Linux")


EXPERIMENT = Experiment(
    title="Memory that a Gaussian restricted Boltzmann machine takes to learn from a million generated patches",
    question="Does the memory stay bounded however long the stream is?",
    claim="Under 1,500 MB in all, Python and TensorFlow included.",
    finding="Holds: 800 MB, of which 752 MB were there before the training began.",
    metric="MB at most",
    cases=("1,000,000 patches",),
    run=run,
    data="natural patches, 8x8, whitened",
)
