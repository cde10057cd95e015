"""Images in every encoding that the readers must understand, made with Pillow and by hand."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

SIZE = (60, 40)  # width, height


def _encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _colour_image() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    return ImageOps.autocontrast(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2)))


def png_of(samples: np.ndarray, colour_type: int, depth: int = 16) -> bytes:
    """A PNG of 16-bit samples [H, W, C], which Pillow cannot write."""
    height, width = samples.shape[:2]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _bmp_with_alpha(image: Image.Image) -> bytes:
    """A 32-bit BMP with colour masks and a mask for alpha, as GIMP writes it."""
    pixels = np.asarray(image)[::-1, :, [2, 1, 0, 3]].tobytes()
    header = struct.pack("<IiiHHIIiiII", 56, *SIZE, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    return b"BM" + struct.pack("<IHHI", 70 + len(pixels), 0, 0, 70) + header + masks + pixels


def _make_encodings() -> dict[str, bytes]:
    colour = _colour_image()
    grey, palette = colour.convert("L"), colour.quantize(32)
    alpha = Image.fromarray(np.tile(np.linspace(0, 255, SIZE[0]).astype(np.uint8), (SIZE[1], 1)))
    rgba = colour.copy()
    rgba.putalpha(alpha)
    wide = np.random.default_rng(1).integers(0, 65536, (9, 7, 4))
    frames = [colour.rotate(angle).quantize(32) for angle in (90, 180)]
    some_alpha = bytes(range(0, 256, 8))
    encodings = {
        "png grey": _encoded(grey, "PNG"),
        "png grey + alpha": _encoded(Image.merge("LA", (grey, alpha)), "PNG"),
        "png grey, one transparent": _encoded(grey, "PNG", transparency=100),
        "png grey 16 bit": png_of(wide[..., :1], 0),
        "png grey + alpha 16 bit": png_of(wide[..., :2], 4),
        "png black and white": _encoded(grey.convert("1"), "PNG"),
        "png rgb": _encoded(colour, "PNG"),
        "png rgb, one transparent": _encoded(colour, "PNG", transparency=colour.getpixel((3, 3))),
        "png rgb 16 bit": png_of(wide[..., :3], 2),
        "png rgba": _encoded(rgba, "PNG"),
        "png rgba 16 bit": png_of(wide, 6),
        "png palette": _encoded(palette, "PNG"),
        "png palette 4 bit": _encoded(colour.quantize(8), "PNG", bits=4),
        "png palette, one transparent": _encoded(palette, "PNG", transparency=3),
        "png palette + alpha": _encoded(palette, "PNG", transparency=some_alpha),
        "png palette 4 bit + alpha": _encoded(colour.quantize(8), "PNG", bits=4, transparency=some_alpha[:8]),
        "jpeg grey": _encoded(grey, "JPEG", quality=90),
        "jpeg rgb": _encoded(colour, "JPEG", quality=90),
        "jpeg 4:4:4": _encoded(colour, "JPEG", quality=90, subsampling=0),
        "jpeg progressive": _encoded(colour, "JPEG", quality=90, progressive=True),
        "jpeg cmyk": _encoded(colour.convert("CMYK"), "JPEG", quality=95),
        "gif": _encoded(palette, "GIF"),
        "gif grey": _encoded(grey, "GIF"),
        "gif interlaced": _encoded(palette, "GIF", interlace=1),
        "gif transparent": _encoded(palette, "GIF", transparency=3),
        "gif animated": _encoded(palette, "GIF", save_all=True, append_images=frames, duration=50, loop=0),
        "bmp black and white": _encoded(grey.convert("1"), "BMP"),
        "bmp grey": _encoded(grey, "BMP"),
        "bmp palette": _encoded(palette, "BMP"),
        "bmp rgb": _encoded(colour, "BMP"),
        "bmp 32 bit": _encoded(rgba, "BMP"),
        "bmp 32 bit + alpha": _bmp_with_alpha(rgba),
    }
    top_down = bytearray(encodings["bmp rgb"])
    struct.pack_into("<i", top_down, 22, -SIZE[1])
    encodings["bmp top down"] = bytes(top_down)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x010F], exif[0x0112] = "maker", orientation
        encodings[f"jpeg orientation {orientation}"] = _encoded(colour, "JPEG", quality=90, exif=exif)
    return encodings


ENCODINGS = _make_encodings()


def _make_damaged() -> dict[str, tuple[bytes, str]]:
    """name -> (bytes, what the one line must say)."""
    png, jpeg, bmp = ENCODINGS["png rgb"], ENCODINGS["jpeg rgb"], ENCODINGS["bmp rgb"]
    gif = ENCODINGS["gif animated"]
    frame = jpeg.index(b"\xff\xc0") + 5
    with_thumbnail = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(jpeg) + 2) + jpeg + jpeg[2:]

    def sized(data: bytes, at: int, form: str, *sides: int) -> bytes:
        packed = struct.pack(form, *sides)
        return data[:at] + packed + data[at + len(packed) :]

    huge = "at most 50,000,000 pixels, got 30000x30000"
    return {
        "nothing": (b"", "0 bytes"),
        "text": (b"once upon a time\n" * 20, "got text"),
        "webp": (_encoded(_colour_image(), "WEBP"), "got WebP"),
        "tiff": (_encoded(_colour_image(), "TIFF"), "got TIFF"),
        "heic": (b"\0\0\0\x18ftypheic" + bytes(99), "got HEIC"),
        "noise": (bytes([250, 251, 0, 1]) * 50, "starts with the bytes fa fb 00 01"),
        "png signature": (png[:8], "cut off"),
        "png cut": (png[: len(png) // 2], "ends too early"),
        "png without end": (png[:-12], "ends too early"),
        "png no pixels": (sized(png, 16, ">II", 0, 40), "with pixels, got 0x40"),
        "png huge": (sized(png, 16, ">II", 30000, 30000), huge),
        "png largest": (sized(png, 16, ">II", 2**32 - 1, 2**32 - 1), "at most"),
        "jpeg signature": (jpeg[:3], "cut off"),
        "jpeg cut": (jpeg[: len(jpeg) // 2], "ends too early"),
        "jpeg cut after a thumbnail": (with_thumbnail[: len(jpeg) + 900], "ends too early"),
        "jpeg huge": (sized(jpeg, frame, ">HH", 30000, 30000), huge),
        "jpeg no pixels": (sized(jpeg, frame, ">HH", 0, 0), "with pixels, got 0x0"),
        "gif signature": (gif[:6], "cut off"),
        "gif cut": (gif[:300], "ends too early"),
        "gif huge": (
            sized(sized(gif, 6, "<HH", 30000, 30000), gif.index(b"\x2c\0\0\0\0") + 5, "<HH", 30000, 30000),
            huge,
        ),
        "gif small frame": (sized(gif, 6, "<HH", 61, 40), "covers its canvas"),
        "bmp cut": (bmp[: len(bmp) // 2], "ends too early"),
        "bmp huge": (sized(bmp, 18, "<ii", 30000, 30000), huge),
        "bmp no pixels": (sized(bmp, 18, "<ii", 0, 0), "with pixels, got 0x0"),
        "bmp negative width": (sized(bmp, 18, "<ii", -60, 40), "with pixels"),
        "bmp lowest height": (sized(bmp, 18, "<ii", 60, -(2**31)), "at most"),
        "bmp 16 bit": (sized(bmp, 28, "<H", 16), "got 16 bits"),
        "bmp run lengths": (sized(sized(bmp, 28, "<H", 8), 30, "<I", 1), "coding 1"),
    }


DAMAGED = _make_damaged()


@pytest.fixture(params=ENCODINGS)
def encoding(request) -> tuple[str, bytes]:
    """(name, bytes) of an image that is read rightly."""
    return request.param, ENCODINGS[request.param]


@pytest.fixture(params=DAMAGED)
def damaged(request) -> tuple[str, bytes, str]:
    """(name, bytes, message) of an image that is refused."""
    return request.param, *DAMAGED[request.param]


@pytest.fixture(scope="session")
def encodings() -> dict[str, bytes]:
    """All images that are read rightly."""
    return ENCODINGS
