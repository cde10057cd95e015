"""The sampling grid of an affine transformation: where each output pixel looks in the input."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class AffineGrid(keras.layers.Layer):
    """`(x_s, y_s) = A (x_t, y_t, 1)` for every pixel (x_t, y_t) of the output, in normalised coordinates.

    Jaderberg et al. 2015, eq. 1. The identity is `A = [[1, 0, 0], [0, 1, 0]]`; `[[s, 0, t_x], [0, s, t_y]]` with s < 1
    is a look at a part of the image (attention, eq. 2).

    Args:
        height: rows of the output.
        width: columns of the output.
        align_corners: whether -1 and +1 are the centres (True) or the outer edges (False) of the outermost pixels; the
            same as for the `BilinearSampler` that uses the grid.

    Call arguments:
        theta: `[B, 6]`, A row by row, or `[B, 2, 3]`.

    Returns:
        float32 `[B, height, width, 2]` of places (x_s, y_s).

    Raises:
        ValueError: a size under 1, or another number of parameters.
    """

    def __init__(self, height: int, width: int, align_corners: bool = True, **kwargs: Any):
        if height < 1 or width < 1:
            raise ValueError(f"AffineGrid: height and width must be at least 1, got {height} and {width}")
        super().__init__(autocast=False, **kwargs)  # float16 would move the places
        self.height = height
        self.width = width
        self.align_corners = align_corners

    def build(self, theta_shape: tuple[int | None, ...]) -> None:
        if tuple(theta_shape[1:]) not in ((6,), (2, 3)):
            raise ValueError(f"AffineGrid: expected 6 parameters, [B, 6] or [B, 2, 3], got {tuple(theta_shape)}")
        y, x = np.meshgrid(self._axis(self.height), self._axis(self.width), indexing="ij")
        self._target = np.stack([x, y, np.ones_like(x)]).reshape(3, -1).astype("float32")  # [3, h w]

    def _axis(self, size: int) -> np.ndarray:
        if self.align_corners:
            return np.linspace(-1, 1, size) if size > 1 else np.zeros(1)
        return (2 * np.arange(size) + 1) / size - 1

    def call(self, theta):
        matrix = ops.reshape(ops.cast(theta, "float32"), (-1, 2, 3))
        source = ops.matmul(matrix, self._target)  # [B, 2, h w]
        return ops.reshape(ops.transpose(source, (0, 2, 1)), (-1, self.height, self.width, 2))

    def compute_output_spec(self, theta):
        return keras.KerasTensor((theta.shape[0], self.height, self.width, 2), "float32")

    def get_config(self) -> dict[str, Any]:
        sizes = {"height": self.height, "width": self.width, "align_corners": self.align_corners}
        return {**super().get_config(), **sizes}
