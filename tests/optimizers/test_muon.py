from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.optimizers.muon import ConvMuon


def orthogonal(matrix, steps=5):
    """The quintic iteration of Jordan 2024, in numpy, on the wide form of the matrix."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / np.linalg.norm(x)
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def variable(value, name):
    return keras.Variable(value.astype(np.float32), name=name)


@pytest.mark.parametrize("nesterov", [True, False])
def test_a_kernel_moves_as_the_matrix_that_it_is(nesterov):
    random = np.random.default_rng(0)
    start, gradients = random.normal(size=(3, 3, 2, 5)), random.normal(size=(4, 3, 3, 2, 5))
    kernel = variable(start, "kernel")
    optimizer = ConvMuon(0.1, momentum=0.8, weight_decay=0.3, nesterov=nesterov)
    optimizer.build([kernel])
    expected, momentum = start.reshape(18, 5), 0.0
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient.astype(np.float32))], [kernel])
        matrix = gradient.reshape(18, 5)
        momentum = 0.8 * momentum + matrix
        moved = matrix + 0.8 * momentum if nesterov else momentum
        expected = expected * (1 - 0.1 * 0.3) - 0.1 * 0.2 * np.sqrt(18) * orthogonal(moved)
    np.testing.assert_allclose(kernel.numpy().reshape(18, 5), expected, rtol=1e-3, atol=1e-4)


def test_all_directions_of_a_step_are_nearly_of_one_size():
    random = np.random.default_rng(1)
    gradient = random.normal(size=(3, 3, 4, 8)) * np.logspace(-2, 2, 8)  # channels of very different size
    kernel = variable(np.zeros((3, 3, 4, 8)), "kernel")
    optimizer = ConvMuon(1.0, weight_decay=0.0, rms_rate=None)
    optimizer.build([kernel])
    optimizer.apply([keras.ops.convert_to_tensor(gradient.astype(np.float32))], [kernel])
    sizes = np.linalg.svd(kernel.numpy().reshape(36, 8), compute_uv=False)
    assert sizes.max() < 1.3
    assert np.median(sizes) > 0.6


def test_the_rest_is_keras_own():
    """Matrices are Muon's there; vectors and the layers that are named are AdamW's."""
    random = np.random.default_rng(2)
    shapes = {"dense": (4, 6), "bias": (6,), "predictions/kernel": (6, 3), "stem/kernel": (3, 3, 1, 2)}
    starts = {name: random.normal(size=shape) for name, shape in shapes.items()}
    gradients = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    results = []
    for kind in (ConvMuon, keras.optimizers.Muon):
        weights = [variable(start, name.replace("/", "_")) for name, start in starts.items()]
        optimizer = kind(0.05, exclude_layers=["predictions", "stem"])
        optimizer.build(weights)
        optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients.values()], weights)
        results.append([weight.numpy() for weight in weights])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_it_trains_is_saved_and_goes_on(tmp_path):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6, 6, 1)), keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(2, name="predictions")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(ConvMuon(0.02, exclude_layers=["predictions"]), loss, jit_compile=False)
    random = np.random.default_rng(3)
    images, labels = random.normal(size=(64, 6, 6, 1)).astype(np.float32), np.arange(64) % 2
    images[labels == 1, :, 2:4] += 1
    losses = model.fit(images, labels, epochs=15, batch_size=32, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    model.save(tmp_path / "x.keras")
    loaded = keras.models.load_model(tmp_path / "x.keras")
    assert isinstance(loaded.optimizer, ConvMuon)
    for one, other in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
