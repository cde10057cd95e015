"""Runs: the folder, the resume after a kill, and the ways to end badly."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import kapps
from kapps.data.preprocessing import Preprocessing
from kapps.errors import DataError, OutputError, RecipeError, TrainingError, UnknownNameError, WeightsError
from kapps.training import callbacks as watch
from kapps.training import fit
from kapps.training.recipe import (
    AugmentSpec,
    DataSpec,
    EarlyStopping,
    ModelSpec,
    OptimizerSpec,
    Recipe,
    ScheduleSpec,
    change,
    to_dict,
)

# Everything random is in it: order, dropout, distortions, and a mean of the weights.
RECIPE = Recipe(
    title="test",
    model=ModelSpec("mlp", config={"hidden": (32,), "activation": "relu", "dropout": "dropout", "dropout_rate": 0.2}),
    data=DataSpec(
        "digits",
        Preprocessing(size=(8, 8), channels=1),
        train="train[:800]",
        validation="train[800:1000]",
        batch_size=50,
        augment=AugmentSpec(shift=0.05),
    ),
    optimizer=OptimizerSpec("sgd", learning_rate=0.3, momentum=0.9, ema=0.9),
    schedule=ScheduleSpec("one_cycle", warmup=0.3),
    epochs=4,
)


def weights_of(folder: Path) -> list[np.ndarray]:
    from kapps.create import load_keras

    return load_keras(folder / "model.keras").get_weights()


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> kapps.training.fit.Run:  # type: ignore[name-defined]
    return kapps.train(RECIPE, out=tmp_path_factory.mktemp("whole"), progress=False)


def test_a_run_learns_and_leaves_one_folder(whole_run):
    assert whole_run.metrics["test"]["accuracy"] > 0.8
    names = {path.name for path in whole_run.folder.iterdir()}
    assert names == {"recipe.json", "log.csv", "tensorboard", "model.keras", "curves.png", "metrics.json"}
    assert json.loads((whole_run.folder / "recipe.json").read_text()) == json.loads(json.dumps(to_dict(RECIPE)))
    rows = watch.read_log(whole_run.folder / "log.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["val_accuracy"] > rows[0]["val_accuracy"]
    assert (whole_run.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert any((whole_run.folder / "tensorboard").rglob("events*"))


@pytest.mark.parametrize(("xla", "jit_compile"), [(True, "auto"), (False, False)])
def test_the_step_is_compiled_by_xla_unless_the_recipe_says_no(tmp_path, monkeypatch, xla, jit_compile):
    seen = []

    def compile_only(self, *args, **options):
        seen.append(options["jit_compile"])
        raise RecipeError("seen enough")

    monkeypatch.setattr(keras.Model, "compile", compile_only)
    with pytest.raises(RecipeError, match="seen enough"):
        kapps.train(change(RECIPE, {"xla": xla}), out=tmp_path / "run", progress=False)
    assert seen == [jit_compile]


def test_the_model_in_the_folder_is_the_one_that_was_measured(whole_run):
    result = kapps.evaluate(whole_run.folder, "digits")
    assert result["accuracy"] == whole_run.metrics["test"]["accuracy"]
    bare = kapps.evaluate(whole_run.model, "digits", preprocessing=RECIPE.data.preprocessing)
    assert bare["confusion"] == result["confusion"]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(whole_run, tmp_path):
    again = kapps.train(RECIPE, out=tmp_path / "again", progress=False)
    for one, two in zip(weights_of(whole_run.folder), weights_of(again.folder), strict=True):
        np.testing.assert_array_equal(one, two)
    other = kapps.train(RECIPE, out=tmp_path / "other", seed=1, changes={"epochs": 1}, progress=False)
    assert np.abs(weights_of(other.folder)[0] - weights_of(whole_run.folder)[0]).max() > 0.01


@pytest.mark.parametrize("moment", ["in the middle of an epoch", "while a backup is written"])
def test_an_interrupted_run_goes_on_to_the_same_result(whole_run, tmp_path, monkeypatch, moment):
    class Interrupted(BaseException):
        pass

    calls = {"batches": 0, "saves": 0}
    if moment == "in the middle of an epoch":
        original = watch.StopOnBadLoss.on_train_batch_end

        def interrupt(self, batch, logs=None):
            calls["batches"] += 1
            if calls["batches"] == 40:  # 16 batches an epoch: in the third one
                raise Interrupted
            original(self, batch, logs)

        monkeypatch.setattr(watch.StopOnBadLoss, "on_train_batch_end", interrupt)
    else:
        save = keras.Model.save_weights

        def half_a_file(self, path, *args, **kwargs):
            calls["saves"] += 1
            if calls["saves"] == 3:
                Path(path).write_bytes(b"half a file")
                raise Interrupted
            save(self, path, *args, **kwargs)

        monkeypatch.setattr(keras.Model, "save_weights", half_a_file)
    with pytest.raises(Interrupted):
        kapps.train(RECIPE, out=tmp_path / "run", progress=False)
    monkeypatch.undo()
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert list((tmp_path / "run" / "backup").glob("epoch*"))

    run = kapps.train(RECIPE, out=tmp_path / "run", progress=False)
    for one, two in zip(weights_of(whole_run.folder), weights_of(run.folder), strict=True):
        np.testing.assert_array_equal(one, two)
    without_time = [
        [{key: value for key, value in row.items() if key != "seconds"} for row in watch.read_log(folder / "log.csv")]
        for folder in (whole_run.folder, run.folder)
    ]
    assert without_time[0] == without_time[1]
    assert run.metrics["test"] == whole_run.metrics["test"]


def test_a_killed_process_resumes(whole_run, tmp_path):
    out = tmp_path / "run"
    program = (
        "import sys, json, kapps; from kapps.training.recipe import from_dict;"
        "kapps.train(from_dict(json.loads(sys.argv[1])), out=sys.argv[2], progress=False)"
    )
    arguments = [sys.executable, "-c", program, json.dumps(to_dict(RECIPE)), str(out)]
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(out.glob("backup/epoch*.weights.h5")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "metrics.json").exists(), "the run ended before it could be killed"
    run = kapps.train(RECIPE, out=out, progress=False)
    for one, two in zip(weights_of(whole_run.folder), weights_of(run.folder), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_a_finished_run_is_returned_as_it_is(whole_run):
    before = (whole_run.folder / "model.keras").stat().st_mtime_ns
    again = kapps.train(RECIPE, out=whole_run.folder, progress=False)
    assert again.metrics == whole_run.metrics
    assert (whole_run.folder / "model.keras").stat().st_mtime_ns == before


def test_another_recipe_does_not_overwrite_a_run(whole_run):
    with pytest.raises(RecipeError, match="another recipe"):
        kapps.train(RECIPE, out=whole_run.folder, changes=["epochs=9"], progress=False)


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(OutputError, match="empty or new folder"):
        kapps.train(RECIPE, out=tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_starting_anew_is_possible(tmp_path):
    short = change(RECIPE, {"epochs": 1})
    kapps.train(short, out=tmp_path, progress=False)
    run = kapps.train(change(short, {"seed": 5}), out=tmp_path, resume=False, progress=False)
    assert run.metrics["seed"] == 5


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_good_weights(tmp_path):
    # the rate explodes in epoch 2: a step schedule with a factor over 1
    exploding = {
        "schedule.name": "step",
        "schedule.every": 1,
        "schedule.factor": 1e37,
        "epochs": 2,
        "optimizer.ema": None,
    }
    with pytest.raises(TrainingError) as caught:
        kapps.train(RECIPE, out=tmp_path, changes=exploding, progress=False)
    message = str(caught.value)
    assert "\n" not in message
    assert "in epoch 2" in message
    assert "optimizer.learning_rate" in message
    backups = list((tmp_path / "backup").glob("epoch0001.weights.h5"))
    assert len(backups) == 1
    model = kapps.create_model("mlp", num_classes=10, input_shape=(8, 8, 1), config=RECIPE.model.config)
    model.load_weights(backups[0])
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert not (tmp_path / "metrics.json").exists()


def test_a_full_disk_ends_the_run_with_one_line_and_the_run_can_go_on(whole_run, tmp_path, monkeypatch):
    save, calls = keras.Model.save_weights, []

    def full(self, path, *args, **kwargs):
        calls.append(path)
        if len(calls) == 2:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(self, path, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "save_weights", full)
    with pytest.raises(OutputError, match="No space left on device; make room") as caught:
        kapps.train(RECIPE, out=tmp_path / "run", progress=False)
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "run" / "backup").iterdir()] == ["epoch0001.weights.h5"]
    monkeypatch.undo()
    assert kapps.train(RECIPE, out=tmp_path / "run", progress=False).metrics["test"] == whole_run.metrics["test"]


def test_too_little_room_is_said_before_any_work(tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(OutputError, match="only 0 MB are free"):
        kapps.train(RECIPE, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_an_impossible_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write|empty or new folder"):
        kapps.train(RECIPE, out=tmp_path / "file" / "run", progress=False)


def test_early_stopping_keeps_the_best_weights(tmp_path):
    recipe = change(
        RECIPE,
        {
            "epochs": 30,
            "early_stopping": EarlyStopping(patience=2, monitor="val_accuracy"),
            "optimizer.learning_rate": 0.3,
            "optimizer.ema": None,
            "schedule.name": "constant",
            "data.augment": None,
        },
    )
    run = kapps.train(recipe, out=tmp_path, progress=False)
    rows = watch.read_log(tmp_path / "log.csv")
    accuracies = [row["val_accuracy"] for row in rows]
    assert len(rows) < 30
    assert len(rows) == 1 + int(np.argmax(accuracies)) + 2
    kept = kapps.evaluate(run.folder, "digits", split="train[800:1000]")
    assert kept["accuracy"] == pytest.approx(max(accuracies), abs=1e-6)


def test_mixed_precision_trains_and_leaves_the_global_policy_alone(tmp_path):
    before = keras.config.dtype_policy().name
    run = kapps.train(RECIPE, out=tmp_path, changes={"mixed_precision": True, "epochs": 2}, progress=False)
    assert keras.config.dtype_policy().name == before
    assert run.model.get_layer("hidden1").compute_dtype == "float16"
    assert run.metrics["test"]["accuracy"] > 0.5


def test_bfloat16_is_used_for_the_training_steps_alone(tmp_path):
    option = "auto_mixed_precision_onednn_bfloat16"
    run = kapps.train(RECIPE, out=tmp_path, changes=["mixed_precision=bfloat16", "epochs=2"], progress=False)
    assert not tf.config.optimizer.get_experimental_options().get(option)
    assert run.recipe.mixed_precision == "bfloat16"
    assert {variable.dtype for variable in run.model.trainable_variables} == {"float32"}
    assert run.metrics["test"]["accuracy"] > 0.5


def _products_rounding() -> float:
    """How far a product of two 256 x 256 matrices in a graph is from numpy's in float64."""
    a = np.random.default_rng(0).normal(size=(256, 256)).astype("float32")
    product = tf.function(lambda x: tf.nn.relu(tf.matmul(x, x)))(tf.constant(a)).numpy()
    return float(np.max(np.abs(product - np.maximum(a.astype("float64") @ a.astype("float64"), 0))))


def test_bfloat16_rounds_products_where_the_processor_can_and_only_within():
    cpu = Path("/proc/cpuinfo")
    if not cpu.exists() or "avx512_bf16" not in cpu.read_text():
        pytest.skip("the processor has no AVX512-BF16: training stays in float32")
    with fit._precision("bfloat16"):
        assert 1e-3 < _products_rounding() < 1
    assert _products_rounding() < 1e-3


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"model.name": "lenet6"}, UnknownNameError, "lenet5"),
        ({"model.config": {"hiden": (3,)}}, RecipeError, "hidden"),
        ({"data.name": "./no_such_folder"}, DataError, "no_such_folder"),
        ({"data.train": "trian"}, DataError, "trian"),
        ({"optimizer.name": "adma"}, UnknownNameError, "adam"),
        ({"loss": "cross"}, UnknownNameError, "crossentropy"),
        ({"model.weights": "nowhere.weights.h5"}, WeightsError, "nowhere.weights.h5"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(tmp_path, changes, error, words):
    with pytest.raises(error, match=words) as caught:
        kapps.train(RECIPE, out=tmp_path / "run", changes=changes, progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists(), "nothing is left behind"


def test_a_study_is_not_a_single_run(tmp_path):
    with pytest.raises(RecipeError, match="run_seeds"):
        kapps.train("optimizer_race", out=tmp_path, progress=False)
