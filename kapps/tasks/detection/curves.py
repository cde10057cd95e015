"""What `evaluate_detector` has measured, as files: `evaluation.json` and `precision_recall.png`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kapps.errors import OutputError
from kapps.training.callbacks import written_whole
from kapps.training.plots import COLOURS, INK

_OTHERS = "#cfcfcf"
_LONGEST_NAME = 28


def save_curves(figures: Mapping[str, Any], folder: str | Path) -> None:
    """Write `evaluation.json`, all that was measured, and `precision_recall.png`, once both are whole.

    Args:
        figures: of `kapps.tasks.detection.evaluate.evaluate_detector`.
        folder: made where it is not there.

    Raises:
        OutputError: it cannot be written; older files stay as they are.
    """
    folder = Path(folder)
    text = json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    image = precision_recall(figures)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            written_whole(folder / "evaluation.json") as numbers,
            written_whole(folder / "precision_recall.png") as picture,
        ):
            numbers.write_text(text, encoding="utf-8")
            image.savefig(picture, dpi=110, format="png", metadata={"Software": None})
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write to {folder}: {reason}; make room or give another folder") from error


def precision_recall(figures: Mapping[str, Any]) -> Figure:
    """Precision over recall at an overlap of 0.5, a curve a class with its AP50.

    Where there are more than ten classes, the ten with the most true boxes have colours and names, the rest are grey.
    A curve ends at the highest recall that is reached.

    Args:
        figures: of `kapps.tasks.detection.evaluate.evaluate_detector`.
    """
    measured, curves = figures["per_class"], figures["curves"]
    names = sorted((name for name in measured if measured[name]["count"]), key=lambda name: -measured[name]["count"])
    named, others = names[: len(COLOURS)], names[len(COLOURS) :]
    colours = {**dict.fromkeys(others, _OTHERS), **dict(zip(named, COLOURS, strict=False))}

    image = Figure(figsize=(7.6, 4.4), layout="constrained")
    FigureCanvasAgg(image)
    axes = image.subplots()
    for name, colour in colours.items():  # the grey ones first, below the others
        precision = np.asarray(curves["per_class"][name]["precision"])
        reached = precision > 0
        marker = "o" if reached.sum() == 1 else None
        axes.plot(np.asarray(curves["recall"])[reached], precision[reached], color=colour, linewidth=1.5, marker=marker)
    if not names:
        axes.text(0.5, 0.5, "no boxes to find", color=INK, ha="center")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02))
    axes.set_xlabel(f"recall (overlap of {curves['iou']} or more)", color=INK)
    axes.set_ylabel("precision", color=INK)
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if names:
        lines = [Line2D([], [], color=colours[name], linewidth=1.5) for name in named]
        labels = [f"{measured[name]['AP50']:.3f}  {_short(name)}" for name in named]
        if others:
            lines.append(Line2D([], [], color=_OTHERS, linewidth=1.5))
            labels.append(f"{len(others)} more class{'es' if len(others) > 1 else ''}")
        image.legend(lines, labels, title="AP50", loc="outside right upper", frameon=False, fontsize=8)
        image.suptitle(
            f"{figures['num_boxes']:,} boxes in {figures['num_examples']:,} images: AP {figures['AP']:.3f}, "
            f"AP50 {figures['AP50']:.3f}",
            color=INK,
            fontsize=11,
        )
    return image


def _short(name: str) -> str:
    """At most so long, and without the sign that matplotlib takes for mathematics."""
    cut = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
    return cut.replace("$", r"\$")
