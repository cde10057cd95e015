"""Receptive fields: which part of the image a position of a layer can see at all.

A. Araujo, W. Norris, J. Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019,
doi:10.23915/distill.00021. Position 0 of the input sees [0, 0], and its neighbours lie 1 pixel apart. A window of k
positions d apart, moved by s with p positions of padding before it, makes of a layer whose position 0 sees the pixels
[u, v] and whose positions lie j pixels apart (equations 2, 3 and 5):

    u <- u - p j        v <- v + ((k - 1) d - p) j        j <- s j

Where branches meet, what is seen is the union. The size is v - u + 1.

Deviations: the rules go along the operations of the traced graph, so they hold for any layer, whatever it is made of.
What is no window (a mean over the image, a full connection, a gate that such a mean computes, a resizing) sees all of
it, and so does what stands on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

# Its attribute with the window's size, or None where the size is that of the kernel, its second input.
_WINDOWS = {
    "Conv2D": None,
    "DepthwiseConv2dNative": None,
    "MaxPool": "ksize",
    "AvgPool": "ksize",
}


@dataclass(frozen=True)
class Axis:
    """What the positions of a layer see along one axis of the image, in pixels.

    Attributes:
        first, last: the pixels that position 0 sees; outside the image where there is padding.
        stride: how far apart the positions lie.
    """

    first: int
    last: int
    stride: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def window(self, kernel: int, dilation: int, stride: int, padding: int) -> Axis:
        """Behind a window over this layer's positions."""
        return Axis(
            self.first - padding * self.stride,
            self.last + ((kernel - 1) * dilation - padding) * self.stride,
            self.stride * stride,
        )

    def spread(self, times: int, inward: bool, border: int) -> Axis:
        """Every n-th position together, behind a border of padding; or apart again, and the border cut off."""
        if inward:
            return Axis(self.first - border * self.stride, self.last - border * self.stride, self.stride * times)
        stride = self.stride // times
        return Axis(self.first + border * stride, self.last + border * stride, stride)

    def union(self, other: Axis) -> Axis:
        return Axis(min(self.first, other.first), max(self.last, other.last), max(self.stride, other.stride))


Field = tuple[Axis, Axis] | None  # (rows, columns); None sees the whole image


def receptive_fields(image: tf.Tensor, outputs: Mapping[str, tf.Tensor]) -> dict[str, Field]:
    """What the positions of each output see.

    Args:
        image: the placeholder [B, h, w, c] of a graph.
        outputs: tensors of that graph, with known sizes.
    """
    fields: dict[Any, Field] = {image.ref(): (Axis(0, 0, 1), Axis(0, 0, 1))}
    for operation in image.graph.get_operations():  # each stands behind what it needs
        known = [tensor for tensor in operation.inputs if tensor.ref() in fields]
        if known:
            field = _behind(operation, known, fields)
            fields.update((output.ref(), field) for output in operation.outputs)
    return {name: fields.get(output.ref()) for name, output in outputs.items()}


def _behind(operation: tf.Operation, known: list[tf.Tensor], fields: Mapping[Any, Field]) -> Field:
    before = [fields[tensor.ref()] for tensor in known]
    output = operation.outputs[0] if operation.outputs else None
    if output is None or output.shape.rank != 4 or None in before:
        return None
    rows, columns = before[0]  # type: ignore[misc]
    for other in before[1:]:
        rows, columns = rows.union(other[0]), columns.union(other[1])  # type: ignore[index]
    source = known[0]
    if operation.type in _WINDOWS:
        return _window(operation, source, rows, 1), _window(operation, source, columns, 2)
    if operation.type in ("Pad", "PadV2", "MirrorPad"):
        borders = tf.get_static_value(operation.inputs[1])
        return rows.window(1, 1, 1, int(borders[1][0])), columns.window(1, 1, 1, int(borders[2][0]))
    if operation.type in ("SpaceToBatchND", "BatchToSpaceND"):  # how some convolutions with holes are computed
        block, borders = (tf.get_static_value(operation.inputs[place]) for place in (1, 2))
        if block is None or borders is None or len(block) != 2:
            return None
        inward = operation.type == "SpaceToBatchND"
        return tuple(  # type: ignore[return-value]
            axis.spread(int(times), inward, int(border[0]))
            for axis, times, border in zip((rows, columns), block, borders, strict=True)
        )
    if operation.type == "StridedSlice":
        begin, steps = (tf.get_static_value(operation.inputs[place]) for place in (1, 3))
        if begin is None or steps is None or len(begin) != 4:
            return None
        mask = operation.get_attr("begin_mask")  # a set bit: from the start, whatever `begin` says
        begin = [0 if mask >> place & 1 else start for place, start in enumerate(begin)]
        return rows.window(1, 1, int(steps[1]), -int(begin[1])), columns.window(1, 1, int(steps[2]), -int(begin[2]))
    # what keeps the positions where they are: activations, norms, sums, concatenations
    if any(tensor.shape.rank == 4 and tensor.shape[1:3] != output.shape[1:3] for tensor in known):
        return None
    return rows, columns


def _window(operation: tf.Operation, source: tf.Tensor, axis: Axis, number: int) -> Axis:
    """Behind a convolution or pooling, along axis 1 (rows) or 2 (columns) of [B, h, w, c]."""
    attribute = _WINDOWS[operation.type]
    kernel = operation.get_attr(attribute)[number] if attribute else int(operation.inputs[1].shape[number - 1])
    stride = operation.get_attr("strides")[number]
    dilation = operation.get_attr("dilations")[number] if attribute is None else 1
    padding, length = operation.get_attr("padding"), source.shape[number]
    if padding == b"SAME":
        missing = (-(-length // stride) - 1) * stride + (kernel - 1) * dilation + 1 - length
        before = max(missing, 0) // 2
    elif padding == b"EXPLICIT":
        before = operation.get_attr("explicit_paddings")[2 * number]
    else:
        before = 0
    return axis.window(kernel, dilation, stride, before)
