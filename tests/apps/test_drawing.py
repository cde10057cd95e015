"""Pictures of arrays, computed by hand; what is no drawing is refused; nothing of a name becomes markup."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from apps import drawing
from kapps.errors import ImageError


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_grey_goes_from_the_smallest_to_the_largest_value() -> None:
    assert drawing.grey(np.array([[-1.0, 0.0, 1.0]])).tolist() == [[[0, 0, 0], [128, 128, 128], [255, 255, 255]]]


def test_a_ramp_begins_and_ends_at_its_stops_and_a_constant_is_its_beginning() -> None:
    colours = drawing.ramp(np.array([0.0, 7.0]))
    assert colours.tolist() == [list(drawing.WATER[0][1:]), list(drawing.WATER[-1][1:])]
    assert (drawing.ramp(np.full((2, 2), 3.0)) == drawing.WATER[0][1:]).all()


@pytest.mark.parametrize(
    ("shape", "maps"),
    [((28, 28, 6), (28, 28, 6)), ((1, 1, 120), (12, 10, 1)), ((84,), (12, 7, 1)), ((13,), (13, 1, 1))],
)
def test_vectors_become_one_map_higher_than_wide(shape: tuple[int, ...], maps: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert drawing.maps_of(values).shape == maps
    assert (drawing.maps_of(values).reshape(-1) == values.reshape(-1)).all()


def test_maps_lie_side_by_side_with_transparent_gaps() -> None:
    maps = np.zeros((2, 2, 3))
    maps[..., 1], maps[..., 2] = 1.0, 2.0
    sheet = drawing.tile(maps)
    # 3 maps of 2x2 in 2 columns: 2 rows, and one empty place below on the right.
    assert sheet.shape == (5, 5, 4)
    assert (sheet[:2, :2, :3] == drawing.WATER[0][1:]).all()
    assert (sheet[3:, :2, :3] == drawing.WATER[-1][1:]).all()
    assert (sheet[..., 3] == 255).sum() == 3 * 4
    assert (sheet[2] == 0).all()
    assert (sheet[3:, 3:] == 0).all()


def test_pixels_survive_the_png() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    assert (decoded(drawing.png(pixels)) == pixels).all()
    assert (decoded(drawing.decode_data_url(drawing.data_uri(pixels))) == pixels).all()


def test_a_photo_becomes_small_and_keeps_its_shape() -> None:
    assert drawing.thumbnail(np.zeros((1000, 500, 3), np.uint8), side=100).shape == (100, 50, 3)
    assert drawing.thumbnail(np.zeros((8, 8, 1), np.uint8)).shape == (8, 8)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "expected a drawing as data:image/png"),
        ("data:text/html;base64,PGI+", "expected a drawing as data:image/png"),
        ("data:image/png;base64,***", "in base64"),
        ("data:image/png;base64," + "A" * (drawing.LARGEST_DRAWING + 4), "at most 1,000,000 characters"),
    ],
)
def test_what_is_no_drawing_is_refused_in_one_line(url: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as refused:
        drawing.decode_data_url(url)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0 %"), (1e-9, "< 0.1 %"), (0.0014, "0.1 %"), (0.5, "50.0 %"), (0.99901, "> 99.9 %"), (1, "100.0 %")],
)
def test_percent_never_claims_certainty_that_is_not_there(share: float, text: str) -> None:
    assert drawing.percent(share) == text


def test_labels_are_text_and_never_markup() -> None:
    html = drawing.answer_html("<script>", 0.5, "&") + drawing.bars_html({"<b>": 0.5}, "<b>")
    figure = drawing.Figure(np.zeros((1, 1, 3), np.uint8), "<i>", '"', '"><script>')
    html += drawing.figures_html([figure])
    assert "<script>" not in html
    assert "<i>" not in html
    assert 'alt="&quot;&gt;&lt;script&gt;"' in html


def test_figures_hold_their_pixels() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    html = drawing.figures_html([drawing.Figure(pixels, "C1", "one map", "alt")])
    encoded = html.split("data:image/png;base64,")[1].split('"')[0]
    assert (decoded(base64.b64decode(encoded)) == pixels).all()
