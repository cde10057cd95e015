"""The experiments on greedy learning, on scikit-learn's small scans; on MNIST where it is and there is time."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.data.digits import digit_images
from kapps.tasks import experiments
from kapps.tasks.unsupervised import deep_sigmoid, stacked_denoising
from kapps.training.study import slug


def scans(split, count, data_dir):
    images, labels = digit_images()
    part = slice(0, count) if split == "train" else slice(-count, None)
    return images[part] / np.float32(255), labels[part].astype("int64")


def small(module, case, folder, **values):
    keras.utils.set_random_seed(0)
    lines: list[str] = []
    sizes = {"taught": 500, "tested": 200, "layer_epochs": 1, "epochs": 2, **values}
    folder.mkdir(parents=True, exist_ok=True)
    return module.run(case, 0, data_dir=None, folder=folder, report=lines.append, **sizes), lines


@pytest.fixture(autouse=True)
def on_scans(monkeypatch, request):
    if "shared_dir" not in request.fixturenames:
        monkeypatch.setattr(stacked_denoising, "digits", scans)
        monkeypatch.setattr(deep_sigmoid, "digits", scans)


@pytest.mark.parametrize(
    "case", [pytest.param("no pre-training", marks=pytest.mark.slow), "stacked denoising autoencoder"]
)
def test_a_run_of_stacked_denoising_says_what_it_measured(case, tmp_path):
    result, lines = small(stacked_denoising, case, tmp_path, hidden=(40,))
    assert 0.1 < result["value"] <= 1
    assert result["history"][-1] == result["value"]
    assert len(result["history"]) == 2
    assert set(result["parts"]) == {"accuracy, classifier only"}
    assert sum(line.startswith("layer") for line in lines) == (1 if case != "no pre-training" else 0)


@pytest.fixture(scope="module")
def deep_runs(tmp_path_factory):
    """A series in two cases: (folder, case -> result). No layer learns without labels."""
    folder, results = tmp_path_factory.mktemp("deep"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deep_sigmoid, "digits", scans)
        for case in ("sigmoid", "sigmoid, pre-trained"):
            place = folder / slug(case) / "seed0"
            results[case], _ = small(deep_sigmoid, case, place, hidden=(20,) * 3, layer_epochs=0)
    return folder, results


def test_a_run_of_deep_sigmoid_keeps_the_gradients_of_every_layer(deep_runs):
    folder, results = deep_runs
    for case, result in results.items():
        assert result["layers"] == ["hidden1", "hidden2", "hidden3", "predictions"]
        assert np.array(result["gradients"]).shape == (3, 4)
        assert (np.array(result["gradients"]) > 0).all()
        assert len(result["history"]) == 2
        assert (folder / slug(case) / "seed0" / "gradients.png").stat().st_size > 10_000
    first, last = (results["sigmoid"]["gradients"][0][layer] for layer in (0, 2))
    assert first < 0.3 * last  # downwards it shrinks
    assert results["sigmoid"]["parts"]["first hidden gradient over last, at the start"] == pytest.approx(first / last)


def test_the_picture_of_a_series_is_that_of_its_gradients(deep_runs, tmp_path):
    _, results = deep_runs
    measured = {(case, None): [result] for case, result in results.items()}
    experiments._plot(deep_sigmoid.EXPERIMENT, measured, tmp_path / "series.png")
    assert (tmp_path / "series.png").read_bytes()[:4] == b"\x89PNG"
    deep_sigmoid.plot_gradients({case: [result] for case, result in results.items()}, tmp_path / "gradients.png")
    assert (tmp_path / "series.png").read_bytes() == (tmp_path / "gradients.png").read_bytes()


@pytest.mark.parametrize("case", ["sigmoid, batch norm", "ReLU"])
def test_other_nets_have_the_layers_that_they_are_named_for(case):
    model = deep_sigmoid.network(case, (8, 8, 1), (7, 6))
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("BatchNormalization") == (2 if case == "sigmoid, batch norm" else 0)
    assert model.get_layer("active1").activation.__name__ == ("relu" if case == "ReLU" else "sigmoid")


def test_gradient_norms_are_those_of_the_definition_and_leave_the_model_alone():
    keras.utils.set_random_seed(0)
    model = deep_sigmoid.network("sigmoid, batch norm", (2, 2, 1), (3,))
    x, y = np.random.default_rng(0).random((6, 2, 2, 1)).astype("float32"), np.arange(6)
    before = model.get_weights()
    norms = deep_sigmoid.gradient_norms(model, x, y)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    # of the last layer: the mean of h (p - right)
    hidden = keras.Model(model.input, model.get_layer("active1").output)(x, training=True).numpy()
    model.set_weights(before)
    right = np.eye(10)[y]
    expected = hidden.T @ (model(x, training=True).numpy() - right) / 6
    assert norms[-1] == pytest.approx(np.linalg.norm(expected), rel=1e-4)


@pytest.mark.slow
def test_on_mnist_pre_training_makes_the_deep_net_learn(shared_dir, tmp_path):
    values = {}
    for case in ("sigmoid", "sigmoid, pre-trained"):
        keras.utils.set_random_seed(0)
        sizes = {"taught": 10_000, "tested": 2_000, "layer_epochs": 5, "epochs": 5}
        data_dir = shared_dir / "data" / "tfds"
        values[case] = deep_sigmoid.run(case, 0, data_dir=data_dir, folder=tmp_path, report=lambda line: None, **sizes)[
            "value"
        ]
    assert values["sigmoid"] < 0.3
    assert values["sigmoid, pre-trained"] > 0.85
