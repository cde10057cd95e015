from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.architectures.unsupervised.space_time_dbn import VARIANTS, SpaceTimeDBN, SpaceTimeDBNConfig
from kapps.errors import RecipeError

SMALL = SpaceTimeDBNConfig(
    filters=(3, 4),
    kernels=(3, 2),
    pools=(2, 2),
    learning_rates=(0.2, 0.1),
    sparsity_targets=(0.05, 0.1),
    seed=1,
)


def films(count=30):
    """A dot of 3x3 that runs across 5 frames of 8x8."""
    rng = np.random.default_rng(0)
    films = np.zeros((count, 5, 8, 8, 1), "float32")
    for film, top in zip(films, rng.integers(0, 6, count), strict=True):
        for time in range(5):
            film[time, top : top + 3, time : time + 3] = 1
    return films


@pytest.fixture(scope="module")
def eagerly():
    """Without graphs, whose tracing takes far longer than these few steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def learned(eagerly):
    keras.utils.set_random_seed(0)
    network = SpaceTimeDBN((5, 8, 8, 1), SMALL)
    return network, network.fit(films(), epochs=2, batch_size=10, verbose=0)


def test_shapes(learned):
    network, histories = learned
    assert len(histories) == 2
    assert [rbm.data_shape for rbm in network.rbms] == [(8, 8, 1), (5, 1, 3)]
    assert network.code_shapes == ((5, 3, 3, 3), (2, 3, 3, 4))
    codes = network.transform(films(4))
    assert codes.shape == (4, 2, 3, 3, 4)
    assert network.inverse_transform(codes).shape == (4, 5, 8, 8, 1)
    assert network.features(films(4)).shape == (4, 5 * 3 * 3 * 3 + 2 * 3 * 3 * 4)
    np.testing.assert_allclose(network.encoder()(films(4)), codes, rtol=1e-5)


@pytest.mark.parametrize("layer", [0, 1])
def test_rows_and_back(learned, layer):
    network, _ = learned
    shape = network.code_shapes[layer]
    codes = np.random.default_rng(0).random((2, *shape)).astype("float32")
    np.testing.assert_array_equal(network._whole(layer, network._rows(layer, codes)), codes)


def test_a_spatial_layer_sees_each_frame_by_itself(learned):
    network, _ = learned
    order = [3, 0, 4, 1, 2]
    in_order, mixed = (np.asarray(network.encode_all(some)[0]) for some in (films(2), films(2)[:, order]))
    np.testing.assert_allclose(in_order[:, order], mixed, rtol=1e-5)
    np.testing.assert_allclose(in_order[0, 2], network.rbms[0].transform(films(1)[:, 2])[0], rtol=1e-5)


def test_a_temporal_layer_sees_each_place_by_itself(learned):
    network, _ = learned
    below = np.random.default_rng(1).random((1, 5, 3, 3, 3)).astype("float32")
    other = below.copy()
    other[:, :, 1, 2] = 1 - other[:, :, 1, 2]
    changed = np.asarray(network._layer(1, below)) != np.asarray(network._layer(1, other))
    assert changed[:, :, 1, 2].any()
    changed[:, :, 1, 2] = False
    assert not changed.any()
    # A place's row is its time line.
    alone = network.rbms[1].transform(below[0, :, 0, 1].reshape(1, 5, 1, 3))
    np.testing.assert_allclose(np.asarray(network._layer(1, below))[0, :, 0, 1], alone[0, :, 0], rtol=1e-5)


def test_save_and_load(learned, tmp_path):
    learned[0].save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.transform(films(3)), learned[0].transform(films(3)))


@pytest.mark.slow
def test_a_seed_gives_the_same_again(eagerly):
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        network = SpaceTimeDBN((5, 8, 8, 1), SMALL)
        network.fit(films(6), epochs=1, batch_size=3, verbose=0)
        weights.append(network.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_variant_s_sizes():
    network = SpaceTimeDBN((12, 32, 32, 1), VARIANTS["space_time_dbn"])
    assert network.code_shapes == ((12, 8, 8, 16), (5, 8, 8, 24), (5, 2, 2, 24), (2, 2, 2, 24))
    trained = sum(int(np.prod(weight.shape)) for weight in network.trainable_variables)
    weights = 9 * 9 * 16 + 3 * 16 * 24 + 5 * 5 * 24 * 24 + 2 * 24 * 24
    assert trained == weights + (16 + 24 + 24 + 24) + (1 + 16 + 24 + 24)


def test_what_is_no_film():
    with pytest.raises(RecipeError, match=r"expected data \[frames, height, width, channels\]"):
        SpaceTimeDBN((28, 28, 1))
