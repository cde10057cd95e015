"""Semantic hashing: a picture becomes a short row of bits, and similar pictures lie few bits apart.

    network = DeepAutoencoder((28, 28, 1), DeepAutoencoderConfig(code=32, code_units="sigmoid", code_noise=4.0))
    network.fit(images, epochs=20)
    hasher = Hasher(network)               # or hasher_at_median(learner, images), for codes of any kind
    codes = hasher.codes(images)           # uint8 [N, 4]: 32 bits each
    HammingSearch(codes).search(hasher.codes(queries), k=100)

Where noise is added to what the code units take in, they can pass something on only by taking in much more than the
noise, of either sign: what they then give out without the noise is near 0 or 1, and rounding loses little. Codes that
were not learned so are cut at the median of each number: half of the pictures are on either side, so that every bit
tells as much as one bit can.

Paper: Salakhutdinov, Hinton: "Semantic hashing", International Journal of Approximate Reasoning 50, 2009.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kapps.errors import DataError


class Coder(Protocol):
    """What turns data into codes: any feature learner of kapps, any transformer of scikit-learn."""

    def transform(self, x: Any) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Hasher:
    """Data to packed bits.

    Attributes:
        coder: gives codes, numbers [N, bits].
        thresholds: a bit is 1 where its number is above: one for all, or float32 [bits]. One half suits sigmoid units.
    """

    coder: Coder
    thresholds: float | np.ndarray = 0.5

    def codes(self, x: Any) -> np.ndarray:
        """Data [N, ...] -> uint8 [N, ceil(bits / 8)].

        Raises:
            DataError: codes that are not one row of numbers an example, or of another length than the thresholds.
        """
        numbers = _rows(self.coder, x)
        if np.size(self.thresholds) not in (1, numbers.shape[1]):
            raise DataError(
                f"expected codes of {np.size(self.thresholds)} numbers, one a threshold, got {numbers.shape[1]}: make "
                "the hasher anew with hasher_at_median"
            )
        return pack(numbers > self.thresholds)


def hasher_at_median(coder: Coder, x: Any) -> Hasher:
    """A hasher whose bits are 1 for half of `x` [N, ...], each.

    Raises:
        DataError: codes that are not one row of numbers an example.
    """
    return Hasher(coder, np.median(_rows(coder, x), axis=0).astype(np.float32))


def pack(bits: np.ndarray) -> np.ndarray:
    """Bits, 0 and 1 or bool, [N, bits] -> uint8 [N, ceil(bits / 8)]; the first bit is the highest, zeros fill up.

    Raises:
        DataError: another shape.
    """
    bits = np.asarray(bits)
    if bits.ndim != 2 or not bits.shape[1]:
        raise DataError(f"expected bits [N, bits], got {list(bits.shape)}: give one row of them for each item")
    return np.packbits(bits.astype(bool), axis=1)


def unpack(codes: np.ndarray, bits: int) -> np.ndarray:
    """What `pack` was given: uint8 [N, ceil(bits / 8)] -> bool [N, bits].

    Raises:
        DataError: codes of another length.
    """
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.dtype != np.uint8 or codes.shape[1] != -(-bits // 8):
        raise DataError(
            f"expected uint8 codes [N, {-(-bits // 8)}] for {bits} bits, got {codes.dtype} {list(codes.shape)}: give "
            "what pack returned and as many bits as it took"
        )
    return np.unpackbits(codes, axis=1, count=bits).astype(bool)


def _rows(coder: Coder, x: Any) -> np.ndarray:
    numbers = np.asarray(coder.transform(x))
    if numbers.ndim != 2:
        raise DataError(
            f"expected codes [N, bits], got {list(numbers.shape)}: take a learner with one row of numbers an example"
        )
    return numbers
