"""The size normalisation of handwritten digits, in TensorFlow operations alone, from a photo to what MNIST looks like.

LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 1998, section
III.A: the digit is scaled to fit a 20x20 box with its aspect kept (grey levels come from the anti-aliasing), and placed
into a 28x28 image so that its centre of mass is the centre of the image.

Their images were clean black and white scans. For a phone's photo of a pen on paper, what stands before that is ours:
the paper's uneven brightness is estimated and taken away, ink is told from paper whatever is brighter, and noise is
cut.

Deviations from the paper: the result is stretched so that its strongest ink is 255, because a thin pen line scaled down
to 20 pixels would come out pale; the shift to the centre of mass is in whole pixels and never pushes ink out.

What it needs: one digit, with paper around it of a tenth of its size or more, and nothing else in the picture that is
as dark; a hard shadow's edge is borne where the ink is clearly darker. A blank picture gives a blank result.
"""

from __future__ import annotations

import tensorflow as tf

# A digit fills 20 of 28 pixels.
BOX_PART = 20 / 28

# Larger pictures are shrunk to this before anything else: it averages noise away and bounds the work.
_WORKING_SIDE = 400
# The paper is estimated, and the digit found, on a picture of this size.
_COARSE_SIDE = 80

# Grey levels (0..255) under which a difference is no ink.
_FAINTEST_INK = 12.0
# How many deviations of the paper's noise ink must stand above it.
_INK_OVER_NOISE = 4.0

# Of a normal distribution: its standard deviation by the median of its absolute values.
_MEDIAN_TO_DEVIATION = 1.4826

_BINS = 256


def is_size_normalised(grey: tf.Tensor) -> tf.Tensor:
    """Whether images `[..., H, W]` (0..255) are bright ink on black: more than half of the outermost pixels are black.

    Every image of MNIST is; a photo of dark ink on paper is not.
    """
    dark = tf.cast(grey <= 25, tf.float32)
    frame = [dark[..., 0, :], dark[..., -1, :], dark[..., :, 0], dark[..., :, -1]]
    return tf.reduce_mean(tf.concat(frame, axis=-1), axis=-1) > 0.5


@tf.function(autograph=False, experimental_attributes={"_noinline": True})  # see kapps/data/decoding.py
def size_normalise(grey: tf.Tensor, size: tuple[int, int] = (28, 28)) -> tf.Tensor:
    """One digit in a picture of any size, on paper or on a screen -> bright on black, in LeCun's form.

    Args:
        grey: float32 `[H, W]`, 0..255.
        size: (height, width) of the result; the digit fills 20/28 of it.

    Returns:
        float32 `[h, w]`, 0..255; all zeros where no ink is found.
    """
    height, width = size
    grey = _shrunk(grey, _WORKING_SIDE)
    deviation = grey - _paper(grey)
    # Ink is what deviates most and is least: the third moment has its sign.
    ink = tf.sign(tf.reduce_sum(deviation**3)) * deviation
    noise = _MEDIAN_TO_DEVIATION * _quantile(tf.abs(deviation), 0.5)
    ink = tf.nn.relu(ink)

    near = _near_ink(ink)
    ink = tf.where(near, ink, 0.0)
    threshold = _otsu(tf.boolean_mask(ink, near))
    full = _mean_over(ink, threshold)
    is_ink = full > tf.maximum(_FAINTEST_INK, _INK_OVER_NOISE * noise)
    return tf.ensure_shape(
        tf.cond(is_ink, lambda: _placed(ink, noise, full, size), lambda: tf.zeros([height, width])), [height, width]
    )


def _paper(grey: tf.Tensor) -> tf.Tensor:
    """The brightness of the paper under the ink, `[H, W]`: a quadratic surface, fitted so that ink hardly counts.

    Light from one side, a lamp or a lens' vignetting is smooth; a stroke is not. Iteratively reweighted least squares
    with the Geman-McClure weight, starting from the median of the frame, on a small copy of the picture.
    """
    coarse = _shrunk(grey, _COARSE_SIDE)
    basis, values = _quadratic_basis(tf.shape(coarse)), tf.reshape(coarse, [-1])
    frame = tf.concat([coarse[0], coarse[-1], coarse[:, 0], coarse[:, -1]], axis=0)
    fitted = tf.fill(tf.shape(values), _quantile(frame, 0.5))
    for _ in range(6):
        error = tf.abs(values - fitted)
        spread = tf.maximum(2.0, _MEDIAN_TO_DEVIATION * _quantile(error, 0.5))
        weight = 1 / tf.square(1 + tf.square(error / (2 * spread)))
        weighted = basis * weight[:, tf.newaxis]
        # The ridge keeps pictures of one row or column solvable.
        normal = tf.matmul(weighted, basis, transpose_a=True) + 1e-3 * tf.eye(6)
        coefficients = tf.linalg.solve(normal, tf.matmul(weighted, values[:, tf.newaxis], transpose_a=True))
        fitted = tf.matmul(basis, coefficients)[:, 0]
    return tf.reshape(tf.matmul(_quadratic_basis(tf.shape(grey)), coefficients), tf.shape(grey))


def _quadratic_basis(shape: tf.Tensor) -> tf.Tensor:
    """1, x, y, x², xy, y² of every pixel's centre, sides running from -1 to 1: `[H * W, 6]`."""
    y, x = (
        (2 * tf.range(tf.cast(side, tf.float32)) + 1) / tf.cast(side, tf.float32) - 1 for side in (shape[0], shape[1])
    )
    x, y = (tf.reshape(axis, [-1]) for axis in tf.meshgrid(x, y))
    return tf.stack([tf.ones_like(x), x, y, x * x, x * y, y * y], axis=1)


def _near_ink(ink: tf.Tensor) -> tf.Tensor:
    """Where ink may be, bool `[H, W]`: near what stands out in a coarse copy, where single grains of noise do not."""
    coarse = _shrunk(ink, _COARSE_SIDE)
    marked = tf.cast(coarse > _otsu(coarse), tf.float32)[tf.newaxis, ..., tf.newaxis]
    neighbours = tf.nn.avg_pool2d(tf.pad(marked, [[0, 0], [1, 1], [1, 1], [0, 0]]), 3, 1, "VALID") * 9
    connected = marked * tf.cast(neighbours > 1.5, tf.float32)
    marked = tf.cond(tf.reduce_any(connected > 0), lambda: connected, lambda: marked)
    widened = tf.nn.max_pool2d(marked, 3, 1, "SAME")
    return tf.image.resize(widened, tf.shape(ink), "nearest")[0, ..., 0] > 0


def _placed(ink: tf.Tensor, noise: tf.Tensor, full: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Cuts the ink out, scales it into the box and centres it by mass."""
    height, width = size
    floor = tf.minimum(2 * noise, full / 2)
    level = tf.clip_by_value((ink - floor) / (full - floor), 0, 1)
    inked = level > 0.2
    top, bottom = _extent(tf.reduce_any(inked, axis=1))
    left, right = _extent(tf.reduce_any(inked, axis=0))
    digit = level[top:bottom, left:right]

    box = tf.constant([round(height * BOX_PART), round(width * BOX_PART)], tf.float32)
    sides = tf.cast(tf.shape(digit), tf.float32)
    new = tf.maximum(tf.cast(tf.round(sides * tf.reduce_min(box / sides)), tf.int32), 1)
    digit = tf.image.resize(digit[..., tf.newaxis], new, "bilinear", antialias=True)[..., 0]
    digit = 255 * digit / tf.reduce_max(digit)

    mass = tf.reduce_sum(digit)
    room = tf.constant(size) - new
    offset = [
        _offset(tf.reduce_sum(digit, axis=1), mass, height, room[0]),
        _offset(tf.reduce_sum(digit, axis=0), mass, width, room[1]),
    ]
    return tf.pad(digit, [[offset[0], room[0] - offset[0]], [offset[1], room[1] - offset[1]]])


def _offset(profile: tf.Tensor, mass: tf.Tensor, side: int, room: tf.Tensor) -> tf.Tensor:
    """How far to move a digit so that its centre of mass lies on pixel side / 2, as in MNIST, kept inside the image."""
    centre = tf.reduce_sum(profile * tf.range(tf.cast(tf.size(profile), tf.float32))) / mass
    return tf.clip_by_value(tf.cast(tf.round(side / 2 - centre), tf.int32), 0, room)


def _extent(inked: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """First true index and one past the last."""
    where = tf.cast(tf.where(inked)[:, 0], tf.int32)
    return tf.reduce_min(where), tf.reduce_max(where) + 1


def _shrunk(grey: tf.Tensor, longest: int) -> tf.Tensor:
    """The picture with no side over `longest`, aspect kept, each pixel the mean of what it covers."""
    sides = tf.cast(tf.shape(grey), tf.float32)
    factor = tf.minimum(1.0, longest / tf.reduce_max(sides))
    new = tf.maximum(tf.cast(tf.round(sides * factor), tf.int32), 1)
    return tf.image.resize(grey[..., tf.newaxis], new, "area")[..., 0]


def _histogram(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Counts of non-negative values in equal bins from 0 to their largest, and the bins' middles."""
    largest = tf.maximum(tf.reduce_max(values), 1e-6)
    counts = tf.histogram_fixed_width(values, [0.0, largest], _BINS)
    return tf.cast(counts, tf.float32), (tf.range(_BINS, dtype=tf.float32) + 0.5) * (largest / _BINS)


def _quantile(values: tf.Tensor, part: float) -> tf.Tensor:
    """The value under which a part of the (non-negative) values lies, exact to a 256th of the largest."""
    counts, middles = _histogram(values)
    reached = tf.cumsum(counts) >= part * tf.reduce_sum(counts)
    return middles[tf.argmax(reached)]


def _otsu(values: tf.Tensor) -> tf.Tensor:
    """The threshold with the largest variance between what lies under and over it (Otsu 1979)."""
    counts, middles = _histogram(values)
    under, over = tf.cumsum(counts), tf.cumsum(counts, reverse=True, exclusive=True)
    sum_under = tf.cumsum(counts * middles)
    sum_over = tf.reduce_sum(counts * middles) - sum_under
    difference = tf.math.divide_no_nan(sum_under, under) - tf.math.divide_no_nan(sum_over, over)
    return middles[tf.argmax(under * over * tf.square(difference))]


def _mean_over(values: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    over = tf.cast(values > threshold, tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(values * over), tf.reduce_sum(over))
