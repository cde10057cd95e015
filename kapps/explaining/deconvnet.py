"""Deconvnet: what in the image a unit answers to, by running the network backwards.

M. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", 2013, arXiv:1311.2901, section 2.1: the
signal goes back through the transposed filters, through each max pooling to the place where its maximum was (the
switches), and is itself rectified behind each layer, whatever the unit said on the way forward:

    R_below = max(0, R)

Transposed filters and switches are what backpropagation does, so only the ReLUs' rule differs (K. Simonyan, A. Vedaldi,
A. Zisserman, arXiv:1312.6034, section 4).

Deviations: the paper starts at a feature's strongest unit; here, as in the other methods, at the score of a class. The
signal is in the details, and the map is its largest absolute value over the channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kapps.explaining.relu_rules import attribution_by_rule

if TYPE_CHECKING:
    import numpy as np

    from kapps.explaining.attribution import Attribution, Model


def deconvnet(model: Model, image: np.ndarray, *, target: int | None = None, of: str | None = None) -> Attribution:
    """Arguments, result and errors as of `kapps.explaining.guided_backpropagation.guided_backpropagation`."""
    return attribution_by_rule(model, image, target, of, "deconvnet", "deconvnet")
