from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.layers.nearest_neighbours import NearestNeighbours


def layer(memory, labels, **options):
    made = NearestNeighbours(3, examples=len(labels), **options)
    made.build((None, memory.shape[1]))
    made.remember(memory.astype(np.float32), np.array(labels))
    return made


def test_it_equals_the_sum_worked_out_one_by_one():
    random = np.random.default_rng(0)
    memory, labels = random.normal(size=(10, 4)), random.integers(0, 3, 10)
    features = random.normal(size=(5, 4)).astype(np.float32)
    scores = layer(memory, labels, neighbours=4, temperature=0.2)(features).numpy()
    for row, found in zip(features, scores, strict=True):
        similar = memory @ row / np.linalg.norm(memory, axis=1) / np.linalg.norm(row)
        nearest = np.argsort(-similar)[:4]
        shares = np.full(3, 0.1 / 3)
        for index in nearest:
            shares[labels[index]] += np.exp((similar[index] - similar[nearest[0]]) / 0.2)
        np.testing.assert_allclose(np.exp(found), shares / shares.sum(), rtol=1e-4)


def test_the_length_of_a_feature_does_not_matter():
    random = np.random.default_rng(1)
    made = layer(random.normal(size=(6, 3)), [0, 1, 2, 0, 1, 2], neighbours=3)
    features = random.normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_allclose(made(features), made(100 * features), rtol=1e-4, atol=1e-6)


def test_it_is_saved_with_its_memory(tmp_path):
    made = layer(np.eye(3), [0, 1, 2], neighbours=1)
    model = keras.Sequential([keras.Input((3,)), made])
    model.save(tmp_path / "x.keras")
    loaded = keras.models.load_model(tmp_path / "x.keras")
    np.testing.assert_allclose(loaded(np.eye(3)), model(np.eye(3)), rtol=1e-6)
    assert np.asarray(model(np.eye(3))).argmax(axis=1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("options", [{"neighbours": 0}, {"neighbours": 4}, {"temperature": 0}])
def test_impossible_numbers_are_refused(options):
    with pytest.raises(ValueError, match="expected 1 to 3 neighbours, a class or more and a temperature above 0"):
        NearestNeighbours(3, examples=3, **{"neighbours": 1, **options})
