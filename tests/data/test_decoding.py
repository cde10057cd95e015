"""The graph's decoder against Pillow's, and against bytes from anybody."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kapps.data import decode_image, read_image
from kapps.data.decoding import composite_over_white


@pytest.fixture(scope="module")
def decode():
    return tf.function(decode_image, input_signature=[tf.TensorSpec([], tf.string)])


def test_graph_and_pillow_agree(decode, encoding):
    name, data = encoding
    pixels, expected = decode(data).numpy(), read_image(data)
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape
    np.testing.assert_allclose(pixels.astype(int), expected, atol=2 if name.startswith("jpeg") else 0)


def test_what_is_no_image_is_refused(decode, damaged):
    _, data, _ = damaged
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(data)


@pytest.mark.parametrize("name", ["png rgb", "jpeg orientation 6", "gif transparent", "bmp palette"])
def test_no_prefix_of_a_file_crashes_the_graph(decode, encodings, name):
    data = encodings[name]
    # Every length in the header, then in steps; a decoder may let the last bytes go, if the pixels are right.
    for length in [*range(0, min(120, len(data)), 3), *range(120, len(data) - 16, 997)]:
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(data[:length])


@pytest.mark.parametrize("name", ["png palette + alpha", "jpeg orientation 6", "gif animated", "bmp 32 bit + alpha"])
def test_damaged_bytes_never_do_worse_than_an_error(decode, encodings, name):
    rng = np.random.default_rng(0)
    for _ in range(40):
        data = np.frombuffer(encodings[name], np.uint8).copy()
        where = rng.integers(0, min(len(data), 300), 3)
        data[where] = rng.integers(0, 256, 3)
        try:
            pixels = decode(data.tobytes())
        except tf.errors.InvalidArgumentError:
            continue
        assert pixels.dtype == tf.uint8
        assert pixels.shape[0] * pixels.shape[1] <= 50_000_000


def test_refusals_say_why(decode):
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 30_000, 30_000, 8, 2, 0, 0, 0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"1 to 50000000 pixels, got height and width"):
        decode(header)
    with pytest.raises(tf.errors.InvalidArgumentError, match="PNG, JPEG, GIF or BMP"):
        decode(b"hello")


def test_only_the_first_frame_is_decoded(decode, encodings):
    """What follows the first frame may be anything, also frames that would fill the memory."""
    data = encodings["gif"]
    bomb = data[:-1] + (b"\x2c" + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x08\x04abcd\0") * 50
    np.testing.assert_array_equal(decode(bomb), decode(data))


def test_exif_in_both_byte_orders(decode, encodings):
    upright = decode(encodings["jpeg orientation 1"]).numpy()
    plain = encodings["jpeg rgb"]
    for order, letters in (("<", b"II"), (">", b"MM")):
        tiff = letters + struct.pack(f"{order}HIHHHIHH", 42, 8, 1, 0x0112, 3, 1, 3, 0)
        segment = b"Exif\0\0" + tiff + bytes(4)
        data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + plain[2:]
        np.testing.assert_array_equal(decode(data), upright[::-1, ::-1])
        np.testing.assert_array_equal(read_image(data), upright[::-1, ::-1])


def test_in_a_pipeline(encodings):
    files = [encodings[name] for name in ("png grey", "jpeg rgb", "gif", "bmp palette")]
    shapes = [tuple(image.shape) for image in tf.data.Dataset.from_tensor_slices(files).map(decode_image, 2)]
    assert shapes == [(40, 60, 1), (40, 60, 3), (40, 60, 3), (40, 60, 3)]


def test_a_large_photo(decode):
    pixels = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    np.testing.assert_array_equal(decode(stream.getvalue()), pixels)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_composite_over_white_with_known_and_unknown_channels(channels):
    image = np.random.default_rng(0).integers(0, 256, (2, 5, 6, channels), dtype=np.uint8)
    colour = image[..., : 1 if channels < 3 else 3].astype(float)
    alpha = image[..., -1:] / 255 if channels in (2, 4) else 1.0
    expected = np.rint(colour * alpha + 255 * (1 - alpha))
    np.testing.assert_allclose(composite_over_white(tf.constant(image)), expected, atol=1e-3)
    unknown = tf.function(composite_over_white, input_signature=[tf.TensorSpec([None, None, None, None], tf.uint8)])
    np.testing.assert_allclose(unknown(image), expected, atol=1e-3)
