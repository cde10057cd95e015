"""Encoded images, read safely: PNG, JPEG, GIF (first frame) and BMP, in a TensorFlow graph or in Python, with one
result.

`decode_image` is the graph's: it stands in tf.data pipelines and in exported models, where the bytes come from anybody.
`read_image` is Python's, on Pillow. `check_image_bytes` says in one line what is wrong with a file, without decoding
it. All three look at the header first and refuse an image of no or of more than `MAX_PIXELS` pixels before memory is
taken.

What comes out, on every way: uint8 `[H, W, 1]` for grey PNG and JPEG, `[H, W, 3]` (RGB) for all else, and

- transparency is composited over white (whole alpha channels, palettes, the single transparent colour of GIF and PNG);
- 16-bit samples keep their upper 8 bits;
- CMYK and YCCK JPEG become RGB by multiplication with the black; colour profiles are ignored;
- a JPEG is turned as its EXIF orientation says (phones write it into nearly every photo);
- of an animation the first frame counts; the others are never decoded;
- a truncated file is refused, also where a decoder could have filled the rest with grey.

Graph and Pillow agree to the last bit where the decoders are libpng, giflib or none, and within 2 of 255 for JPEG.
One difference is known: the single transparent colour of a grey PNG with 1, 2 or 4 bits is ignored by the graph.
Refused everywhere: BMP with run-length coding, 16 bits or the header of OS/2; GIF whose first frame is smaller than its
canvas.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

from kapps.errors import ImageError

if TYPE_CHECKING:
    import tensorflow as tf

MAX_PIXELS = 50_000_000
MAX_FILE_BYTES = 200 * 2**20

_PNG, _JPEG, _GIF, _BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM"

# What else people have, to say so.
_OTHERS = {
    b"RIFF": "WebP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"%PDF": "a PDF",
    b"<svg": "SVG",
    b"<?xm": "XML or SVG",
    b"PK\x03\x04": "a zip archive",
}


class ImageHeader(NamedTuple):
    """What a file says about its image before anything is decoded."""

    format: str
    height: int
    width: int
    channels: int  # of what decoding gives: 1 for grey PNG and JPEG, 3 for all else


def check_image_bytes(data: bytes, name: str = "image") -> ImageHeader:
    """Looks at an encoded image without decoding it: known format, bearable size, not cut off.

    Damage inside the pixels of a PNG or JPEG shows only when it is decoded.

    Args:
        data: the whole file.
        name: what the error calls it, e.g. the file's path.

    Raises:
        ImageError: one line: what was expected, what came, what to do.
    """
    if not data:
        raise ImageError(f"{name}: expected an image, got 0 bytes")
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(
            f"{name}: expected at most {MAX_FILE_BYTES:,} bytes, got {len(data):,}: make the image smaller"
        )
    read_header = next((reader for signature, reader in _READERS.items() if data.startswith(signature)), None)
    if read_header is None:
        raise ImageError(f"{name}: expected a PNG, JPEG, GIF or BMP image, got {_described(data)}: convert it")
    try:
        header = read_header(data)
    except _Damaged as damage:
        raise ImageError(f"{name}: {damage}") from None
    except (struct.error, IndexError):
        raise ImageError(
            f"{name}: expected a whole image, its header is cut off or damaged: get the file again"
        ) from None
    if header.height < 1 or header.width < 1:
        raise ImageError(f"{name}: expected an image with pixels, got {header.width}x{header.height}")
    if header.height * header.width > MAX_PIXELS:
        raise ImageError(
            f"{name}: expected at most {MAX_PIXELS:,} pixels, got {header.width}x{header.height}: "
            "make the image smaller"
        )
    return header


def image_size(data: bytes, name: str = "image") -> tuple[int, int]:
    """(height, width) of what decoding gives, a JPEG turned as its EXIF orientation says; nothing is decoded.

    Raises:
        ImageError: as `check_image_bytes`.
    """
    header = check_image_bytes(data, name)
    if header.format != "JPEG":
        return header.height, header.width
    lies = False
    with (
        contextlib.suppress(OSError, SyntaxError, ValueError),
        Image.open(io.BytesIO(data), formats=("JPEG",)) as image,
    ):
        lies = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    return (header.width, header.height) if lies else (header.height, header.width)


def read_image(source: str | os.PathLike | bytes | Image.Image | np.ndarray, name: str | None = None) -> np.ndarray:
    """An image from a file, from its bytes, from Pillow or from an array -> uint8 `[H, W, C]`, C = 1 (grey) or 3 (RGB).

    The rules are in the module's docstring. An array is uint8 `[H, W]` or `[H, W, C]` with C = 1 to 4 (grey, grey +
    alpha, RGB, RGBA).

    Raises:
        ImageError: what came is no such image; `name` is what the error calls it.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, name or "image array")
    if isinstance(source, Image.Image):
        return _from_pillow(ImageOps.exif_transpose(source), name or "image")
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, name = bytes(source), name or "image"
    elif isinstance(source, (str, os.PathLike)):
        name = name or os.fspath(source)
        data = _file_bytes(Path(source), name)
    else:
        raise ImageError(
            f"expected an image as a path, bytes, a Pillow image or a uint8 array, got {type(source).__name__}"
        )
    header = check_image_bytes(data, name)
    try:
        with Image.open(io.BytesIO(data), formats=(header.format,)) as image:
            image.load()
            upright = ImageOps.exif_transpose(image) if header.format == "JPEG" else image
            pixels = _from_pillow(upright, name)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ImageError(
            f"{name}: expected a readable {header.format} image, it is damaged ({error}): get the file again"
        ) from error
    # Pillow makes grey of a grey palette and colour of 16-bit grey with alpha; the file's own form decides.
    return pixels[..., :1] if header.channels == 1 else np.repeat(pixels, 3 // pixels.shape[-1], axis=-1)


def decode_image(contents: tf.Tensor) -> tf.Tensor:
    """`read_image` as a graph: one encoded image (scalar string) -> uint8 `[H, W, C]`; see `kapps.data.decoding`.

    Raises, when the graph runs:
        tf.errors.InvalidArgumentError: not such an image, damaged, truncated, without pixels or with too many.
    """
    from kapps.data import decoding  # here, so that checking and reading files needs no TensorFlow

    return decoding.decode_image(contents)


# Pixels -------------------------------------------------------------------------------------------------------------


def _from_pillow(image: Image.Image, name: str) -> np.ndarray:
    if image.width * image.height > MAX_PIXELS or not image.width or not image.height:
        raise ImageError(f"{name}: expected an image of 1 to {MAX_PIXELS:,} pixels, got {image.width}x{image.height}")
    if image.mode.startswith("I"):  # 16-bit grey; "I" is its 32-bit container
        wide = np.asarray(image)
        if wide.min() < 0 or wide.max() > 0xFFFF:
            raise ImageError(f"{name}: expected at most 16 bits a sample, got values from {wide.min()} to {wide.max()}")
        return (wide >> 8).astype(np.uint8)[..., np.newaxis]
    if image.mode == "F":
        raise ImageError(f"{name}: expected whole numbers 0..255 as pixels, got floating point: convert it to 8 bits")
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        image = image.convert("LA" if grey else "RGBA")
    else:
        image = image.convert("L" if grey else "RGB")
    return _from_array(np.asarray(image), name)


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype != np.uint8:
        raise ImageError(f"{name}: expected uint8 with values 0..255, got {array.dtype}: convert it on purpose")
    if array.ndim == 2:
        array = array[..., np.newaxis]
    if array.ndim != 3 or array.shape[-1] not in (1, 2, 3, 4):
        raise ImageError(
            f"{name}: expected [H, W] or [H, W, C] with 1 to 4 channels, got the shape {list(array.shape)}"
        )
    height, width, channels = array.shape
    if not 1 <= height * width <= MAX_PIXELS:
        raise ImageError(f"{name}: expected an image of 1 to {MAX_PIXELS:,} pixels, got {width}x{height}")
    if channels in (1, 3):
        return array
    colour, alpha = array[..., :-1].astype(np.int32), array[..., -1:].astype(np.int32)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _file_bytes(path: Path, name: str) -> bytes:
    try:
        if not path.is_file():
            raise ImageError(f"{name}: expected an image file, found {'a folder' if path.is_dir() else 'nothing'}")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ImageError(f"{name}: expected at most {MAX_FILE_BYTES:,} bytes, got {size:,}: make the image smaller")
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{name}: cannot be read ({error.strerror or error})") from error


# Headers ------------------------------------------------------------------------------------------------------------


class _Damaged(Exception):
    """What is wrong with a file, without its name."""


_CUT_OFF = "expected a whole {} image, the file ends too early: get it again"


def _png_header(data: bytes) -> ImageHeader:
    width, height = struct.unpack_from(">II", data, 16)
    position = 8
    while data[position + 4 : position + 8] != b"IEND":
        (length,) = struct.unpack_from(">I", data, position)
        position += 12 + length
        if position + 8 > len(data):
            raise _Damaged(_CUT_OFF.format("PNG"))
    return ImageHeader("PNG", height, width, channels=1 if data[25] in (0, 4) else 3)


def _jpeg_header(data: bytes) -> ImageHeader:
    position, size = 2, None
    while True:
        while data[position] == 0xFF and data[position + 1] == 0xFF:  # filling
            position += 1
        start, marker, length = struct.unpack_from(">BBH", data, position)
        if start != 0xFF:
            raise _Damaged("expected a JPEG image, its segments are damaged: get the file again")
        # Start of frame: C0 to CF without the tables DHT (C4), JPG (C8) and DAC (CC).
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = struct.unpack_from(">HHB", data, position + 5)  # height, width, components
        if marker == 0xDA:
            break
        position += 2 + length
    if size is None:
        raise _Damaged("expected a JPEG image, it names no size: get the file again")
    # Within the scans FF is always followed by 00, so this is the end of the image and not of a thumbnail.
    if data.find(b"\xff\xd9", position) < 0:
        raise _Damaged(_CUT_OFF.format("JPEG"))
    return ImageHeader("JPEG", size[0], size[1], channels=1 if size[2] == 1 else 3)


def _gif_header(data: bytes) -> ImageHeader:
    width, height, flags = struct.unpack_from("<HHB", data, 6)

    def palette_bytes(flags: int) -> int:
        return 3 * (2 << (flags % 8)) if flags >= 128 else 0

    def after_blocks(position: int) -> int:
        while data[position]:
            position += 1 + data[position]
        return position + 1

    position = 13 + palette_bytes(flags)
    while data[position] == 0x21:
        position = after_blocks(position + 2)
    if data[position] != 0x2C:
        raise _Damaged("expected a GIF image, it holds no frame: get the file again")
    frame = struct.unpack_from("<HHHHB", data, position + 1)
    if frame[:4] != (0, 0, width, height):
        raise _Damaged(
            f"expected a GIF whose first frame covers its canvas, got {frame[2]}x{frame[3]} on {width}x{height}: "
            "convert it"
        )
    try:
        after_blocks(position + 11 + palette_bytes(frame[4]))
    except IndexError:
        raise _Damaged(_CUT_OFF.format("GIF")) from None
    return ImageHeader("GIF", height, width, channels=3)


def _bmp_header(data: bytes) -> ImageHeader:
    start, header_size, width, height, _, bits, coding = struct.unpack_from("<IIiiHHI", data, 10)
    usual_masks = coding == 3 and bits == 32 and data[54:66] == b"\0\0\xff\0\0\xff\0\0\xff\0\0\0"
    if header_size < 40 or bits not in (1, 4, 8, 24, 32) or not (coding == 0 or usual_masks):
        raise _Damaged(
            f"expected an uncompressed BMP of 1, 4, 8, 24 or 32 bits, got {bits} bits with coding {coding}: "
            "convert it to PNG"
        )
    # An impossible size is named as such by the caller.
    is_bearable = max(width, 0) * abs(height) <= MAX_PIXELS
    if is_bearable and start + (max(width, 0) * bits + 31) // 32 * 4 * abs(height) > len(data):
        raise _Damaged(_CUT_OFF.format("BMP"))
    return ImageHeader("BMP", abs(height), width, channels=3)


_READERS = {_PNG: _png_header, _JPEG: _jpeg_header, _GIF: _gif_header, _BMP: _bmp_header}


def _described(data: bytes) -> str:
    for signature, described in _OTHERS.items():
        if data.startswith(signature):
            return described
    if data[4:8] == b"ftyp":
        return "HEIC, AVIF or a film"
    try:
        data[:256].decode("ascii")
    except UnicodeDecodeError:
        return f"something that starts with the bytes {data[:4].hex(' ')}"
    return "text"
