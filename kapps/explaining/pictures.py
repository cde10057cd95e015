"""Explanations drawn, and written as `.png` or as an `.html` page that needs no other file."""

from __future__ import annotations

import base64
import io
import os
import textwrap
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from kapps.errors import OutputError
from kapps.explaining.attribution import Attribution
from kapps.explaining.overlay import to_image

if TYPE_CHECKING:
    from kapps.explaining.explain import Explanation

SUFFIXES = (".png", ".html")

_MOST_BARS = 24
_RED, _BLUE = matplotlib.colormaps["RdBu_r"]([0.85, 0.15])  # for and against, as in the maps

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222 }}
section {{ display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; margin-bottom: 2.5rem }}
h2 {{ flex-basis: 100%; margin: 0; font-size: 1.2rem; overflow-wrap: anywhere }}
img {{ max-width: min(100%, 32rem) }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th {{ text-align: left; font-weight: normal; color: #666; padding-right: 1.5rem; vertical-align: top }}
td {{ overflow-wrap: anywhere }}
p.text {{ flex-basis: 100%; margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 1.1rem }}
p.text span {{ border-radius: 3px; padding: 0 2px }}
</style>
</head>
<body>
<h1>{title}</h1>
{sections}
<p>{legend}</p>
</body>
</html>
"""
_LEGEND = "Red speaks for the class, blue against it; what has no sign goes from yellow to dark red."


def draw(explanation: Explanation) -> np.ndarray:
    """uint8 RGB [H, W, 3]: a map over its image; a sound under its stretches; bars for words and features."""
    if explanation.kind == "image":
        # only what the overlay reads
        found = Attribution(explanation.values, explanation.method, 0, explanation.score, explanation.signed)
        return to_image(found, explanation.input)
    return _wave(explanation) if explanation.kind == "audio" else _bars(explanation)


def save(explanations: Sequence[tuple[str, Explanation]], path: str | os.PathLike[str]) -> Path:
    """Write explanations into one file: `.png` or `.html`.

    Args:
        explanations: with the name of what each explains, e.g. a file's; those of one name stand in a row. A single one
            becomes its picture alone.
        path: where; what is there is replaced.

    Raises:
        OutputError: another ending, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() == ".html":
        content = page(explanations).encode()
    elif path.suffix.lower() == ".png":
        content = _png(explanations[0][1].picture if len(explanations) == 1 else sheet(explanations))
    else:
        raise OutputError(f"expected a file name ending in {' or '.join(SUFFIXES)}, got {path}: rename it")
    part = path.with_name(f".part-{path.name}")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another folder") from None
    finally:
        part.unlink(missing_ok=True)
    return path


def sheet(explanations: Sequence[tuple[str, Explanation]]) -> np.ndarray:
    """A row for each name: the image as the network sees it, then a picture a method; uint8 RGB [H, W, 3]."""
    rows: dict[str, list[Explanation]] = {}
    for name, explanation in explanations:
        rows.setdefault(name, []).append(explanation)
    columns = 1 + max(map(len, rows.values()))
    figure = Figure(figsize=(2.6 * columns, 2.9 * len(rows)), layout="constrained")
    for axes, (name, row) in zip(figure.subplots(len(rows), columns, squeeze=False), rows.items(), strict=True):
        if row[0].kind == "image":
            axes[0].imshow(plain_image(row[0].input), interpolation="nearest")
        axes[0].set_title("\n".join(textwrap.wrap(name, 28)), fontsize=9, parse_math=False)
        for axis, explanation in zip(axes[1:], row, strict=False):
            axis.imshow(explanation.picture, interpolation="nearest")
            title = f"{explanation.method.replace('_', ' ')}\n{explanation.label} {explanation.score:.3g}"
            axis.set_title(title, fontsize=9, parse_math=False)
        for axis in axes:
            axis.set_axis_off()
    return rendered(figure, dpi=120)


def page(explanations: Sequence[tuple[str, Explanation]]) -> str:
    """The explanations as an HTML page with all facts, the pictures inside it."""
    labels = dict.fromkeys(explanation.label for _, explanation in explanations if explanation.target is not None)
    title = "Why " + " and ".join(labels) + "?" if 1 <= len(labels) <= 2 else "Why?"
    return _PAGE.format(
        title=escape(title),
        sections="\n".join(_section(name, explanation) for name, explanation in explanations),
        legend=escape(_LEGEND),
    )


def plain_image(image: np.ndarray) -> np.ndarray:
    """An image float [h, w, c] stretched from its lowest to its highest value, uint8 RGB [h, w, 3]."""
    low, high = float(np.min(image)), float(np.max(image))
    pixels = np.round(255 * (image - low) / ((high - low) or 1)).astype(np.uint8)
    return pixels if pixels.shape[-1] == 3 else np.repeat(pixels[..., :1], 3, axis=-1)


def rendered(figure: Figure, dpi: int = 100) -> np.ndarray:
    """A figure of Matplotlib as uint8 RGB [H, W, 3]."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    canvas.draw()  # only the second layout leaves room for the titles of axes that are switched off
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _bars(explanation: Explanation) -> np.ndarray:
    """The strongest parts, strongest first."""
    values = explanation.values
    strongest = np.argsort(-np.abs(values), kind="stable")[:_MOST_BARS]
    figure = Figure(figsize=(6.4, 0.8 + 0.27 * len(strongest)), layout="constrained")
    axis = figure.subplots()
    error = explanation.details.get("std")
    axis.barh(
        np.arange(len(strongest)),
        values[strongest],
        color=[_RED if value >= 0 else _BLUE for value in values[strongest]],
        xerr=None if error is None else error[strongest],
        error_kw={"ecolor": "#555", "capsize": 2},
    )
    names = [textwrap.shorten(explanation.names[place], 48, placeholder="...") for place in strongest]
    axis.set_yticks(np.arange(len(strongest)), names, fontsize=9, parse_math=False)
    axis.invert_yaxis()
    axis.axvline(0, color="#555", linewidth=0.8)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    title = f"{explanation.method.replace('_', ' ')}: {explanation.label} {explanation.score:.3g}"
    axis.set_title(textwrap.shorten(title, 80, placeholder="..."), fontsize=10, parse_math=False)
    return rendered(figure)


def _wave(explanation: Explanation) -> np.ndarray:
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axis = figure.subplots()
    wave, values = explanation.input, explanation.values
    limit = float(np.abs(values).max()) or 1.0
    for ((begin, end),), value in zip(explanation.spans, values, strict=True):
        axis.axvspan(begin, end, color=_RED if value >= 0 else _BLUE, alpha=0.75 * abs(value) / limit, linewidth=0)
    axis.plot(np.arange(len(wave)), wave, color="#222", linewidth=0.5)
    axis.set_xlim(0, len(wave))
    axis.set_xlabel("sample")
    axis.set_yticks([])
    title = f"{explanation.method}: {explanation.label} {explanation.score:.3g}"
    axis.set_title(textwrap.shorten(title, 100, placeholder="..."), fontsize=10, parse_math=False)
    return rendered(figure)


def _section(name: str, explanation: Explanation) -> str:
    encoded = base64.b64encode(_png(explanation.picture)).decode()
    heading = f"{name}: " if name else ""
    heading += f"{explanation.label} ({explanation.method.replace('_', ' ')})"
    facts = {key: value for key, value in explanation.facts.items() if key not in ("method", "kind", "label")}
    told = "".join(
        f"<tr><th>{escape(key.replace('_', ' '))}</th><td>{escape(_words(value))}</td></tr>"
        for key, value in facts.items()
        if key != "values"
    )
    shares = "".join(
        f"<tr><th>{escape(part)}</th><td>{value:+.4g}</td></tr>"
        for part, value in zip(explanation.names, explanation.values, strict=False)
    )
    text = f'<p class="text">{_coloured(explanation)}</p>' if explanation.kind == "text" else ""
    alternative = escape(f"{explanation.method} for {explanation.label}", quote=True)
    return (
        f"<section><h2>{escape(heading)}</h2>{text}"
        f'<img src="data:image/png;base64,{encoded}" alt="{alternative}">'
        f"<div><table>{told}</table>{f'<h3>Parts</h3><table>{shares}</table>' if shares else ''}</div></section>"
    )


def _coloured(explanation: Explanation) -> str:
    """A text with each word on the colour of its value."""
    places = sorted(
        (begin, end, float(value))
        for spans, value in zip(explanation.spans, explanation.values, strict=True)
        for begin, end in spans
    )
    limit = max((abs(value) for _, _, value in places), default=0.0) or 1.0
    pieces, done = [], 0
    for begin, end, value in places:
        red, green, blue = (round(255 * channel) for channel in (_RED if value >= 0 else _BLUE)[:3])
        colour = f"rgba({red}, {green}, {blue}, {0.7 * abs(value) / limit:.2f})"
        pieces.append(escape(explanation.input[done:begin]))
        word = escape(explanation.input[begin:end])
        pieces.append(f'<span style="background:{colour}" title="{value:+.4g}">{word}</span>')
        done = end
    return "".join([*pieces, escape(explanation.input[done:])])


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_words(item) for item in value)
    return str(value)


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return file.getvalue()
