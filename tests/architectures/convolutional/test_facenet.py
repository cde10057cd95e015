from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.create import create_model
from kapps.errors import RecipeError


@pytest.mark.usefixtures("without_weights")
def test_trainable_parameters_are_facenet_pytorch_s():
    model = create_model("facenet")
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 23_482_624


@pytest.mark.usefixtures("without_weights")
def test_any_number_of_dimensions_and_any_size():
    assert create_model("facenet", num_classes=128, input_shape=(None, None, 3)).output_shape == (None, 128)
    assert create_model("facenet", num_classes=0).output_shape == (None, 3, 3, 1792)


@pytest.mark.usefixtures("without_weights")
def test_another_activation_is_refused():
    with pytest.raises(RecipeError, match=r"the output is an embedding: .* not 'sigmoid'"):
        create_model("facenet", classifier_activation="sigmoid")


def test_the_embedding_has_length_one():
    keras.utils.set_random_seed(0)
    faces = np.random.default_rng(0).normal(size=(3, 75, 75, 3)).astype("float32")
    model = create_model("facenet", num_classes=16, input_shape=(75, 75, 3))
    vectors = keras.Model(model.input, [model.get_layer("embedding_bn").output, model.output])(faces)
    raw, unit = (np.asarray(value) for value in vectors)
    assert not np.allclose(np.linalg.norm(raw, axis=-1), 1, atol=1e-2)
    np.testing.assert_allclose(unit, raw / np.linalg.norm(raw, axis=-1, keepdims=True), rtol=1e-4, atol=1e-6)
