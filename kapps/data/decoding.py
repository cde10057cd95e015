"""Encoded images -> pixels inside a TensorFlow graph: in tf.data pipelines and in exported models.

The bytes may come from anybody, so nothing is decoded before its header has been looked at: an image of no pixels or of
more than `MAX_PIXELS` is refused before memory is taken. What TensorFlow's own decoders leave out is done here, so that
the result is what `kapps.data.images.read_image` gets from Pillow:

- transparency is composited over white, also the single transparent colour of a GIF;
- a JPEG is turned as its EXIF orientation says;
- the palette of a BMP is applied, and 1 and 4 bits are read (tf.io.decode_bmp returns palette numbers as if they were
  grey);
- an animated GIF is cut off after its first frame, so that the others are never decoded.

What a client of an exported model gets: the rules in `kapps.data.images`.
"""

from __future__ import annotations

import functools

import tensorflow as tf

from kapps.data.images import MAX_PIXELS

# TensorFlow steps over every operation of the branches that are not taken, unless they are functions of their own: this
# more than halves the time of a small image.
_own_function = functools.partial(tf.function, autograph=False, experimental_attributes={"_noinline": True})

# JPEG markers up to the first scan are looked for an orientation within this many bytes; cameras write it first.
_EXIF_WITHIN = 2**17


@tf.autograph.experimental.do_not_convert
def decode_image(contents: tf.Tensor) -> tf.Tensor:
    """One encoded PNG, JPEG, GIF or BMP (scalar string) -> uint8 `[H, W, C]`, C = 1 (grey PNG and JPEG) or 3 (RGB).

    Raises, when the graph runs:
        tf.errors.InvalidArgumentError: not such an image, damaged, truncated, without pixels or with too many.
    """
    contents = tf.convert_to_tensor(contents)
    head = _bytes(tf.strings.substr(contents, 0, 80), at_least=80)

    def starts_with(signature: bytes) -> tf.Tensor:
        return tf.reduce_all(head[: len(signature)] == list(signature))

    formats = [
        (starts_with(b"\x89PNG\r\n\x1a\n"), lambda: _decode_png(contents, head)),
        (starts_with(b"\xff\xd8\xff"), lambda: _decode_jpeg(contents)),
        (starts_with(b"GIF8"), lambda: _decode_gif(contents, head)),
        (starts_with(b"BM"), lambda: _decode_bmp(contents, head)),
    ]
    image = tf.case(formats, default=_refuse_format, exclusive=True)
    return tf.ensure_shape(image, [None, None, None])


@tf.autograph.experimental.do_not_convert
def composite_over_white(image: tf.Tensor) -> tf.Tensor:
    """Images uint8 `[..., C]` with 1 to 4 channels -> `[..., 1 or 3]`: what is transparent shows white.

    Images without alpha come back as they are. The number of channels may be unknown until the graph runs.
    """
    channels = image.shape[-1]
    if channels in (1, 3):
        return image
    if channels is not None:
        return _composite(image, channels)
    # Decoded images have no alpha left, and large ones take longer to composite than to decode.
    opaque = tf.shape(image)[-1] % 2 == 1
    return tf.cond(opaque, lambda: image, lambda: _composite(image, tf.shape(image)[-1]))


def _composite(image: tf.Tensor, channels: int | tf.Tensor) -> tf.Tensor:
    """`[..., 2 or 4]` -> `[..., 1 or 3]`."""
    wide = tf.cast(image, tf.int32)
    colours, alpha = wide[..., : channels - 1], wide[..., -1:]
    # To the nearest integer, as numpy computes it in kapps.data.images.
    composed = (colours * alpha + 255 * (255 - alpha) + 127) // 255
    return tf.cast(composed, tf.uint8)


# Formats ------------------------------------------------------------------------------------------------------------


@_own_function
def _decode_png(contents: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    contents = _guarded(contents, _big_endian(head, 20, 4), _big_endian(head, 16, 4))
    depth, colour_type = head[24], head[25]
    grey = (colour_type == 0) | (colour_type == 4)
    # Asked for 4 channels, TensorFlow applies a single transparent colour; but it fills alpha with garbage where
    # several pixels share a byte, and palettes give their alpha anyway.
    with_alpha = (depth >= 8) & (colour_type != 3)
    pixels = tf.cond(
        with_alpha, lambda: tf.io.decode_png(contents, channels=4), lambda: tf.io.decode_png(contents, channels=0)
    )
    pixels = composite_over_white(tf.ensure_shape(pixels, [None, None, None]))
    return tf.cond(grey, lambda: pixels[..., :1], lambda: pixels)


@_own_function
def _decode_jpeg(contents: tf.Tensor) -> tf.Tensor:
    shape = tf.io.extract_jpeg_shape(contents)
    contents = _guarded(contents, shape[0], shape[1])
    # The accurate inverse cosine transform is Pillow's too. CMYK becomes RGB when 3 channels are asked for.
    pixels = tf.cond(
        shape[2] == 1,
        lambda: tf.io.decode_jpeg(contents, channels=1, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE"),
    )
    orientation = _exif_orientation(contents)
    # Every orientation is a transposition or none, then mirrored left to right, then upside down.
    for orientations, turn in (
        ((5, 6, 7, 8), lambda image: tf.transpose(image, [1, 0, 2])),
        ((2, 3, 6, 7), lambda image: tf.reverse(image, axis=[1])),
        ((3, 4, 7, 8), lambda image: tf.reverse(image, axis=[0])),
    ):
        pixels = _turn_if(tf.reduce_any(orientation == list(orientations)), turn, pixels)
    return pixels


def _turn_if(condition, turn, image: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(tf.cond(condition, lambda: turn(image), lambda: image), [None, None, None])


def _exif_orientation(contents: tf.Tensor) -> tf.Tensor:
    """The orientation 1 to 8 from a JPEG's EXIF segment, 1 where there is none: int32 scalar."""
    data = _bytes(tf.strings.substr(contents, 0, _EXIF_WITHIN), at_least=16)

    def segment_follows(position, exif):
        # A segment starts with FF and its marker; after DA (start of scan) come the pixels.
        inside = position + 10 < tf.size(data)
        at = tf.minimum(position, tf.size(data) - 10)
        return inside & (exif == 0) & (data[at] == 0xFF) & (data[at + 1] != 0xDA)

    def next_segment(position, exif):
        is_exif = (data[position + 1] == 0xE1) & tf.reduce_all(data[position + 4 : position + 10] == list(b"Exif\0\0"))
        return position + 2 + _big_endian(data, position + 2, 2), tf.where(is_exif, position + 10, exif)

    _, tiff = tf.while_loop(segment_follows, next_segment, [2, 0])
    little = _at(data, tiff) == ord("I")

    def number(position, size: int) -> tf.Tensor:
        values = tf.stack([_at(data, position + i) for i in range(size)], axis=-1)
        values = tf.where(little, tf.reverse(values, axis=[-1]), values)
        # At most 4 bytes; what would be negative is no offset inside this piece of the file.
        return tf.reduce_sum(values * [256 ** (size - 1 - i) for i in range(size)], axis=-1)

    directory = tiff + number(tiff + 4, 4)
    entries = directory + 2 + 12 * tf.range(tf.minimum(number(directory, 2), 512))
    is_orientation = number(entries, 2) == 0x0112
    found = tf.reduce_max(tf.where(is_orientation, number(entries + 8, 2), 0))
    return tf.where((tiff > 0) & (found >= 1) & (found <= 8), found, 1)


@_own_function
def _decode_gif(contents: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    width, height = _little_endian(head, 6, 2), _little_endian(head, 8, 2)
    contents = _guarded(contents, height, width)
    data = _bytes(contents, at_least=80)
    size = tf.size(data)

    def palette_bytes(flags: tf.Tensor) -> tf.Tensor:
        return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)

    # Up to the first image: extensions, of which the graphic control names the transparent colour.
    def before_image(position, in_blocks, transparent):
        return (position < size) & (in_blocks | (_at(data, position) == 0x21))

    def step(position, in_blocks, transparent):
        length = _at(data, position)
        is_control = ~in_blocks & (_at(data, position + 1) == 0xF9)
        named = tf.where(_at(data, position + 3) % 2 == 1, _at(data, position + 6), -1)
        return (
            position + tf.where(in_blocks, 1 + length, 2),
            ~in_blocks | (length != 0),
            tf.where(is_control, named, transparent),
        )

    start = 13 + palette_bytes(head[10])
    image, _, transparent = tf.while_loop(before_image, step, [start, tf.constant(False), -1])

    flags = _at(data, image + 9)
    left, top, wide, high = (_little_endian(data, image + offset, 2) for offset in (1, 3, 5, 7))
    covers = (_at(data, image) == 0x2C) & (left == 0) & (top == 0) & (wide == width) & (high == height)
    local_bytes = palette_bytes(flags)

    # Its data: blocks, each after its length, until one of length 0.
    def block_follows(position):
        return (position < size) & (_at(data, position) != 0)

    end = tf.while_loop(
        block_follows, lambda position: [position + 1 + _at(data, position)], [image + 11 + local_bytes]
    )
    end = end[0]
    checks = [
        tf.debugging.Assert(covers, ["expected a GIF whose first frame covers its canvas"]),
        tf.debugging.Assert(end < size, ["expected a whole GIF, it ends within its first frame"]),
    ]
    with tf.control_dependencies(checks):
        # Header, palette and first image; without the extensions, or TensorFlow would leave black what is transparent.
        first = tf.strings.substr(contents, 0, start) + tf.strings.substr(contents, image, end + 1 - image) + b"\x3b"
        palette = tf.where(local_bytes > 0, start + 10, 13)
        colours = tf.where(local_bytes > 0, local_bytes, palette_bytes(head[10])) // 3
        # White instead of the transparent colour. Where there is none, the first three bytes are replaced by
        # themselves.
        is_hole = (transparent >= 0) & (transparent < colours)
        hole = tf.where(is_hole, palette + 3 * transparent, 0)
        filling = tf.where(is_hole, b"\xff\xff\xff", tf.strings.substr(first, 0, 3))
        first = tf.strings.substr(first, 0, hole) + filling + tf.strings.substr(first, hole + 3, -1)
    return tf.io.decode_gif(first)[0]


@_own_function
def _decode_bmp(contents: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    start, header_size = _little_endian(head, 10, 4), _little_endian(head, 14, 4)
    width, height = _little_endian(head, 18, 4), _little_endian(head, 22, 4)
    bits, coding = _little_endian(head, 28, 2), _little_endian(head, 30, 4)
    upside_down, height = height > 0, tf.abs(height)  # rows run upwards, unless the height is negative
    # Coding 3 names the bits of each colour; those of nearly every writer are what 32 bits mean anyway: B, G, R, alpha.
    usual_masks = (bits == 32) & tf.reduce_all(head[54:66] == [0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0])
    readable = (
        (header_size >= 40) & tf.reduce_any(bits == [1, 4, 8, 24, 32]) & ((coding == 0) | ((coding == 3) & usual_masks))
    )
    contents = _guarded(contents, height, width)
    data = _bytes(contents, at_least=80)
    row_bytes = (width * bits + 31) // 32 * 4
    checks = [
        tf.debugging.Assert(
            readable, ["expected an uncompressed BMP of 1, 4, 8, 24 or 32 bits, got bits and coding:", bits, coding]
        ),
        tf.debugging.Assert(
            (start >= 0) & (start <= tf.size(data)) & (row_bytes * height <= tf.size(data) - start),
            ["expected a whole BMP, it ends within its pixels"],
        ),
    ]
    with tf.control_dependencies(checks):
        rows = tf.reshape(data[start : start + row_bytes * height], [height, row_bytes])

    def from_palette() -> tf.Tensor:
        shifts = tf.range(8 - bits, -1, -tf.maximum(bits, 1))  # the leftmost pixel is in the upper bits
        index = tf.bitwise.right_shift(rows[..., tf.newaxis], shifts) % tf.bitwise.left_shift(1, bits)
        index = tf.reshape(index, [height, -1])[:, :width]
        # Numbers over the palette's end are black, as in Pillow.
        count = tf.clip_by_value((start - 14 - header_size) // 4, 0, 256)
        palette = tf.reshape(data[14 + header_size : 14 + header_size + 4 * count], [-1, 4])
        palette = tf.pad(palette, [[0, 256 - count], [0, 0]])
        return tf.gather(palette, index)[..., 2::-1]

    def from_colours() -> tf.Tensor:
        pixels = tf.reshape(rows[:, : width * (bits // 8)], [height, width, bits // 8])
        colour = pixels[..., 2::-1]
        # Without masks the fourth byte means nothing; a mask for it makes it alpha.
        has_alpha = (coding == 3) & (header_size >= 56) & tf.reduce_all(head[66:70] == [0, 0, 0, 255])
        alpha = tf.cond(has_alpha, lambda: pixels[..., 3:], lambda: tf.fill([height, width, 1], 255))
        return tf.cast(composite_over_white(tf.cast(tf.concat([colour, alpha], -1), tf.uint8)), tf.int32)

    pixels = tf.cond(bits <= 8, from_palette, from_colours)
    pixels = tf.ensure_shape(tf.cast(pixels, tf.uint8), [None, None, 3])
    return _turn_if(upside_down, lambda image: tf.reverse(image, axis=[0]), pixels)


def _refuse_format() -> tf.Tensor:
    refusal = tf.debugging.Assert(False, ["expected the bytes of a PNG, JPEG, GIF or BMP image"])
    with tf.control_dependencies([refusal]):
        return tf.zeros([1, 1, 3], tf.uint8)


# Bytes --------------------------------------------------------------------------------------------------------------


def _guarded(contents: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """The same contents, once the size in the header has been found to be bearable."""
    height, width = tf.cast(height, tf.int64), tf.cast(width, tf.int64)
    # The sides first: their product cannot overflow then.
    bearable = (height >= 1) & (width >= 1) & (height <= MAX_PIXELS) & (width <= MAX_PIXELS)
    bearable &= height * width <= MAX_PIXELS
    message = [f"expected an image of 1 to {MAX_PIXELS} pixels, got height and width:", height, width]
    with tf.control_dependencies([tf.debugging.Assert(bearable, message)]):
        return tf.identity(contents)


def _bytes(contents: tf.Tensor, at_least: int) -> tf.Tensor:
    """The bytes as int32 `[n]`, filled up with zeros to a length that every header field lies in."""
    data = tf.cast(tf.io.decode_raw(contents, tf.uint8), tf.int32)
    return tf.pad(data, [[0, tf.maximum(0, at_least - tf.size(data))]])


def _at(data: tf.Tensor, position) -> tf.Tensor:
    """The bytes at positions of any shape; 0 beyond the end, which no reader takes for a size."""
    inside = (position >= 0) & (position < tf.size(data))
    return tf.where(inside, tf.gather(data, tf.where(inside, position, 0)), 0)


def _big_endian(data: tf.Tensor, position, size: int) -> tf.Tensor:
    return tf.add_n([_at(data, position + i) * 256 ** (size - 1 - i) for i in range(size)])


def _little_endian(data: tf.Tensor, position, size: int) -> tf.Tensor:
    return tf.add_n([_at(data, position + i) * 256**i for i in range(size)])
