"""The images of `kapps export --quantize`: those of a run's recipe, or a folder of them."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kapps.errors import DataError

if TYPE_CHECKING:
    from kapps.data.dataset import Dataset
    from kapps.data.preprocessing import Preprocessing
    from kapps.exporting.quantize import Quantization

# The ranges of a network's activations hardly move with more.
_MOST = 512

# Examples read at once; it does not change the result.
_BATCH = 32


def quantization(
    source: Path,
    *,
    labels: Sequence[str],
    preprocessing: Preprocessing,
    data_dir: Path | None,
    command: str,
    largest_loss: float | None,
) -> Quantization:
    """What to calibrate and to measure an 8-bit network on.

    Args:
        source: the folder of a run: its recipe's training split calibrates, its test split measures. Or a folder of
            images in folders named by label or by its number: some of them calibrate, at most every other one, and all
            others measure.
        labels: of the model. preprocessing: its.
        data_dir: where TensorFlow Datasets keeps the sets of a run.
        command: that gave these words, for the card.
        largest_loss: None for the usual one.

    Raises:
        DataError: what cannot be read, or a folder that is named by no label.
    """
    from kapps.exporting.quantize import Quantization

    if (source / "recipe.json").is_file():
        calibration, evaluation, data = _of_run(source, data_dir)
    else:
        calibration, evaluation, data = _of_folder(source, labels)
    return Quantization(
        calibration=calibration.batches(_BATCH, preprocessing=preprocessing),
        evaluation=evaluation.batches(_BATCH, preprocessing=preprocessing),
        data=data,
        command=command,
        **({} if largest_loss is None else {"largest_loss": largest_loss}),
    )


def shown(context: typer.Context) -> str:
    """The command line as it may stand on a card: of a path only its name, of a long text the beginning."""
    words = context.command_path.split()
    for parameter in context.command.params:
        name, value = str(parameter.name), context.params.get(str(parameter.name))
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE" or name == "as_json":
            continue
        for each in value if isinstance(value, list) else [value]:
            words += [parameter.opts[0]] if parameter.param_type_name == "option" else []
            words += [] if each is True else [_short(each)]
    return shlex.join(words)


def _short(value: Any) -> str:
    text = str(value)
    if isinstance(value, Path) or os.path.exists(text):
        text = Path(text).resolve().name
    return text if len(text) <= 60 else f"{text[:57]}..."


def _of_run(run: Path, data_dir: Path | None) -> tuple[Dataset, Dataset, str]:
    from kapps.data import load
    from kapps.training.recipe import Recipe, load_recipe

    recipe = load_recipe(run / "recipe.json")
    assert isinstance(recipe, Recipe)  # a run folder holds no study
    name, train, test = recipe.data.name, recipe.data.train, recipe.data.test
    images = load(name, train, data_dir=data_dir)
    if images.num_examples is not None:  # from all over the set: some are sorted by class
        images = _every(images, max(1, images.num_examples // _MOST))
    return images.take(_MOST), load(name, test, data_dir=data_dir), f"{name}, {test}"


def _of_folder(folder: Path, labels: Sequence[str]) -> tuple[Dataset, Dataset, str]:
    import tensorflow as tf

    from kapps.data import load

    # Nothing is trained on them, so it does not matter how many would be kept for testing.
    reader = logging.getLogger("kapps.data.folders")
    reader.addFilter(_is_no_split_note)
    try:
        images = load(folder, "train+test")
    finally:
        reader.removeFilter(_is_no_split_note)
    numbers = {str(number): number for number in range(len(labels))}
    numbers |= {label: number for number, label in enumerate(labels)}
    for name in images.class_names:
        if name not in numbers:
            raise DataError(
                f"expected folders named by the model's labels, or by their numbers from 0 to {len(labels) - 1}, "
                f"in {folder}, got {name!r}: rename it or move it away"
            )
    targets = tf.constant([numbers[name] for name in images.class_names], tf.int64)
    images = images.map(lambda image, label: (image, targets[label]))
    assert images.num_examples is not None  # a folder's are counted
    step = max(2, math.ceil(images.num_examples / _MOST))
    calibration = _every(images, step)
    assert calibration.num_examples is not None
    others = images.records.enumerate().filter(lambda place, _: place % step != 0).map(lambda _, record: record)
    left = images.num_examples - calibration.num_examples
    return (
        calibration,
        dataclasses.replace(images, records=others, num_examples=left),
        f"the folder {folder.resolve().name}",
    )


def _is_no_split_note(record: logging.LogRecord) -> bool:
    return "none is left for testing" not in record.getMessage()


def _every(dataset: Dataset, step: int) -> Dataset:
    """Each `step`-th example, from the first on."""
    assert dataset.num_examples is not None
    left = math.ceil(dataset.num_examples / step)
    return dataclasses.replace(dataset, records=dataset.records.shard(step, 0), num_examples=left)
