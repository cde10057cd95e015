from __future__ import annotations

import io
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kapps.data import check_image_bytes, images, read_image
from kapps.errors import ImageError


def test_what_is_read_is_what_was_meant(encodings):
    """Independent of Pillow's conversions: computed from the parts."""
    grey, colour = read_image(encodings["png grey"]), read_image(encodings["png rgb"])
    assert grey.shape == (40, 60, 1)
    assert colour.shape == (40, 60, 3)
    alpha = np.linspace(0, 255, 60).astype(np.uint8)[None, :, None] / 255
    for name, original in {"png grey + alpha": grey, "png rgba": colour, "bmp 32 bit + alpha": colour}.items():
        np.testing.assert_allclose(read_image(encodings[name]), original * alpha + 255 * (1 - alpha), atol=0.51)
    np.testing.assert_array_equal(read_image(encodings["bmp 32 bit"]), colour)  # its fourth byte means nothing
    np.testing.assert_array_equal(read_image(encodings["bmp top down"])[::-1], colour)
    np.testing.assert_array_equal(read_image(encodings["gif animated"]), read_image(encodings["gif"]))
    wide = np.random.default_rng(1).integers(0, 65536, (9, 7, 4))
    np.testing.assert_array_equal(read_image(encodings["png grey 16 bit"]), wide[..., :1] // 256)
    np.testing.assert_array_equal(read_image(encodings["png rgb 16 bit"]), wide[..., :3] // 256)
    upright = read_image(encodings["jpeg orientation 1"])
    np.testing.assert_array_equal(read_image(encodings["jpeg orientation 6"]), np.rot90(upright, -1))
    np.testing.assert_array_equal(read_image(encodings["jpeg orientation 8"]), np.rot90(upright))
    np.testing.assert_allclose(read_image(encodings["jpeg cmyk"]).astype(int), colour, atol=24)
    transparent = read_image(encodings["gif transparent"])
    assert (transparent == 255).all(axis=-1).sum() > (read_image(encodings["gif"]) == 255).all(axis=-1).sum()


def test_the_header_tells_size_and_channels(encoding):
    name, data = encoding
    header = check_image_bytes(data, name)
    turned = name[-1] in "5678" and "orientation" in name
    height, width, channels = read_image(data).shape
    assert (header.height, header.width) == ((width, height) if turned else (height, width))
    assert header.channels == channels
    assert header.format.lower() == name.split()[0]


def test_what_is_no_image_is_refused_in_one_line(damaged):
    name, data, message = damaged
    for reader in (check_image_bytes, read_image):
        with pytest.raises(ImageError, match=message) as error:
            reader(data, f"{name}.png")
        assert str(error.value).startswith(f"{name}.png: expected")
        assert "\n" not in str(error.value)


def test_damage_inside_the_pixels_is_found_when_decoding(encodings):
    data = bytearray(encodings["png rgb"])
    data[200:260] = bytes(60)
    with pytest.raises(ImageError, match="it is damaged"):
        read_image(bytes(data))


def test_every_kind_of_source(tmp_path, encodings):
    expected = read_image(encodings["png rgb"])
    path = tmp_path / "圖 1.png"
    path.write_bytes(encodings["png rgb"])
    for source in (path, str(path), encodings["png rgb"], bytearray(encodings["png rgb"]), Image.open(path), expected):
        np.testing.assert_array_equal(read_image(source), expected)
    np.testing.assert_array_equal(read_image(expected[..., 0]), expected[..., :1])
    np.testing.assert_array_equal(read_image(Image.open(io.BytesIO(encodings["png grey 16 bit"]))).shape, (9, 7, 1))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((3, 3)), "expected uint8"),
        (np.zeros((3, 3, 5), np.uint8), "1 to 4 channels"),
        (np.zeros((2, 3, 3, 3), np.uint8), "1 to 4 channels"),
        (np.zeros((0, 3, 3), np.uint8), "1 to 50,000,000 pixels"),
        (Image.new("F", (3, 3)), "floating point"),
        (7, "got int"),
    ],
)
def test_sources_that_are_no_images(source, message):
    with pytest.raises(ImageError, match=message):
        read_image(source)


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(ImageError, match="found nothing"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="found a folder"):
        read_image(tmp_path)
    (tmp_path / "large.png").write_bytes(bytes(2000))
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 1000)
    with pytest.raises(ImageError, match="at most 1,000 bytes, got 2,000"):
        read_image(tmp_path / "large.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(ImageError, match=r"loop\.png"):
        read_image(tmp_path / "loop.png")
    if os.geteuid() != 0:  # root may read everything
        (tmp_path / "large.png").chmod(0)
        with pytest.raises(ImageError, match="cannot be read"):
            read_image(tmp_path / "large.png")


def test_a_bomb_takes_no_memory(tmp_path):
    """A file of 100 KB that would unpack to 2.7 GB is refused in a process that may not have as much."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed = zlib.compress(bytes(30_000 * 3_000), 9)
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b""))
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, ({2**30}, {resource.RLIM_INFINITY}))
from kapps.data.images import read_image
from kapps.errors import ImageError
try:
    read_image({str(bomb)!r})
except ImageError as error:
    assert "30000x30000" in str(error)
else:
    raise SystemExit("not refused")
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_the_size_is_that_of_what_will_be_decoded(encodings):
    for name, data in encodings.items():
        assert images.image_size(data) == read_image(data).shape[:2], name
    with pytest.raises(ImageError, match="expected a PNG, JPEG, GIF or BMP image, got text"):
        images.image_size(b"text")
