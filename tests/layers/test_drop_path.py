from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.layers.drop_path import DropPathJoin, GlobalPath

# Three paths whose kept subset can be read off their mean: 0/1/10/100-like numbers with all means different.
PATHS = (1.0, 10.0, 100.0)


def joined(columns: list[int], column: list[int], training: bool = True, **options) -> np.ndarray:
    """The output for each example, when path i is `PATHS[i]` everywhere."""
    shape = (len(column), 2, 2, 1)
    paths = [np.full(shape, PATHS[index], "float32") for index in range(len(columns))]
    out = DropPathJoin(columns, **options)([*paths, np.array(column, "int32")], training=training).numpy()
    assert out.shape == shape
    assert np.ptp(out, axis=(1, 2, 3)).max() == 0  # one draw an example
    return out[:, 0, 0, 0]


def test_inference_is_the_mean_of_all():
    np.testing.assert_allclose(joined([0, 1, 2], [-1, 2], training=False, rate=0.5), 37)


def test_a_global_path_passes_alone():
    np.testing.assert_array_equal(joined([1, 2, 3], [1, 3, 2], rate=0.9), [1, 100, 10])


def test_a_join_without_the_global_column_keeps_all():
    np.testing.assert_allclose(joined([2, 3], [0, 1], rate=0.9), 5.5)


def test_rate_zero_keeps_all():
    np.testing.assert_allclose(joined([0, 1, 2], [-1] * 50, rate=0.0), 37, rtol=1e-6)


def test_local_paths_are_dropped_on_their_own_and_one_always_stays():
    rate, count = 0.4, 20_000
    outputs = joined([0, 1], [-1] * count, rate=rate, seed=1)
    shares = {value: float(np.isclose(outputs, value).mean()) for value in (1.0, 10.0, 5.5)}
    # both stay; one stays because the other is dropped, or because both are and the coin says so
    both, one = (1 - rate) ** 2, (1 - rate) * rate + rate**2 / 2
    assert sum(shares.values()) == pytest.approx(1, abs=1e-9)
    assert shares[5.5] == pytest.approx(both, abs=0.015)
    assert shares[1.0] == pytest.approx(one, abs=0.015)
    assert shares[10.0] == pytest.approx(one, abs=0.015)


def test_gradient_reaches_only_what_was_kept():
    paths = [tf.ones((2, 1, 1, 1)) * value for value in PATHS]
    layer = DropPathJoin([0, 1, 2], 0.5)
    with tf.GradientTape() as tape:
        tape.watch(paths)
        total = tf.reduce_sum(layer([*paths, tf.constant([2, 0])], training=True))
    gradients = [gradient.numpy().ravel().tolist() for gradient in tape.gradient(total, paths)]
    assert gradients == [[0, 1], [0, 0], [1, 0]]


def test_global_columns_are_drawn_evenly():
    drawn = GlobalPath(4, 0.5, seed=2)(np.zeros((20_000, 1)), training=True).numpy()
    counts = {value: float((drawn == value).mean()) for value in range(-1, 4)}
    assert sum(counts.values()) == 1
    assert counts[-1] == pytest.approx(0.5, abs=0.015)
    assert [counts[value] for value in range(4)] == pytest.approx([0.125] * 4, abs=0.012)


def test_no_global_columns_at_inference_or_without_a_share():
    assert (GlobalPath(3, 1.0)(np.zeros((50, 2)), training=False).numpy() == -1).all()
    assert (GlobalPath(3, 0.0)(np.zeros((50, 2)), training=True).numpy() == -1).all()
    assert (GlobalPath(3, 1.0)(np.zeros((50, 2)), training=True).numpy() >= 0).all()


@pytest.mark.parametrize("jit_compile", [True, False])
def test_fit_save_and_load(tmp_path, jit_compile):
    image = keras.Input((4, 4, 1))
    path = GlobalPath(2, seed=3)(image)
    paths = [keras.layers.Conv2D(2, 3, padding="same")(image) for _ in range(2)]
    join = DropPathJoin([0, 1], seed=4)([*paths, path])
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(join))
    model.compile("sgd", "mse", jit_compile=jit_compile)
    x = np.random.default_rng(2).normal(size=(10, 4, 4, 1)).astype("float32")
    model.fit(x, np.ones((10, 2)), batch_size=4, verbose=0)  # the last batch is smaller
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(x), loaded(x))
    for before, after in zip(model.layers, loaded.layers, strict=True):
        assert before.get_config() == after.get_config()


def test_half_precision_policy():
    paths = [np.ones((2, 1, 1, 1), "float16")] * 3
    out = DropPathJoin([0, 1, 2], 0.5, dtype="mixed_float16")([*paths, np.array([-1, -1], "int32")], training=True)
    assert out.dtype == tf.float16
    np.testing.assert_allclose(out, 1, rtol=1e-3)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"rate must be at least 0 and under 1, got 1"):
        DropPathJoin([0, 1], 1.0)
    with pytest.raises(ValueError, match=r"share must be from 0 to 1, got 1.5"):
        GlobalPath(3, 1.5)
    with pytest.raises(ValueError, match="columns must be an integer of at least 1, got 0"):
        GlobalPath(0)
    with pytest.raises(ValueError, match=r"expected 3 paths, of the columns \(0, 1, 2\), and the global path, got 3"):
        DropPathJoin([0, 1, 2])([np.ones((1, 1, 1, 1))] * 3)
