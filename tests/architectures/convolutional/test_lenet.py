from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy.signal import correlate

from kapps.architectures.convolutional.lenet import BITMAPS, TABLE_1, codes
from kapps.create import create_backbone, create_model
from kapps.errors import RecipeError

# Table I as the paper prints it: a row for each map of s2, a column for each map of c3.
PRINTED = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
"""


def squash(x):
    return 1.7159 * np.tanh(2 / 3 * x)


def test_connections_are_table_1():
    printed = [[mark == "X" for mark in row] for row in PRINTED.split()]
    ours = [[source in seen for seen in TABLE_1] for source in range(6)]
    assert ours == printed


def test_trainable_parameters_are_the_paper_s():
    model = create_model("lenet5", input_shape=(32, 32, 1))
    counts = {name: model.get_layer(name).count_params() for name in ("c1", "s2", "c3", "s4", "c5", "f6")}
    assert counts == {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 60_000
    assert sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights) == 10 * 84


def test_connections_are_the_paper_s():
    """Section II.B counts them: every unit's inputs and bias."""
    shapes = {name: tensor.shape[1:] for name, tensor in create_backbone("lenet5").output.items()}
    assert shapes == {
        "c1": (28, 28, 6),
        "s2": (14, 14, 6),
        "c3": (10, 10, 16),
        "s4": (5, 5, 16),
        "c5": (1, 1, 120),
        "f6": (84,),
    }
    assert np.prod(shapes["c1"]) * 26 == 122_304
    assert np.prod(shapes["s2"]) * 5 == 5_880
    assert 10 * 10 * (25 * sum(map(len, TABLE_1)) + 16) == 151_600
    assert np.prod(shapes["s4"]) * 5 == 2_000


def test_equals_the_formula():
    """The paper's equations written out with SciPy, map by map."""
    keras.utils.set_random_seed(3)
    model = create_model("lenet5", config={"kernel_initializer": "glorot_uniform"})
    rng = np.random.default_rng(0)
    model.set_weights([w + rng.normal(0, 0.05, w.shape) for w in model.get_weights()[:-1]] + [codes(10)])
    weights = {layer.name: layer.get_weights() for layer in model.layers}
    digit = rng.random((28, 28), dtype="float32")

    def subsample(maps, coefficient, bias):
        totals = [m.reshape(m.shape[0] // 2, 2, m.shape[1] // 2, 2).sum(axis=(1, 3)) for m in maps]
        return [squash(coefficient[i] * total + bias[i]) for i, total in enumerate(totals)]

    image = np.full((32, 32), -0.1)
    image[2:30, 2:30] = digit
    kernel, bias = weights["c1"]
    maps = [squash(correlate(image, kernel[:, :, 0, o], "valid") + bias[o]) for o in range(6)]
    maps = subsample(maps, *weights["s2"])
    kernel, bias = weights["c3"]
    pairs = iter(np.moveaxis(kernel, -1, 0))
    c3 = []
    for o, seen in enumerate(TABLE_1):
        c3.append(squash(sum(correlate(maps[i], next(pairs), "valid") for i in seen) + bias[o]))
    maps = subsample(c3, *weights["s4"])
    kernel, bias = weights["c5"]
    c5 = squash(np.einsum("hwi,hwio->o", np.stack(maps, axis=-1), kernel) + bias)
    kernel, bias = weights["f6"]
    f6 = squash(c5 @ kernel + bias)
    penalties = ((f6 - codes(10)) ** 2).sum(axis=1)

    outputs = {name: model.get_layer(name).output for name in ("f6", "penalties", "logits", "predictions")}
    found = keras.Model(model.input, outputs)(digit[None, :, :, None])
    np.testing.assert_allclose(found["f6"][0], f6, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["penalties"][0], penalties, rtol=1e-4)
    np.testing.assert_allclose(found["logits"][0], -penalties, rtol=1e-4)
    expected = np.exp(penalties.min() - penalties)
    np.testing.assert_allclose(found["predictions"][0], expected / expected.sum(), rtol=1e-2, atol=1e-6)


def test_training_minimises_equation_9():
    """Keras' cross-entropy plus the regulariser of `penalties` is the paper's discriminative loss."""
    model = create_model("lenet5", config={"kernel_initializer": "glorot_normal", "rubbish_penalty": 30.0})
    model.compile("sgd", "sparse_categorical_crossentropy")
    images, labels = np.random.default_rng(0).random((6, 28, 28, 1), dtype="float32"), np.array([3, 1, 4, 1, 5, 9])
    y = keras.Model(model.input, model.get_layer("penalties").output)(images).numpy().astype("float64")
    expected = np.mean(y[np.arange(6), labels] + np.log(np.exp(-30.0) + np.exp(-y).sum(axis=1)))
    assert model.evaluate(images, labels, batch_size=6, verbose=0) == pytest.approx(expected, rel=1e-4)


def test_a_perfect_f6_is_read_without_penalty():
    model = create_model("lenet5")
    head = keras.Model(model.get_layer("f6").output, model.output)
    answers = head(codes(10)).numpy()
    np.testing.assert_array_equal(answers.argmax(axis=1), np.arange(10))
    assert answers.max(axis=1).min() > 0.999


def test_codes_are_the_drawn_digits():
    digits = codes(10)
    assert digits.shape == (10, 84)
    assert set(np.unique(digits)) == {-1, 1}
    seven = ["".join("#" if pixel > 0 else "." for pixel in row) for row in digits[7].reshape(12, 7)]
    assert seven == [line.split()[7] for line in BITMAPS.strip().splitlines()]
    assert seven[1] == "#######"
    distances = (digits[:, None] != digits[None]).sum(axis=-1)
    assert distances[~np.eye(10, dtype=bool)].min() >= 8  # pixels in which any two digits differ


def test_other_numbers_of_classes_have_fixed_random_codes():
    np.testing.assert_array_equal(codes(26), codes(26))
    assert codes(26).shape == (26, 84)
    assert len({tuple(code) for code in codes(26)}) == 26
    assert create_model("lenet5", num_classes=26).output_shape == (None, 26)


def test_start_of_the_paper():
    """Uniform within +-2.4 / fan-in, where the fan-in of a map of c3 is what table I gives it."""
    keras.utils.set_random_seed(0)
    model = create_model("lenet5")
    for name, fan_in in {"c1": 25, "c5": 400, "f6": 120}.items():
        kernel = model.get_layer(name).get_weights()[0]
        assert 0.9 < np.abs(kernel).max() * fan_in / 2.4 <= 1.0001
    full = np.asarray(model.get_layer("c3").full_kernel())
    for output, seen in enumerate(TABLE_1):
        assert 0.8 < np.abs(full[..., output]).max() * 25 * len(seen) / 2.4 <= 1.0001
    assert np.abs(model.get_layer("s2").coefficient).max() <= 0.6


def test_frame_of_background():
    small = np.random.default_rng(0).random((2, 28, 28, 1), dtype="float32")
    large = np.pad(small, [(0, 0), (2, 2), (2, 2), (0, 0)], constant_values=-0.1)
    keras.utils.set_random_seed(0)
    on_small = create_model("lenet5")
    on_large = create_model("lenet5", input_shape=(32, 32, 1))
    on_large.set_weights(on_small.get_weights())
    np.testing.assert_allclose(on_large(large), on_small(small), atol=1e-6)


def test_translation():
    images = np.full((1, 32, 32, 1), -0.1, "float32")
    images[:, 8:20, 8:20] = np.random.default_rng(0).random((12, 12, 1))
    backbone = create_backbone("lenet5", input_shape=(32, 32, 1), config={"kernel_initializer": "glorot_uniform"})
    before, after = backbone(images)["s4"], backbone(np.roll(images, 4, axis=1))["s4"]
    np.testing.assert_allclose(after[:, 1:], before[:, :-1], atol=1e-6)


def test_fixed_codes_stay_and_the_rest_learns():
    keras.utils.set_random_seed(0)
    model = create_model("lenet5")
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", run_eagerly=True)
    before = model.get_weights()
    rng = np.random.default_rng(0)
    model.train_on_batch(rng.random((8, 28, 28, 1), dtype="float32"), rng.integers(0, 10, 8))
    changed = [not np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True)]
    assert changed == [True] * (len(before) - 1) + [False]


def test_softmax_variant_is_the_common_form():
    model = create_model("lenet5_softmax")
    counts = {layer.name: layer.count_params() for layer in model.layers if layer.count_params()}
    assert counts == {"c1": 156, "c3": 2_416, "c5": 48_120, "f6": 10_164, "predictions": 850}
    assert isinstance(model.get_layer("s2"), keras.layers.MaxPooling2D)
    average = create_model("lenet5_softmax", config={"pooling": "average", "activation": "tanh"})
    assert isinstance(average.get_layer("s2"), keras.layers.AveragePooling2D)
    assert average.get_layer("c1").activation is keras.activations.tanh


def test_unknown_activation_is_refused():
    with pytest.raises(RecipeError, match="swoosh"):
        create_model("lenet5", config={"activation": "swoosh"})


def test_unknown_image_size_is_refused():
    with pytest.raises(RecipeError, match="height and width of the inputs must be known"):
        create_model("lenet5", input_shape=(None, None, 1))


def test_fingerprint(fingerprint):
    fingerprint(
        "lenet5",
        {
            "c1": (-0.01533, 0.1334),
            "s2": (0.03686, 0.154),
            "c3": (9.47e-05, 0.02074),
            "s4": (-0.008521, 0.02766),
            "c5": (0.0002657, 0.002128),
            "f6": (-1.705e-05, 0.0003234),
        },
    )
    fingerprint(
        "lenet5_softmax",
        {
            "c1": (0.4059, 0.5205),
            "s2": (0.6603, 0.6037),
            "c3": (0.7238, 0.7981),
            "s4": (0.9569, 0.9128),
            "c5": (0.5883, 0.9464),
            "f6": (0.6032, 0.7683),
        },
    )
