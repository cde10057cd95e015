"""Bilinear sampling of an image at given places: the sampler of the spatial transformer."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class BilinearSampler(keras.layers.Layer):
    """`V[i] = sum_n sum_m U[n, m] max(0, 1 - |x_i - m|) max(0, 1 - |y_i - n|)`, over rows n and columns m of the image.

    Jaderberg, Simonyan, Zisserman, Kavukcuoglu: "Spatial Transformer Networks", NIPS 2015, eq. 5. Differentiable in the
    image and in the places (eq. 6 and 7); at a pixel's very centre, where the value has a kink, the slope is the one
    towards larger coordinates. Computed in float32 under every policy: float16 cannot tell the pixels of a large image
    apart.

    Two conventions for normalised coordinates are in use, and mixing them up shifts the image by up to half a pixel:

    - `align_corners=True`: -1 and +1 are the centres of the first and the last pixel, so `x = (u + 1) (W - 1) / 2`;
    - `align_corners=False`: they are the outer edges of these pixels, so `x = ((u + 1) W - 1) / 2`.

    Both are those of `torch.nn.functional.grid_sample`. The grid must have been made with the same one.

    Args:
        align_corners: what -1 and +1 mean, see above.
        padding: what lies outside the image: `"zeros"` (eq. 5) or `"border"`, its nearest pixel.

    Call arguments:
        image: `[B, H, W, C]`.
        grid: `[B, h, w, 2]`, for each output pixel the place (x, y) in normalised coordinates.

    Returns:
        `[B, h, w, C]`. A place that is NaN gives NaN.

    Raises:
        ValueError: an argument that cannot be used, or inputs of other shapes.
    """

    def __init__(self, align_corners: bool = True, padding: Literal["zeros", "border"] = "zeros", **kwargs: Any):
        if padding not in ("zeros", "border"):
            raise ValueError(f"BilinearSampler: padding must be 'zeros' (eq. 5) or 'border', got {padding!r}")
        super().__init__(autocast=False, **kwargs)  # float16 would move the places
        self.align_corners = align_corners
        self.padding = padding

    def build(self, image_shape: tuple[int | None, ...], grid_shape: tuple[int | None, ...]) -> None:
        if len(image_shape) != 4 or len(grid_shape) != 4 or grid_shape[-1] != 2:
            raise ValueError(
                "BilinearSampler: expected an image [B, H, W, C] and a grid [B, h, w, 2], "
                f"got {tuple(image_shape)} and {tuple(grid_shape)}"
            )

    def call(self, image, grid):
        _, height, width, channels = ops.shape(image)
        batch = ops.shape(grid)[0]
        pixels = ops.reshape(ops.cast(image, "float32"), (-1, channels))  # [B H W, C]
        x = self._pixels(grid[..., 0], width)  # [B, h, w]
        y = self._pixels(grid[..., 1], height)
        left, top = ops.floor(x), ops.floor(y)
        first = ops.reshape(ops.arange(batch) * (height * width), (-1, 1, 1))  # each image's first pixel

        # Of the sums over n and m only the four pixels around (x, y) are not zero.
        total = 0.0
        for m, x_weight in ((left, left + 1 - x), (left + 1, x - left)):
            for n, y_weight in ((top, top + 1 - y), (top + 1, y - top)):
                inside = (m >= 0) & (m <= _last(width)) & (n >= 0) & (n <= _last(height))
                row, column = _index(n, height), _index(m, width)
                weight = x_weight * y_weight * ops.cast(inside, "float32")
                total += weight[..., None] * ops.take(pixels, first + row * width + column, axis=0)
        return ops.cast(total, self.compute_dtype)  # [B, h, w, C]

    def _pixels(self, normalised, size):
        """Coordinates from -1..1 to pixels, 0 being the centre of the first."""
        u, last = ops.cast(normalised, "float32"), _last(size)
        pixel = (u + 1) * last / 2 if self.align_corners else ((u + 1) * (last + 1) - 1) / 2
        return pixel if self.padding == "zeros" else ops.minimum(ops.maximum(pixel, 0.0), last)

    def compute_output_shape(
        self, image_shape: tuple[int | None, ...], grid_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return (*grid_shape[:3], image_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "align_corners": self.align_corners, "padding": self.padding}


def _last(size):
    """The coordinate of the last pixel."""
    return ops.cast(size, "float32") - 1


def _index(coordinate, size):
    """A whole coordinate as an index that exists; where it does not, its weight is 0."""
    return ops.minimum(ops.maximum(ops.cast(coordinate, "int32"), 0), size - 1)
