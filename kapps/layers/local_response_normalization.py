"""Local response normalisation: lateral inhibition between neighbouring channels, as in AlexNet and GoogLeNet."""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("kapps")
class LocalResponseNormalization(keras.layers.Layer):
    """`b_i = a_i / (k + alpha * sum_j a_j^2)^beta`, j over the `size` channels around i, cut off at the borders.

    Krizhevsky, Sutskever, Hinton: "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012,
    section 3.3, whose constants are the defaults.

    Two conventions for alpha are in use; mixing them up is silent. `reduction="sum"` is the paper's and TensorFlow's
    (`tf.nn.local_response_normalization` with `depth_radius = size // 2`, `bias = k`); `reduction="mean"` is Caffe's
    and PyTorch's, which divide alpha by `size` (also at the borders, where there are fewer channels): the paper's
    alpha = 1e-4 is there alpha = 5e-4 for size = 5.

    The window sum is a product with a 0-1 band matrix `[channels, channels]`: one fast operation on every device, also
    compiled by XLA. Computed in float32 also under a half-precision policy, as float16 squares overflow from 256 on.

    Args:
        size: n, channels in the window, the channel itself in the middle; odd.
        k: the constant in the denominator; above 0.
        alpha: weight of the window's squares; at least 0.
        beta: exponent of the denominator.
        reduction: "sum" or "mean" of the window's squares, see above.

    Call arguments:
        inputs: `[..., channels]`, channels last.

    Returns:
        The shape of the inputs.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        size: int = 5,
        k: float = 2.0,
        alpha: float = 1e-4,
        beta: float = 0.75,
        reduction: Literal["sum", "mean"] = "sum",
        **kwargs: Any,
    ):
        name = "LocalResponseNormalization"
        if not isinstance(size, int) or isinstance(size, bool) or size < 1 or size % 2 == 0:
            raise ValueError(f"{name}: size must be an odd integer of at least 1, got {size!r}: 5 is the paper's")
        if not k > 0:
            raise ValueError(f"{name}: k must be above 0 so that nothing is divided by 0, got {k!r}: 2 is the paper's")
        if not alpha >= 0:
            raise ValueError(f"{name}: alpha must be at least 0, got {alpha!r}: 1e-4 is the paper's")
        if reduction not in ("sum", "mean"):
            raise ValueError(
                f"{name}: reduction must be 'sum' (paper, TensorFlow) or 'mean' (Caffe, PyTorch), got {reduction!r}"
            )
        super().__init__(**kwargs)
        self.size = size
        self.k = k
        self.alpha = alpha
        self.beta = beta
        self.reduction = reduction
        self.supports_masking = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(
                f"LocalResponseNormalization: the number of channels must be known, got inputs of shape "
                f"{tuple(input_shape)}: give the input's last dimension"
            )
        distance = np.abs(np.subtract.outer(np.arange(channels), np.arange(channels)))
        self._window = (distance <= self.size // 2).astype("float32")

    def call(self, inputs):
        x = ops.cast(inputs, "float32")
        alpha = self.alpha if self.reduction == "sum" else self.alpha / self.size
        energy = self.k + alpha * ops.matmul(ops.square(x), self._window)
        return ops.cast(x * ops.power(energy, -self.beta), self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "size": self.size,
            "k": self.k,
            "alpha": self.alpha,
            "beta": self.beta,
            "reduction": self.reduction,
        }
