"""What the pages draw with: pictures of arrays, small HTML figures, and the two components that take a pointer.

Everything here is plain NumPy and Pillow, so that a page is on the screen before TensorFlow is loaded.
Arrays become tiny PNGs, one pixel a value, and the browser enlarges them without smoothing.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from kapps.errors import ImageError

# Colours as (position, red, green, blue). Both ramps are readable on a light and on a dark page.
WATER = ((0.0, 13, 27, 42), (0.35, 31, 78, 121), (0.7, 98, 165, 201), (1.0, 246, 248, 236))
BLUE, ORANGE = (58, 124, 165), (217, 119, 43)

# A 280x280 PNG in black and white has a few kB; more than this was not sent by our canvas.
LARGEST_DRAWING = 1_000_000


# --- arrays -> pixels ------------------------------------------------------------------------------------------------


def grey(image: np.ndarray) -> np.ndarray:
    """One channel as grey pixels, the smallest value black and the largest white: float [h, w] -> uint8 [h, w, 3]."""
    return ramp(image, ((0.0, 0, 0, 0), (1.0, 255, 255, 255)))


def ramp(values: np.ndarray, stops: Sequence[tuple[float, int, int, int]] = WATER) -> np.ndarray:
    """Values as colours between `stops`, the smallest value at the first: float [...] -> uint8 [..., 3]."""
    values = np.asarray(values, np.float64)
    low, high = values.min(), values.max()
    share = (values - low) / (high - low) if high > low else np.zeros_like(values)
    positions, *channels = np.array(stops, np.float64).T
    return np.stack([np.interp(share, positions, channel) for channel in channels], axis=-1).round().astype(np.uint8)


def maps_of(activation: np.ndarray) -> np.ndarray:
    """One example's activation as maps: float [h, w, n] as it is; a vector [n] as one map, higher than wide.

    A vector of 84 becomes 12 rows of 7, the bitmaps that F6 of LeNet-5 is trained towards; one of 120 becomes 12 by 10.
    """
    activation = np.asarray(activation)
    if activation.ndim == 3 and activation.shape[:2] != (1, 1):
        return activation
    vector = activation.reshape(-1)
    columns = next(n for n in range(math.isqrt(vector.size), 0, -1) if vector.size % n == 0)
    return vector.reshape(-1, columns, 1)


def tile(maps: np.ndarray, gap: int = 1) -> np.ndarray:
    """All maps of a layer side by side, nearly in a square, on a transparent ground.

    Args:
        maps: float [h, w, n], coloured together, so that the maps can be compared.
        gap: pixels between two maps.

    Returns:
        uint8 [rows * h + gaps, columns * w + gaps, 4].
    """
    height, width, count = maps.shape
    columns = min(count, math.ceil(math.sqrt(count * height / width)))
    rows = math.ceil(count / columns)
    colours = ramp(maps)
    sheet = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 4), np.uint8)
    for index in range(count):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[top : top + height, left : left + width, :3] = colours[:, :, index]
        sheet[top : top + height, left : left + width, 3] = 255
    return sheet


def as_seen(image: np.ndarray, preprocessing: Mapping[str, Any]) -> np.ndarray:
    """What a network was shown, as pixels again: float [h, w, c] and how it was made (of the card) -> uint8 [h, w, c].

    What was filtered or cut away stays so; only the scale of the numbers and the order of the channels are undone.
    """
    pixels = (image * np.array(preprocessing["std"]) + np.array(preprocessing["mean"])) / preprocessing["scale"]
    if preprocessing["channel_order"] == "bgr":
        pixels = pixels[..., ::-1]
    return np.clip(pixels, 0, 255).round().astype(np.uint8)


def thumbnail(image: np.ndarray, side: int = 560) -> np.ndarray:
    """A photo made small enough for a page: uint8 [h, w, c] -> the longer side at most `side`."""
    picture = Image.fromarray(image.squeeze())
    picture.thumbnail((side, side))
    return np.asarray(picture)


def smoothly_enlarged(image: np.ndarray, times: int) -> np.ndarray:
    """A small scan with a black margin of one pixel, larger and without steps: uint8 [h, w] -> [times (h + 2), ...]."""
    margined = np.pad(image, 1)
    height, width = margined.shape
    return np.asarray(Image.fromarray(margined).resize((times * width, times * height), Image.Resampling.LANCZOS))


def png(pixels: np.ndarray) -> bytes:
    """uint8 [h, w], [h, w, 3] or [h, w, 4] as an encoded PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(pixels: np.ndarray) -> str:
    """The pixels as a PNG inside an address, for HTML that needs no second request."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode()


def decode_data_url(url: str) -> bytes:
    """The bytes of the PNG that the canvas sent.

    Raises:
        ImageError: it is not such an address, or far too long for a drawing.
    """
    head, _, body = url.partition(",")
    if head != "data:image/png;base64":
        raise ImageError(f"expected a drawing as data:image/png;base64, got {head[:40]!r}: draw it anew")
    if len(body) > LARGEST_DRAWING:
        raise ImageError(
            f"expected a drawing of at most {LARGEST_DRAWING:,} characters, got {len(body):,}: draw it anew"
        )
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise ImageError(f"expected a drawing in base64, got something else ({error}): draw it anew") from None


# --- HTML figures ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """One small picture with its name and a line below it.

    Attributes:
        pixels: uint8 [h, w, 3] or [h, w, 4], shown enlarged without smoothing.
        name: what it is, e.g. `"C1"`.
        text: what there is to know, e.g. `"6 maps, 28 × 28"`.
        alt: the same for those who cannot see it.
        smooth: whether the picture has fine lines that have to survive its being resized.
    """

    pixels: np.ndarray
    name: str
    text: str
    alt: str
    smooth: bool = False


def figures_html(figures: Sequence[Figure], least_width: str = "8.5rem") -> str:
    """Figures in a row that wraps: as many in a line as fit when each is at least `least_width` wide."""
    cells = []
    for figure in figures:
        frame = "k-frame k-smooth" if figure.smooth else "k-frame"
        cells.append(
            f'<figure><div class="{frame}"><img src="{data_uri(figure.pixels)}" alt="{escape(figure.alt)}"></div>'
            f"<figcaption><b>{escape(figure.name)}</b><br>{escape(figure.text)}</figcaption></figure>"
        )
    return f'<div class="k-figures" style="--least: {least_width}">{"".join(cells)}</div>'


def answer_html(label: str, score: float, note: str) -> str:
    """The answer, large, with its probability (0 to 1) and a line below it."""
    kind = "k-label" if len(label) < 3 else "k-label k-word"
    return (
        f'<div class="k-answer"><div class="{kind}">{escape(label)}</div>'
        f'<div><div class="k-score">{percent(score)}</div><div class="k-note">{escape(note)}</div></div></div>'
    )


def figure_html(value: str, note: str) -> str:
    """One figure, large, with what it says beside it."""
    return (
        f'<div class="k-answer"><div class="k-label k-figure">{escape(value)}</div>'
        f'<div class="k-note">{escape(note).replace(" %", "&nbsp;%")}</div></div>'
    )


def bars_html(probabilities: Mapping[str, float], best: str) -> str:
    """The probability of every class as a bar, in the order of the labels; the answer's bar is the coloured one."""
    rows = [
        f'<div class="k-bar{" k-best" if label == best else ""}"><span class="k-name">{escape(label)}</span>'
        f'<span class="k-track"><span class="k-fill" style="width: {100 * share:.2f}%"></span></span>'
        f'<span class="k-value">{percent(share)}</span></div>'
        for label, share in probabilities.items()
    ]
    return f'<div class="k-bars" role="img" aria-label="Probability of each class">{"".join(rows)}</div>'


def strip_html(jpegs: Sequence[bytes], most: int) -> str:
    """The first `most` small photos in lines, and how many more there are."""
    photos = "".join(
        f'<img src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" alt="">' for jpeg in jpegs[:most]
    )
    more = f"<span>and {len(jpegs) - most} more</span>" if len(jpegs) > most else ""
    return f'<div class="k-thumbs">{photos}{more}</div>'


def matrix_html(counts: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """A confusion matrix: rows are the truth, columns the answers; the darker, the more of its row."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = []
    for place, row in enumerate(counts):
        whole = max(sum(row), 1)
        cells = "".join(
            f'<td{" class=k-right" if column == place else ""} style="background: color-mix(in srgb, '
            f'{"#3a7ca5" if column == place else "#d9772b"} {round(65 * count / whole)}%, transparent)">{count}</td>'
            for column, count in enumerate(row)
        )
        rows.append(f"<tr><th>{escape(names[place])}</th>{cells}</tr>")
    body = "".join(rows)
    return f'<div class="k-matrix"><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def steps_html(steps: Sequence[tuple[str, str]], running: bool) -> str:
    """What was done, a line each with its text; the last is what is being done, while it is."""
    lines = []
    for place, (name, text) in enumerate(steps):
        now = running and place == len(steps) - 1
        mark, kind = ("●", ' class="k-now"') if now else ("✓", "")
        lines.append(f"<div{kind}><span>{mark}</span><span>{escape(name)}</span><span>{escape(text)}</span></div>")
    return f'<div class="k-steps">{"".join(lines)}</div>'


def percent(share: float) -> str:
    """A probability as people read it: never a `100.0 %` or `0.0 %` that is not exact."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


# --- components that take a pointer ----------------------------------------------------------------------------------

_COMPONENTS = Path(__file__).parent / "components"


def _component(name: str) -> Any:
    """Registers a component whose three parts lie in `components/`."""
    html, css, js = ((_COMPONENTS / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return st.components.v2.component(f"kapps_{name}", html=html, css=css, js=js)


_CANVAS = _component("canvas")
_PLANE = _component("plane")


def canvas(key: str) -> bytes | None:
    """A sheet to draw on with a mouse, a finger or a pen; it is kept when the visitor looks at another page.

    Args:
        key: the name under which the session keeps the drawing: `{"png": data URL or None, "strokes": ...}`.

    Returns:
        a 280x280 PNG, black on white, after every stroke; None while the sheet is empty.

    Raises:
        ImageError: what came back is no drawing.
    """
    widget = f"{key}_widget"

    def keep() -> None:
        st.session_state[key] = st.session_state[widget]["drawing"]

    kept = st.session_state.get(key) or {}
    _CANVAS(key=widget, data={"strokes": kept.get("strokes") or []}, on_drawing_change=keep)
    url = kept.get("png")
    return decode_data_url(url) if url else None


@dataclass(frozen=True)
class PlanePoint:
    """One example in the plane.

    Attributes:
        x, y: where it lies.
        positive: whether it belongs to class 1.
        wrong: whether it is answered wrongly, where no step says so; it gets a red ring.
    """

    x: float
    y: float
    positive: bool
    wrong: bool = False


@dataclass(frozen=True)
class PlaneStep:
    """One step of a line that learns; the points on its wrong side get a red ring.

    Attributes:
        line: (w1, w2, b): the points where w1 x + w2 y + b > 0 are called class 1; that side is tinted.
        now: the number of the example that was learnt in this step; it gets a dashed ring.
        text: what happened, in a sentence.
    """

    line: tuple[float, float, float]
    now: int | None
    text: str


def plane(
    key: str,
    points: Sequence[PlanePoint],
    *,
    low: float,
    high: float,
    label: str,
    steps: Sequence[PlaneStep] = (),
    hidden: Sequence[Sequence[float]] = (),
    region: np.ndarray | None = None,
    keep: Callable[[list[PlanePoint]], None] | None = None,
) -> None:
    """Two classes of points in the square from `low` to `high`, and what separates them.

    Args:
        key: the component's key in the session.
        points: the examples.
        low, high: the ends of both axes.
        label: what is seen, for those who cannot see it.
        steps: of a line that learns; more than one can be played, and the last is shown first.
        hidden: (w1, w2, b) of further lines, dashed: those of the hidden units.
        region: float [n, n] from 0 to 1, a network's output over the square, its first row on top.
        keep: makes the plane editable; called with all points whenever the visitor has changed them.
    """
    shade = None
    if region is not None:
        colour = np.where(region[..., None] >= 0.5, ORANGE, BLUE)
        strength = (90 * np.abs(2 * region - 1)).round()[..., None]
        shade = data_uri(np.concatenate([colour, strength], axis=-1).astype(np.uint8))

    def placed() -> None:
        if keep is not None:
            keep([PlanePoint(p["x"], p["y"], p["positive"]) for p in st.session_state[key]["placed"]])

    _PLANE(
        key=key,
        data={
            "points": [vars(point) for point in points],
            "low": low,
            "high": high,
            "steps": [vars(step) for step in steps],
            "hidden": [[float(weight) for weight in weights] for weights in hidden],
            "region": shade,
            "editable": keep is not None,
            "label": label,
        },
        on_placed_change=placed,
    )
