"""Losses that Keras lacks, one a file, and their look-up by name."""

from __future__ import annotations

import keras

from kapps.errors import UnknownNameError
from kapps.losses.half_squared_error import HalfSquaredError
from kapps.losses.smoothed_crossentropy import SmoothedCrossentropy
from kapps.losses.triplet_semi_hard import TripletSemiHard

LOSSES = {"half_squared_error": HalfSquaredError, "triplet_semi_hard": TripletSemiHard}


def get_loss(name: str, label_smoothing: float = 0.0) -> keras.losses.Loss:
    """A loss by its name: one of kapps' own or Keras' own (`"sparse_categorical_crossentropy"`, ...).

    Args:
        label_smoothing: of `sparse_categorical_crossentropy` only.

    Raises:
        UnknownNameError: with the nearest right names.
    """
    if name == "sparse_categorical_crossentropy" and label_smoothing:
        return SmoothedCrossentropy(label_smoothing)
    if name in LOSSES:
        return LOSSES[name]()
    try:
        return keras.losses.get(name)
    except ValueError:
        known = [*LOSSES, "sparse_categorical_crossentropy", "categorical_crossentropy", "mean_squared_error"]
        raise UnknownNameError("loss", name, known) from None
