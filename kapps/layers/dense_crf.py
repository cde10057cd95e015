"""A fully connected conditional random field behind a segmentation network: mean-field inference as a layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

# Pairs of pixels whose kernel is held at once (16 MB).
_PAIRS_AT_ONCE = 2**22

# Numbers in the largest bilateral grid of one image (1 GB).
_LARGEST_GRID = 2**28

# The blur along one axis of the bilateral grid, by the distance of two cells: `_PEAK exp(-_SLOPE d^2)`. Spreading a
# pixel over its two nearest cells and reading it there adds the variance 1/3 to the blur's 2/3; together they are the
# Gaussian of variance 1, and the sum of the blur's numbers is its integral.
_SLOPE = 0.75
_PEAK = math.sqrt(2 * math.pi) / float(np.exp(-_SLOPE * np.arange(-9.0, 10.0) ** 2).sum())


@keras.saving.register_keras_serializable("kapps")
class DenseCRF(keras.layers.Layer):
    """Labels that agree with the scores, and with each other where pixels are near and alike.

    Every pair of pixels i, j is joined (Krähenbühl and Koltun: "Efficient Inference in Fully Connected CRFs with
    Gaussian Edge Potentials", NIPS 2011, eq. 2 and 3), p being positions in pixels and I values of the image:

        k_appearance(i, j) = exp(-|p_i - p_j|^2 / (2 theta_alpha^2) - |I_i - I_j|^2 / (2 theta_beta^2))
        k_smoothness(i, j) = exp(-|p_i - p_j|^2 / (2 theta_gamma^2))

    The layer unrolls the mean-field iteration (algorithm 1 there; Zheng et al.: "Conditional Random Fields as Recurrent
    Neural Networks", ICCV 2015, algorithm 1). With Q = softmax(scores) to begin with, one iteration is

        message[i, l]  = sum_m  w_m[l]  sum_{j != i} k_m(i, j) Q[j, l]
        scores'[i, l]  = scores[i, l] - sum_l' compatibility[l, l'] message[i, l']
        Q              = softmax(scores')

    Weights, all trained by backpropagation through the iterations as in the second paper: `w_m` of each kernel, one a
    label, and the compatibility, which starts as the Potts model (0 for the same label, 1 for two different ones). The
    widths theta are fixed. The gradient reaches the scores but not the image.

    Args:
        iterations: of the mean field; the second paper trains with 5 and answers with 10.
        theta_alpha: reach of the appearance kernel in pixels.
        theta_beta: how far values may differ there, in units of the image: 13 for 0..255 is 0.051 for 0..1.
        theta_gamma: reach of the smoothness kernel in pixels.
        appearance: what `w_appearance` starts with.
        smoothness: what `w_smoothness` starts with.
        normalization: what is done with k, whose row sums n grow with the image: `"none"` (the papers' equations);
            `"mean"` divides by n_i, a message is a weighted mean; `"symmetric"` by `sqrt(n_i n_j)`, which keeps k
            symmetric (the default of the first paper's program).
        method: `"exact"` goes through all pairs, block by block: time (H W)^2, memory bounded. `"grid"` collects the
            pixels in the cells of a bilateral grid (Paris and Durand, ECCV 2006), theta wide, blurs it and reads it:
            time H W, memory (H / theta_alpha) (W / theta_alpha) (range / theta_beta)^C cells; a few percent off.
            Smoothness is exact and fast in both: its Gaussian is separable.
        value_range: lowest and highest value of the image, for the grid; what lies outside is clipped.
        post_processing: the scores pass unchanged while the network trains, and the layer's weights stay as they are:
            a CRF behind a network that was trained without it.

    Call arguments:
        scores: `[B, H, W, L]`, logits of the network for each label.
        image: `[B, H, W, C]`.

    Returns:
        float32 `[B, H, W, L]`: new scores, whose softmax is Q after the last iteration.

    Raises:
        ValueError: an argument that cannot be used, inputs that do not fit together, or a grid too large for memory.
    """

    def __init__(
        self,
        iterations: int = 5,
        theta_alpha: float = 80.0,
        theta_beta: float = 13.0,
        theta_gamma: float = 3.0,
        appearance: float = 10.0,
        smoothness: float = 3.0,
        normalization: Literal["none", "mean", "symmetric"] = "symmetric",
        method: Literal["exact", "grid"] = "exact",
        value_range: tuple[float, float] = (0.0, 255.0),
        post_processing: bool = False,
        **kwargs: Any,
    ):
        if not isinstance(iterations, int) or isinstance(iterations, bool) or iterations < 1:
            raise ValueError(f"DenseCRF: iterations must be an integer of at least 1, got {iterations!r}")
        for name, theta in (("alpha", theta_alpha), ("beta", theta_beta), ("gamma", theta_gamma)):
            if not theta > 0:
                raise ValueError(f"DenseCRF: theta_{name} is a width and must be above 0, got {theta!r}")
        if normalization not in ("none", "mean", "symmetric"):
            raise ValueError(f"DenseCRF: normalization must be 'none', 'mean' or 'symmetric', got {normalization!r}")
        if method not in ("exact", "grid"):
            raise ValueError(f"DenseCRF: method must be 'exact' or 'grid', got {method!r}")
        if not value_range[0] < value_range[1]:
            raise ValueError(f"DenseCRF: value_range must be (lowest, highest), got {value_range!r}")
        # Sums over a whole image do not fit into float16.
        super().__init__(**{"trainable": not post_processing, **kwargs}, autocast=False)
        self.iterations = iterations
        self.theta_alpha = theta_alpha
        self.theta_beta = theta_beta
        self.theta_gamma = theta_gamma
        self.appearance = appearance
        self.smoothness = smoothness
        self.normalization = normalization
        self.method = method
        self.value_range = tuple(value_range)
        self.post_processing = post_processing

    def build(self, scores_shape: tuple[int | None, ...], image_shape: tuple[int | None, ...]) -> None:
        if len(scores_shape) != 4 or len(image_shape) != 4 or scores_shape[1:3] != image_shape[1:3]:
            raise ValueError(
                "DenseCRF: expected scores [B, H, W, L] and an image [B, H, W, C] of the same height and width, "
                f"got {tuple(scores_shape)} and {tuple(image_shape)}"
            )
        _, height, width, labels = scores_shape
        if self.method == "grid" and None not in (height, width):
            numbers = labels * math.prod(self._grid_shape(height, width, image_shape[-1]))
            if numbers > _LARGEST_GRID:
                raise ValueError(
                    f"DenseCRF: the bilateral grid of a {height}x{width} image would hold {numbers:.1e} numbers: "
                    "enlarge theta_beta or theta_alpha, or take method='exact'"
                )
        constant = keras.initializers.Constant
        kinds = {"shape": (labels,), "dtype": "float32"}
        self.w_appearance = self.add_weight(initializer=constant(self.appearance), name="w_appearance", **kinds)
        self.w_smoothness = self.add_weight(initializer=constant(self.smoothness), name="w_smoothness", **kinds)

        def potts(shape, dtype=None):
            return ops.ones(shape, dtype) - ops.eye(shape[0], dtype=dtype)

        self.compatibility = self.add_weight((labels, labels), potts, name="compatibility", dtype="float32")

    def call(self, scores, image, training=None):
        unary = ops.cast(scores, "float32")
        if training and self.post_processing:
            return unary
        image = ops.stop_gradient(ops.cast(image, "float32"))
        kernels = (
            (self.w_appearance, self._normalized(self._appearance(image), unary)),
            (self.w_smoothness, self._normalized(self._smoothness(unary), unary)),
        )
        updated = unary
        for _ in range(self.iterations):
            q = ops.softmax(updated)
            message = sum(weight * kernel(q) for weight, kernel in kernels)
            updated = unary - ops.matmul(message, ops.transpose(self.compatibility))
        return updated

    def _normalized(self, kernel: Callable, unary) -> Callable:
        """The kernel's product with [B, H, W, L], divided as `normalization` says."""
        if self.normalization == "none":
            return kernel
        rows = ops.stop_gradient(kernel(ops.ones_like(unary[..., :1])))  # n_i, [B, H, W, 1]
        rows = ops.maximum(rows, 1e-20)  # a pixel that no other one is near or like
        if self.normalization == "mean":
            return lambda q: kernel(q) / rows
        root = ops.sqrt(rows)
        return lambda q: kernel(q / root) / root

    def _smoothness(self, unary) -> Callable:
        """The Gaussian of the distance is one along the rows times one along the columns."""

        rows, columns = (_gaussian(size, self.theta_gamma) for size in ops.shape(unary)[1:3])
        return lambda q: ops.einsum("yv,bvul,xu->byxl", rows, q, columns) - q

    def _appearance(self, image) -> Callable:
        product = self._grid_product(image) if self.method == "grid" else self._exact_product(image)

        @ops.custom_gradient
        def symmetric(q):
            # As the kernel is its own transpose, the gradient is the same product. Nothing else needs to be kept:
            # differentiating block by block would store the kernel of all pairs.
            def gradient(upstream):
                return product(upstream)

            return product(q), gradient

        return symmetric

    def _exact_product(self, image) -> Callable:
        """All pairs, as many at once as `_PAIRS_AT_ONCE` allows."""
        _, height, width, channels = ops.shape(image)
        y, x = (ops.cast(ops.arange(size), "float32") / self.theta_alpha for size in (height, width))
        place = ops.stack(ops.meshgrid(y, x, indexing="ij"), axis=-1)  # [H, W, 2]
        place = ops.broadcast_to(place, (*ops.shape(image)[:3], 2))
        points = ops.concatenate([place, image / self.theta_beta], axis=-1)
        points = points - ops.mean(points, axis=(1, 2), keepdims=True)  # small numbers: the squares below stay exact
        count = height * width
        points = ops.reshape(points, (-1, count, 2 + channels))  # [B, N, 2 + C]
        block = ops.arange(_at_most(count, _PAIRS_AT_ONCE))
        starts = ops.arange(0, count, block.shape[0] or ops.shape(block)[0])

        def one_image(pair):
            point, q = pair  # [N, 2 + C], [N, L]
            squares = ops.sum(ops.square(point), axis=-1)

            def rows_from(start):
                some = ops.minimum(start + block, count - 1)  # the last block repeats the last pixel
                distance = ops.take(squares, some)[:, None] + squares
                distance = distance - 2 * ops.matmul(ops.take(point, some, axis=0), ops.transpose(point))
                return ops.matmul(ops.exp(-0.5 * ops.maximum(distance, 0.0)), q)  # [block, L]

            message = ops.map(rows_from, starts)
            return ops.reshape(message, (-1, q.shape[-1]))[:count] - q

        def product(q):
            flat = ops.reshape(q, (-1, count, q.shape[-1]))
            return ops.reshape(ops.map(one_image, (points, flat)), ops.shape(q))

        return product

    def _grid_product(self, image) -> Callable:
        """Spread the pixels over their nearest cells, blur the grid, read it at the pixels."""
        batch, height, width, channels = ops.shape(image)
        shape = self._grid_shape(height, width, channels)
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        cells = math.prod(shape)
        blurs = [_PEAK * _gaussian(size, math.sqrt(1 / (2 * _SLOPE))) for size in shape]

        low, high = self.value_range
        value = (ops.clip(image, low, high) - low) / self.theta_beta  # [B, H, W, C]
        y = ops.cast(ops.arange(height), "float32")[:, None] / self.theta_alpha
        x = ops.cast(ops.arange(width), "float32") / self.theta_alpha
        same = ops.zeros_like(image[..., 0])
        places = [same + y, same + x, *(value[..., channel] for channel in range(channels))]  # each [B, H, W]

        corners = [(ops.zeros_like(places[0], dtype="int32"), ops.ones_like(places[0]))]  # (cell, weight)
        itself = ops.ones_like(places[0])  # how much a pixel gets of its own value
        for place, stride in zip(places, strides, strict=True):
            first = ops.floor(place)
            after = place - first
            cell = ops.cast(first, "int32") * stride
            corners = [
                (index + cell + step * stride, weight * (after if step else 1 - after))
                for index, weight in corners
                for step in (0, 1)
            ]
            both = 2 * math.exp(-_SLOPE) * after * (1 - after)  # from one of the two cells into the other, and back
            itself = itself * _PEAK * (after**2 + (1 - after) ** 2 + both)
        own_grid = ops.reshape(ops.arange(batch) * cells, (-1, 1, 1))
        corners = [(ops.reshape(index + own_grid, (-1,)), ops.reshape(weight, (-1, 1))) for index, weight in corners]

        def product(q):
            labels = q.shape[-1]
            flat = ops.reshape(q, (-1, labels))
            grid = sum(ops.segment_sum(weight * flat, index, batch * cells) for index, weight in corners)
            for blur, size, stride in zip(blurs, shape, strides, strict=True):
                grid = ops.matmul(blur, ops.reshape(grid, (-1, size, stride * labels)))
            grid = ops.reshape(grid, (-1, labels))
            read = sum(weight * ops.take(grid, index, axis=0) for index, weight in corners)
            return ops.reshape(read, ops.shape(q)) - itself[..., None] * q

        return product

    def _grid_shape(self, height, width, channels: int) -> list:
        """Cells along the rows, the columns and each channel; a pixel needs the two nearest to it."""
        reach = (self.value_range[1] - self.value_range[0]) / self.theta_beta
        sides = (
            int((size - 1) / self.theta_alpha) + 2
            if isinstance(size, int)
            else ops.cast(ops.cast(size - 1, "float32") / self.theta_alpha, "int32") + 2
            for size in (height, width)
        )
        return [*sides, *itertools.repeat(int(reach) + 2, channels)]

    def compute_output_spec(self, scores, image, training=None):
        return keras.KerasTensor(scores.shape, "float32")

    def get_config(self) -> dict[str, Any]:
        own = ("iterations", "theta_alpha", "theta_beta", "theta_gamma", "appearance", "smoothness", "normalization")
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in (*own, "method", "value_range", "post_processing")},
        }


def _gaussian(size, width: float):
    """float32 [size, size] of `exp(-d^2 / (2 width^2))`, d being the distance of two places."""
    place = ops.cast(ops.arange(size), "float32") / width
    return ops.exp(-0.5 * ops.square(place[:, None] - place))


def _at_most(count, pairs: int):
    """How many of `count` pixels make at most that many pairs with all of them; at least one."""
    if isinstance(count, int):
        return min(count, max(1, pairs // count))
    return ops.minimum(count, ops.maximum(1, pairs // count))
