"""An exported network in 8 bits for ONNX Runtime, calibrated on images, with the accuracy that this costs.

Weighted sums (convolutions and dense layers) and what passes their values on unchanged compute with int8 weights, one
scale for each output channel, and uint8 activations, one scale for each tensor; all else stays float32 (Jacob et al.
2018, section 2). Its answers are not the model's, so `kapps.load` takes this network only when it is asked for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from kapps.engines import RUNTIMES, open_engine
from kapps.errors import DataError, KappsError, RecipeError, SavedModelError

ENGINE = "onnx-int8"

# With fewer, a range or a share says more of the few images than of the network.
FEWEST = 32

Images: TypeAlias = np.ndarray | Iterable[Any]
LabelledImages: TypeAlias = tuple[np.ndarray, np.ndarray] | Iterable[tuple[Any, Any]]

# Images that go through the network at once. While it is calibrated, it keeps every activation of a batch.
_CALIBRATED_AT_ONCE = 4
_MEASURED_AT_ONCE = 32

# Weighted sums, and what hands 8-bit values on as they are or nearly so. What weighs or bends them is left in float32,
# and so are means over all positions: what follows is most often the scores, which need more than 256 steps.
_OPERATIONS = [
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Relu", "Clip", "Add", "Concat", "MaxPool", "AveragePool"),
    *("Pad", "Slice", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"),
]


@dataclass(frozen=True, eq=False)
class Quantization:
    """What an 8-bit network is calibrated on, and what its accuracy is measured on: other images, real ones.

    Attributes:
        calibration: at least 32 preprocessed images float32 [N, h, w, c] like those that the network will see; hundreds
            are better. Or an iterable over batches of them, also as pairs with labels, such as `Dataset.batches` gives;
            it is read once and not kept.
        evaluation: preprocessed images float32 [N, h, w, c] and the indices of their classes, integers [N]; or an
            iterable over batches of such pairs, read likewise.
        data: what `evaluation` is, for the card.
        command: what reproduces the figures, for the card.
        largest_loss: of accuracy, as a part of the images; an export that loses more is refused.

    Raises:
        RecipeError: a largest loss that is no part.
    """

    calibration: Images
    evaluation: LabelledImages
    data: str = "not stated"
    command: str = "not stated"
    largest_loss: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.largest_loss <= 1:
            raise RecipeError(f"largest_loss should be a part of the images from 0 to 1, got {self.largest_loss!r}")


def check_quantization(quantization: Quantization, shape: tuple[int, int, int], classes: int) -> None:
    """Refuse arrays that do not fit before any work is done; what comes from an iterable is looked at when it is read.

    Raises:
        RecipeError: a wrong type or shape, or classes that the model has not.
        DataError: too few images, NaN or infinity.
    """
    if not isinstance(quantization, Quantization):
        raise RecipeError(f"quantize should be a Quantization or None, got {type(quantization).__name__}")
    if isinstance(quantization.calibration, np.ndarray):
        for _ in _calibration_batches(quantization.calibration, shape):
            pass
    if _is_pair(quantization.evaluation):
        for _ in _evaluation_batches(quantization.evaluation, shape, classes):
            pass


def write_int8(
    folder: Path, quantization: Quantization, *, shape: tuple[int, int, int], classes: int
) -> dict[str, Any]:
    """Write `model.int8.onnx` beside the `model.onnx` of a version, and measure both.

    Args:
        folder: of the version.
        quantization: on what.
        shape: [h, w, c] of one preprocessed image. classes: how many scores the network gives.

    Returns:
        What the card says of this engine: "file", "bytes_float32" and "bytes_int8" (of the two files),
        "accuracy_float32", "accuracy_int8", "loss" (their difference) and "agreement" (the share of the same best
        class), all as parts of the "images" of "data", "calibration_images", "command".

    Raises:
        RecipeError, DataError: as `check_quantization`.
        SavedModelError: the network cannot be computed in 8 bits, or loses more accuracy than it may.
    """
    exact, rough = RUNTIMES["onnx"].files[0], RUNTIMES[ENGINE].files[0]
    calibrated = quantize(folder / exact, folder / rough, quantization.calibration, shape=shape)

    networks = [open_engine(name, folder).network for name in ("onnx", ENGINE)]
    right, same, count = np.zeros(2, int), 0, 0
    for images, targets in _evaluation_batches(quantization.evaluation, shape, classes):
        answers = np.stack([network(images).argmax(axis=1) for network in networks])
        right += (answers == targets).sum(axis=1)
        same += int((answers[0] == answers[1]).sum())
        count += len(images)
    before, after = (float(number) / count for number in right)
    loss = float(right[0] - right[1]) / count
    if loss > quantization.largest_loss:
        raise SavedModelError(
            f"in 8 bits the network gets {after:.2%} of {count:,} images right, in float32 {before:.2%}: it loses "
            f"{loss:.2%} and may lose {quantization.largest_loss:.2%}; calibrate on more images like those it will "
            "see, or allow a larger loss"
        )
    return {
        "file": rough,
        "bytes_float32": (folder / exact).stat().st_size,
        "bytes_int8": (folder / rough).stat().st_size,
        "accuracy_float32": before,
        "accuracy_int8": after,
        "loss": loss,
        "agreement": same / count,
        "images": count,
        "data": quantization.data,
        "calibration_images": calibrated,
        "command": quantization.command,
    }


def quantize(source: Path, target: Path, calibration: Images, *, shape: tuple[int, int, int]) -> int:
    """Write an ONNX network in 8 bits.

    Args:
        source: the network, from images float32 [B, h, w, c] to scores.
        target: the file to write.
        calibration: as in `Quantization`.
        shape: [h, w, c].

    Returns:
        The number of images that it was calibrated on.

    Raises:
        RecipeError, DataError: as `check_quantization`.
        SavedModelError: ONNX Runtime cannot quantise it.
    """
    from onnxruntime import quantization as ort
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(ort.CalibrationDataReader):
        """Hands out one batch after the other."""

        def __init__(self) -> None:
            self.batches = _calibration_batches(calibration, shape)
            self.count = 0

        def get_next(self) -> dict[str, np.ndarray] | None:
            images = next(self.batches, None)
            if images is None:
                return None
            self.count += len(images)
            return {name: images}

    try:
        with tempfile.TemporaryDirectory(prefix="kapps-int8-") as folder:
            # Folds what is constant and joins what belongs together, so that fewer tensors have to be rounded. (The
            # symbolic inference of shapes would need a package more, and a network of images has none to infer.)
            prepared = Path(folder, "prepared.onnx")
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            name = _input_name(prepared)
            reader = Reader()
            ort.quantize_static(
                prepared,
                target,
                reader,
                op_types_to_quantize=_OPERATIONS,
                # uint8 times int8, the pair that x86 multiplies in one instruction (VNNI).
                activation_type=ort.QuantType.QUInt8,
                weight_type=ort.QuantType.QInt8,
                per_channel=True,
                # The smallest and the largest value of each tensor, found inside the graph: only two numbers of an
                # activation are kept, and how the images are batched does not matter. ONNX Runtime's histograms
                # (percentile, entropy) hold whole activations, take several times as long and keep no more of the
                # float32 answers: 99 % of ResNet-20's on CIFAR-10, 93 to 94 % of SqueezeNet's on photographs.
                calibrate_method=ort.CalibrationMethod.MinMax,
                # A dense layer's sums are few; they cost nothing in float32, and the last ones are the scores.
                extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
            )
    except (OSError, KappsError):
        raise
    except Exception as error:  # the many kinds that ONNX, its checker and ONNX Runtime raise
        reason = " ".join(str(error).split())[:200]
        raise SavedModelError(
            f"the network cannot be computed in 8 bits ({type(error).__name__}: {reason}): export it without quantize"
        ) from error
    return reader.count


def _calibration_batches(calibration: Images, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    count = 0
    for batch in [calibration] if isinstance(calibration, np.ndarray) else calibration:
        images = _checked(batch[0] if isinstance(batch, tuple) else batch, shape, "calibration")
        for start in range(0, len(images), _CALIBRATED_AT_ONCE):
            yield images[start : start + _CALIBRATED_AT_ONCE]
        count += len(images)
    _check_count(count, "calibrate")


def _evaluation_batches(
    evaluation: LabelledImages, shape: tuple[int, int, int], classes: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    count = 0
    for pair in [evaluation] if _is_pair(evaluation) else evaluation:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise RecipeError(
                "evaluation should be (images, class indices) or an iterable over such pairs, "
                f"got {type(pair).__name__}"
            )
        images, targets = _checked(pair[0], shape, "evaluation"), np.asarray(pair[1])
        if targets.dtype.kind not in "iu" or targets.shape != images.shape[:1]:
            raise RecipeError(
                f"evaluation should have one class index, an integer, for each of {len(images)} images, "
                f"got {targets.dtype} {list(targets.shape)}"
            )
        if len(targets) and not 0 <= targets.min() <= targets.max() < classes:
            raise RecipeError(
                f"evaluation should have class indices from 0 to {classes - 1}, the model's, "
                f"got {targets.min()} to {targets.max()}"
            )
        for start in range(0, len(images), _MEASURED_AT_ONCE):
            part = slice(start, start + _MEASURED_AT_ONCE)
            yield images[part], targets[part]
        count += len(images)
    _check_count(count, "measure")


def _is_pair(evaluation: LabelledImages) -> bool:
    """Whether these are two arrays, not batches."""
    return isinstance(evaluation, tuple) and all(isinstance(part, np.ndarray) for part in evaluation)


def _checked(batch: Any, shape: tuple[int, int, int], what: str) -> np.ndarray:
    images = np.asarray(batch)
    if images.dtype != np.float32 or images.shape[1:] != shape:
        raise RecipeError(
            f"{what} should hold preprocessed images float32 [N, {', '.join(map(str, shape))}], got {images.dtype} "
            f"{list(images.shape)}: take what Dataset.batches(n, preprocessing=...) gives"
        )
    if not np.isfinite(images).all():
        raise DataError(f"{what} holds NaN or infinity: leave the damaged images out")
    return images


def _check_count(count: int, purpose: str) -> None:
    if count < FEWEST:
        raise DataError(f"expected at least {FEWEST} images to {purpose} 8 bits on, got {count}: give more")


def _input_name(network: Path) -> str:
    import onnx

    return onnx.load(network, load_external_data=False).graph.input[0].name
