from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.ndimage import zoom
from sklearn.datasets import load_digits

from kapps.create import create_backbone, create_model

# Handwritten digits are more alike than the paper's five clean ones: the later stages must be choosier, and narrow
# columns let each picture teach more planes.
FOR_DIGITS = {"selectivity": (4.0, 3.0, 6.0), "columns": (5, 5, 5)}


@pytest.fixture(scope="module")
def lines():
    """A vertical, a horizontal and two diagonal strokes."""
    images = np.zeros((4, 16, 16, 1), "float32")
    images[0, 3:13, 7:9] = images[1, 7:9, 3:13] = 1
    for i in range(3, 13):
        images[2, i, i - 1 : i + 1] = images[3, i, 15 - i : 17 - i] = 1
    return images


@pytest.fixture(scope="module")
def taught(lines):
    """The paper's network, shown each stroke 30 times without a word on what it is."""
    keras.utils.set_random_seed(0)
    model = create_model("neocognitron", num_classes=4)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(lines, np.arange(4), batch_size=4, epochs=30, verbose=0)
    return model


def test_cells_a_side_are_the_paper_s():
    sides = {name: tensor.shape[1:] for name, tensor in create_backbone("neocognitron").output.items()}
    assert sides == {
        "s1": (16, 16, 24),
        "c1": (10, 10, 24),
        "s2": (8, 8, 24),
        "c2": (6, 6, 24),
        "s3": (2, 2, 24),
        "c3": (1, 1, 24),
    }


def test_planes_of_the_first_stage_learn_to_differ(taught):
    kernels = taught.get_layer("s1").a.numpy().reshape(25, 24).T
    lengths = np.linalg.norm(kernels, axis=1)
    learned = kernels[lengths > 0.1] / lengths[lengths > 0.1][:, None]
    assert len(learned) >= 4
    similarity = (learned @ learned.T)[np.triu_indices(len(learned), 1)]
    assert similarity.max() < 0.95


def test_every_pattern_has_a_cell_of_its_own(taught, lines):
    cells = np.asarray(keras.Model(taught.inputs[0], taught.get_layer("cells").output)(lines))
    assert cells.max(axis=1).min() > 0.05
    assert len(set(cells.argmax(axis=1))) == 4
    np.testing.assert_array_equal(np.asarray(taught(lines)).argmax(axis=1), np.arange(4))


@pytest.mark.parametrize("shift", [(1, 0), (0, 1), (2, 0), (0, 2)])
def test_a_shifted_pattern_has_the_same_cell(taught, lines, shift):
    model = keras.Model(taught.inputs[0], taught.get_layer("cells").output)
    before, after = (np.asarray(model(images)) for images in (lines, np.roll(lines, shift, axis=(1, 2))))
    np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))


def test_digits():
    """Found without a teacher; the labels only name the cells of c3."""
    digits = load_digits()
    images = np.stack([zoom(image, 2, order=1) for image in digits.images[:700]]).astype("float32")[..., None] / 16
    keras.utils.set_random_seed(0)
    model = create_model("neocognitron", config=FOR_DIGITS)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(images[:400], digits.target[:400], batch_size=20, epochs=2, shuffle=False, verbose=0).history
    assert history["representatives"][-1] > 3
    _, accuracy = model.evaluate(images[400:], digits.target[400:700], verbose=0)
    assert accuracy > 0.4


def test_labels_have_no_part_in_the_learning(lines):
    kernels = []
    for labels in (np.array([0, 1, 2, 3]), np.array([3, 3, 0, 0])):
        keras.utils.set_random_seed(0)
        model = create_model("neocognitron", num_classes=4)
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(lines, labels, batch_size=4, epochs=1, shuffle=False, verbose=0)
        kernels.append(model.get_layer("s3").a.numpy())
    np.testing.assert_array_equal(*kernels)
