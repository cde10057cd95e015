"""Curves and comparisons as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kapps.training.callbacks import written_whole

INK = "#333333"
COLOURS = ("#2f6db3", "#d9822b", "#3a9d5d", "#b3403a", "#7a5aa8", "#8a6d3b", "#4aa3a2", "#c2578f", "#777777", "#a0b43c")

# Columns of a log that are no figures of merit.
_NO_FIGURES = ("epoch", "seconds", "learning_rate")


def plot_curves(rows: Sequence[Mapping[str, float]], path: Path, *, title: str) -> None:
    """Loss and accuracy by epoch, training and validation; of a detector the AP50 instead; of what learns without a
    loss the first two of its own figures.

    Args:
        rows: what `log.csv` holds; what no row holds has no axis.
        path: the PNG to write.
    """
    figures = dict.fromkeys(column.removeprefix("val_") for row in rows for column in row if column not in _NO_FIGURES)
    metrics = [metric for metric in ("loss", "accuracy", "AP50") if metric in figures] or list(figures)[:2]
    figure = Figure(figsize=(4 * len(metrics), 3.2), layout="constrained")
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axis, metric in zip(axes, metrics, strict=True):
        for offset, (column, name) in enumerate(((metric, "training"), (f"val_{metric}", "validation"))):
            points = [(row["epoch"], row[column]) for row in rows if column in row]
            if points:
                marker = "o" if len(points) == 1 else None
                axis.plot(*zip(*points, strict=True), label=name, color=COLOURS[offset], marker=marker)
        _tidy(axis, "epoch", metric.replace("_", " "))
        if axis.lines:
            axis.legend(frameon=False)
    figure.suptitle(title, color=INK, fontsize=11)
    _write(figure, path)


def plot_study(
    curves: Mapping[str, Sequence[Sequence[float]]],
    finals: Mapping[str, Sequence[float]],
    path: Path,
    *,
    title: str,
    metric: str = "test accuracy",
) -> None:
    """Cases side by side: accuracy by epoch (median and range over the seeds) and the final figure of each.

    Args:
        curves: label -> for every seed the accuracy after each epoch.
        finals: label -> for every seed the final figure.
        path: the PNG to write.
    """
    figure = Figure(figsize=(11, max(3.6, 0.36 * len(finals) + 1.2)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    for index, (label, seeds) in enumerate(curves.items()):
        colour, dash = COLOURS[index % len(COLOURS)], ("-", "--", ":", "-.")[index // len(COLOURS) % 4]
        length = min(map(len, seeds))
        accuracies = np.array([seed[:length] for seed in seeds])
        epochs = np.arange(1, length + 1)
        left.plot(epochs, np.median(accuracies, axis=0), color=colour, label=label, linewidth=1.5, linestyle=dash)
        left.fill_between(epochs, accuracies.min(axis=0), accuracies.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    _tidy(left, "epoch", "accuracy on held-out data")
    _draw_ranges(right, finals, metric)
    figure.suptitle(title, color=INK, fontsize=11)
    _write(figure, path)


def plot_ranges(finals: Mapping[str, Sequence[float]], path: Path, *, title: str, metric: str) -> None:
    """Cases from top to bottom: a dot for each seed, the range and the median.

    Args:
        finals: label -> for every seed the figure.
        path: the PNG to write.
    """
    figure = Figure(figsize=(8, 0.36 * len(finals) + 1.4), layout="constrained")
    _draw_ranges(figure.subplots(), finals, metric)
    figure.suptitle(title, color=INK, fontsize=11)
    _write(figure, path)


def plot_by_size(
    finals: Mapping[str, Mapping[int, Sequence[float]]], path: Path, *, title: str, metric: str, size_name: str
) -> None:
    """Cases as lines over sizes, on a logarithmic axis: the median with a band from least to greatest.

    Args:
        finals: label -> {size: for every seed the figure}.
        path: the PNG to write.
        size_name: what is counted, e.g. `"images a class"`.
    """
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axis = figure.subplots()
    for index, (label, by_size) in enumerate(finals.items()):
        colour, sizes, values = COLOURS[index % len(COLOURS)], list(by_size), list(by_size.values())
        axis.plot(sizes, [np.median(some) for some in values], "o-", color=colour, label=label, markersize=4)
        axis.fill_between(
            sizes, [min(some) for some in values], [max(some) for some in values], color=colour, alpha=0.15, linewidth=0
        )
    axis.set_xscale("log")
    axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axis.minorticks_off()
    _tidy(axis, size_name, metric)
    axis.legend(frameon=False, fontsize=8)
    figure.suptitle(title, color=INK, fontsize=11)
    _write(figure, path)


def plot_search(
    searches: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]], path: Path, *, title: str
) -> None:
    """Precision by the number of places, and over recall: the median with a band from least to greatest.

    Args:
        searches: label -> for every seed the mean precision and the mean recall after 1, 2, ... places.
        path: the PNG to write.
    """
    figure = Figure(figsize=(11, 4.0), layout="constrained")
    by_place, by_recall = figure.subplots(1, 2, sharey=True)
    for index, (label, runs) in enumerate(searches.items()):
        colour = COLOURS[index % len(COLOURS)]
        precisions, recalls = (np.array([run[part] for run in runs]) for part in (0, 1))
        recall = np.median(recalls, axis=0)
        for axis, x in ((by_place, np.arange(1, precisions.shape[1] + 1)), (by_recall, recall)):
            axis.plot(x, np.median(precisions, axis=0), color=colour, label=label, linewidth=1.5)
            axis.fill_between(x, precisions.min(axis=0), precisions.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    by_place.set_xscale("log")
    by_place.xaxis.set_major_formatter("{x:,.0f}")
    _tidy(by_place, "places looked at", "precision")
    _tidy(by_recall, "recall", "")
    by_place.legend(frameon=False, fontsize=8)
    figure.suptitle(title, color=INK, fontsize=11)
    _write(figure, path)


def _draw_ranges(axis, finals: Mapping[str, Sequence[float]], metric: str) -> None:
    for index, values in enumerate(finals.values()):
        colour, row = COLOURS[index % len(COLOURS)], len(finals) - 1 - index
        axis.plot([min(values), max(values)], [row, row], color=colour, linewidth=2, alpha=0.5)
        axis.plot(values, [row] * len(values), "o", color=colour, markersize=4, alpha=0.7)
        axis.plot(np.median(values), row, "|", color=INK, markersize=14)
    axis.set_yticks(range(len(finals)), list(finals)[::-1], fontsize=8)
    _tidy(axis, metric, "")
    axis.grid(axis="y", visible=False)


def _tidy(axis, x_label: str, y_label: str) -> None:
    axis.set_xlabel(x_label, color=INK)
    axis.set_ylabel(y_label, color=INK)
    axis.grid(visible=True, color="#e6e6e6", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _write(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with written_whole(path) as part:
        figure.savefig(part, dpi=110, format="png", metadata={"Software": None})
