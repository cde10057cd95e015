"""Up-sampling as a transposed convolution that begins as bilinear interpolation."""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
from keras import ops


def bilinear_kernel(factor: int) -> np.ndarray:
    """The tent float32 `[k, k]`, k = 2 factor - factor % 2, whose transposed convolution interpolates bilinearly.

    `w[i, j] = (1 - |i - c| / factor) (1 - |j - c| / factor)` around the middle c.
    """
    size = 2 * factor - factor % 2
    tent = 1 - np.abs(np.arange(size) - (size - 1) / 2) / factor
    return np.outer(tent, tent).astype("float32")


@keras.saving.register_keras_serializable("kapps")
class BilinearUpsampling(keras.layers.Layer):
    """Maps `factor` times as large: a transposed convolution whose kernel starts as, or stays, the bilinear tent.

    Long, Shelhamer, Darrell: "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, section 3.3: the
    inner up-sampling layers of FCN start there and are learned, the last one is fixed.

    Learned, it has a kernel `[k, k, C, C]` that starts with the tent from each channel to itself and zeros between
    channels. Fixed, it has no weights. Both have no bias.

    Beyond the border the map counts as zero, so values fade within half an input pixel of it; inside, the result is
    exactly that of `tf.image.resize(..., "bilinear")`.

    Args:
        factor: at least 2.
        learned: whether the kernel is a weight.
        padding: `"valid"` keeps all that the kernel reaches, `factor (H - 1) + k` rows, as Caffe does; `"same"` cuts
            the middle `factor H` out, whose pixels lie in the input's.

    Call arguments:
        inputs: `[B, H, W, C]`.

    Returns:
        `[B, factor H, factor W, C]`, or larger by `k - factor` with `"valid"`.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(self, factor: int, learned: bool = True, padding: Literal["valid", "same"] = "same", **kwargs: Any):
        if not isinstance(factor, int) or isinstance(factor, bool) or factor < 2:
            raise ValueError(f"BilinearUpsampling: factor must be an integer of at least 2, got {factor!r}")
        if padding not in ("valid", "same"):
            raise ValueError(f"BilinearUpsampling: padding must be 'valid' or 'same', got {padding!r}")
        super().__init__(**kwargs)
        self.factor = factor
        self.learned = learned
        self.padding = padding

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if not self.learned:
            return
        tent, channels = bilinear_kernel(self.factor), input_shape[-1]

        def start(shape, dtype=None):
            return ops.convert_to_tensor(tent[:, :, None, None] * np.eye(channels, dtype="float32"), dtype)

        self.kernel = self.add_weight((*tent.shape, channels, channels), start, name="kernel")

    def call(self, inputs):
        if self.learned:
            outputs = ops.conv_transpose(inputs, self.kernel, self.factor, "valid")
        else:
            # each channel for itself: as images of one channel
            _, height, width, channels = ops.shape(inputs)
            single = ops.reshape(ops.transpose(inputs, (0, 3, 1, 2)), (-1, height, width, 1))
            kernel = ops.convert_to_tensor(bilinear_kernel(self.factor)[:, :, None, None], self.compute_dtype)
            large = ops.conv_transpose(single, kernel, self.factor, "valid")
            rows, columns = ops.shape(large)[1:3]
            outputs = ops.transpose(ops.reshape(large, (-1, channels, rows, columns)), (0, 2, 3, 1))
        if self.padding == "same":
            edge = self.factor // 2  # (k - factor) / 2
            outputs = outputs[:, edge:-edge, edge:-edge]
        return outputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        beyond = 0 if self.padding == "same" else self.factor - self.factor % 2
        batch, *sides, channels = input_shape
        return (batch, *(None if side is None else self.factor * side + beyond for side in sides), channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor, "learned": self.learned, "padding": self.padding}
