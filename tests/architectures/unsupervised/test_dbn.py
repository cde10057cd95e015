"""The deep belief net on bars of 4x4 pixels, upright (0) and lying (1), and by counting on a tiny one."""

from __future__ import annotations

import itertools

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.architectures.unsupervised.dbn import DBN, DBNConfig, LabelledRBM
from kapps.architectures.unsupervised.rbm import RBMConfig
from kapps.errors import DataError, RecipeError


def bars(count=400, seed=0):
    """Images float32 [N, 4, 4, 1] with one or two bars of a direction, and which."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    images = np.zeros((count, 4, 4, 1), np.float32)
    for image, label in zip(images, labels, strict=True):
        which = rng.choice(4, rng.integers(1, 3), replace=False)
        image[:, which] = 1
        if label:
            image[:] = image.transpose(1, 0, 2).copy()
    return images, labels


def learned(classes=2, **changes):
    keras.utils.set_random_seed(0)
    images, labels = bars()
    net = DBN((4, 4, 1), DBNConfig(hidden=(20, 12), classes=classes, learning_rate=0.1, **changes))
    histories = net.fit(images, labels if classes else None, epochs=15, batch_size=20, verbose=0)
    return net, histories


@pytest.fixture(scope="module")
def trained():
    """(net, histories); no test changes the net."""
    return learned()


def test_every_layer_learns_and_the_net_gives_back_what_it_sees(trained):
    net, histories = trained
    assert len(histories) == 2
    errors = histories[0].history["reconstruction_error"]
    assert errors[-1] < 0.5 * errors[0]
    images, _ = bars(50, seed=1)
    codes = net.transform(images)
    again = net.inverse_transform(codes)
    assert codes.shape == (50, 12)
    assert again.shape == images.shape
    assert np.square(again - images).mean() < 0.6 * np.square(images.mean(0) - images).mean()
    assert net.components_.shape == (12, 4, 4, 1)


def test_greedy_learning_leaves_the_weights_tied(trained):
    net, _ = trained
    np.testing.assert_array_equal(net.generative[0].numpy(), net.rbms[0].W.numpy())
    assert len(net.generative) == 1


def test_labels_are_known_by_their_free_energy(trained):
    net, _ = trained
    images, labels = bars(200, seed=2)
    assert (net.classify(images) == labels).mean() > 0.9
    below = net.up(tf.constant(images), 1)
    energies = np.stack(
        [net.rbms[-1].free_energy(tf.concat([below, tf.one_hot([label] * 200, 2)], 1)).numpy() for label in (0, 1)], 1
    )
    expected = np.exp(-energies + energies.min(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(net.predict_proba(images), expected, atol=2e-5)


def test_it_dreams_of_what_it_is_asked_for():
    """All but sure units: label k turns on top unit k, that unit k of hidden1, and that pixel k."""
    net = DBN((2,), DBNConfig(hidden=(2, 2), classes=2))
    same = 60 * np.eye(2) - 30
    net.rbms[1].W.assign(np.concatenate([same, 3 * same]))
    net.generative[0].assign(same)
    for label in (0, 1):
        np.testing.assert_allclose(net.generate(label, count=5, steps=3), np.eye(2)[[label] * 5], atol=1e-6)
    anything = net.generate(count=40, steps=3)
    assert {tuple(row) for row in anything.round().astype(int)} == {(0, 1), (1, 0)}


def test_dreams_are_data(trained):
    dreams = trained[0].generate(1, count=3, steps=2)
    assert dreams.shape == (3, 4, 4, 1)
    assert dreams.min() >= 0
    assert dreams.max() <= 1


def test_the_mlp_has_the_nets_features(trained):
    net, _ = trained
    images, _ = bars(100, seed=3)
    model = net.to_mlp(2)
    assert model(images).shape == (100, 2)
    assert [layer.name for layer in model.layers] == ["image", "pixels", "hidden1", "hidden2", "predictions"]
    features = keras.Model(model.input, model.get_layer("hidden2").output)(images)
    np.testing.assert_allclose(features, net.transform(images), atol=1e-5)
    model.get_layer("hidden1").kernel.assign_add(np.ones((16, 20)))
    np.testing.assert_allclose(features, net.transform(images), atol=1e-5)  # fine-tuning leaves the net as it is


def test_a_saved_net_is_the_same_net(trained, tmp_path):
    net, _ = trained
    images, _ = bars(20, seed=4)
    net.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    assert isinstance(again, DBN)
    assert again.config == net.config
    np.testing.assert_array_equal(again.transform(images), net.transform(images))
    np.testing.assert_array_equal(again.predict_proba(images), net.predict_proba(images))
    net.encoder().save(tmp_path / "encoder.keras")
    encoder = keras.models.load_model(tmp_path / "encoder.keras")
    np.testing.assert_allclose(encoder(images), net.transform(images), atol=1e-6)


def test_a_saved_net_does_not_hold_what_only_learning_needed(trained, tmp_path):
    net, _ = trained
    net.save_weights(tmp_path / "net.weights.h5")
    numbers = sum(int(np.prod(weight.shape)) for weight in net.weights)
    expected = (16 * 20 + 16 + 20) + (22 * 12 + 22 + 12) + 16 * 20
    assert numbers == expected == net.count_params()
    stored = []
    with h5py.File(tmp_path / "net.weights.h5") as file:
        file.visititems(lambda name, item: stored.append(name) if isinstance(item, h5py.Dataset) else None)
    assert not [name for name in stored if "optimizer" in name]


def test_up_down_unties_the_weights_and_stays_right(trained):
    net = DBN.from_config(trained[0].get_config())
    net.set_weights(trained[0].get_weights())
    images, labels = bars()
    tied = net.generative[0].numpy() / 2
    net.generative[0].assign(tied)  # the net has learned: else only noise would be left to lower
    keras.utils.set_random_seed(0)  # of the order of the examples
    history = net.up_down(images, labels, epochs=15, batch_size=20, steps=3, verbose=0)
    errors = history.history["reconstruction_error"]
    assert errors[-1] < 0.5 * errors[0], "the generative weights learn to give back what the states came from"
    assert np.abs(net.generative[0].numpy() - net.rbms[0].W.numpy()).max() > 1e-3
    assert np.abs(net.generative[0].numpy() - tied).max() > 1e-3
    fresh, truth = bars(200, seed=5)
    assert (net.classify(fresh) == truth).mean() > 0.9
    assert net.evaluate(fresh, verbose=0) < 0.15


def test_one_update_of_up_down_is_that_of_the_paper():
    """Units that are all but surely on or off make the drawn states known; then appendix B, by hand in numpy."""
    net = DBN((3,), DBNConfig(hidden=(2, 2), weight_decay=0.0, seed=1))
    w1 = np.array([[90.0, -90], [-90, 90], [90, 90]], np.float32)
    g1 = np.array([[60.0, -70], [-80, 90], [50, 70]], np.float32)
    w2 = np.array([[80.0, -80], [-80, 80]], np.float32)
    b1, c1, b2, c2 = (np.array(some, np.float32) for some in ([0.1, 0.2, 0.3], [-40, -50], [-30, -30], [-30, -40]))
    bottom, top = net.rbms
    for variable, value in zip(
        (bottom.W, bottom.b, bottom.c, net.generative[0], top.W, top.b, top.c),
        (w1, b1, c1, g1, w2, b2, c2),
        strict=True,
    ):
        variable.assign(value)
    net.compile(optimizer=keras.optimizers.SGD(1.0))
    v = np.array([[1.0, 0, 0.5]], np.float32)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x.astype("float64")))

    h1 = np.round(sigmoid(v @ w1 + c1))
    of_g1 = np.outer(sigmoid(h1 @ g1.T + b1) - v, h1)
    of_b1 = (sigmoid(h1 @ g1.T + b1) - v)[0]
    h2 = sigmoid(h1 @ w2 + c2)
    its_h1 = np.round(sigmoid(np.round(h2) @ w2.T + b2))
    its_h2 = sigmoid(its_h1 @ w2 + c2)
    of_w2 = np.outer(its_h1, its_h2) - np.outer(h1, h2)
    dream = sigmoid(its_h1 @ g1.T + b1)
    error = sigmoid(dream @ w1 + c1) - its_h1
    net.up_down(np.repeat(v, 2, axis=0), epochs=1, batch_size=2, steps=1, verbose=0)
    for variable, value, gradient in (
        (net.generative[0], g1, of_g1),
        (bottom.b, b1, of_b1),
        (top.W, w2, of_w2),
        (top.b, b2, (its_h1 - h1)[0]),
        (top.c, c2, (its_h2 - h2)[0]),
        (bottom.W, w1, np.outer(dream, error)),
        (bottom.c, c1, error[0]),
    ):
        np.testing.assert_allclose(variable.numpy(), value - gradient, atol=1e-4)
    assert np.abs(of_g1).max() > 0.1


@pytest.mark.slow
def test_a_stream_teaches_what_arrays_do_and_labels_come_with_it():
    images, labels = bars()
    stream = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(400, seed=0).batch(20)
    net = DBN((4, 4, 1), DBNConfig(hidden=(20, 12), classes=2, learning_rate=0.1))
    net.fit(stream, epochs=15, verbose=0)
    assert (net.classify(images) == labels).mean() > 0.9
    net.up_down(stream, epochs=1, verbose=0)
    plain = DBN((4, 4, 1), DBNConfig(hidden=(6, 4)))
    plain.fit(stream.map(lambda image, _: image), epochs=1, verbose=0)
    assert plain.transform(images).shape == (400, 4)


@pytest.mark.slow
def test_layers_that_memory_cannot_hold_are_made_on_the_way(monkeypatch):
    monkeypatch.setattr("kapps.architectures.unsupervised.dbn._MEMORY_SHARE", 0.0)
    net, histories = learned()
    assert histories[1].history["reconstruction_error"][-1] < histories[1].history["reconstruction_error"][0]
    images, labels = bars(200, seed=6)
    assert (net.classify(images) == labels).mean() > 0.9


@pytest.mark.slow
def test_epochs_for_each_layer():
    images, _ = bars(40)
    net = DBN((4, 4, 1), DBNConfig(hidden=(5, 4, 3)))
    before = [rbm.W.numpy().copy() for rbm in net.rbms]
    histories = net.pretrain(images, epochs=(2, 0, 1), verbose=0)
    assert [len(history.epoch) for history in histories] == [2, 1]
    same = [np.array_equal(rbm.W.numpy(), start) for rbm, start in zip(net.rbms, before, strict=True)]
    assert same == [False, True, False]
    with pytest.raises(RecipeError, match="one for each of 3 layers"):
        net.pretrain(images, epochs=(1, 1))


def test_a_seed_gives_the_same_again():
    nets = [DBN((4, 4, 1), DBNConfig(hidden=(5,), seed=seed)) for seed in (3, 3, 4)]
    assert not np.array_equal(nets[0].rbms[0].W.numpy(), nets[2].rbms[0].W.numpy())
    for net in nets[:2]:
        net.fit(bars(40)[0], epochs=2, batch_size=10, verbose=0)
    for mine, yours in zip(nets[0].get_weights(), nets[1].get_weights(), strict=True):
        np.testing.assert_array_equal(mine, yours)
    np.testing.assert_array_equal(nets[0].generate(count=2, steps=2), nets[1].generate(count=2, steps=2))


@pytest.mark.slow
def test_gaussian_units_take_data_of_any_scale():
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(300, 2)) @ rng.normal(size=(2, 6)) * 5 + 20).astype("float32")
    net = DBN((6,), DBNConfig(hidden=(16, 8), visible_units="gaussian", learning_rate=0.1))
    net.fit(data, epochs=30, batch_size=20, verbose=0)
    again = net.inverse_transform(net.transform(data))
    assert np.square(again - data).mean() < 0.6 * data.var(axis=0).mean()
    dreams = net.generate(count=200, steps=20)
    assert np.abs(dreams.mean(0) - data.mean(0)).max() < 2 * data.std(0).max()
    features = keras.Model((model := net.to_mlp(3)).input, model.get_layer("hidden2").output)(data)
    np.testing.assert_allclose(features, net.transform(data), atol=1e-4)
    data[:, 2:4] = 1
    with pytest.raises(DataError, match="2 constant ones"):
        DBN((6,), DBNConfig(hidden=(4,), visible_units="gaussian")).fit(data, verbose=0)


def test_a_group_of_labels_has_one_on():
    """Counted: p(visible | h) of a labelled RBM is that of exp(-E) over all states with exactly one label on."""
    machine = LabelledRBM((5,), RBMConfig(hidden=3, seed=0), classes=2)
    rng = np.random.default_rng(0)
    for weight in (machine.W, machine.b, machine.c):
        weight.assign(rng.normal(size=weight.shape))
    h = np.array([1.0, 0, 1], np.float32)
    w, b = machine.W.numpy(), machine.b.numpy()
    states = np.array(
        [[*units, *label] for units in itertools.product((0, 1), repeat=3) for label in ((1, 0), (0, 1))], np.float32
    )
    weights = np.exp(states @ b + states @ w @ h)
    expected = (weights[:, None] * states).sum(0) / weights.sum()
    mean = machine.visible_mean(tf.constant(h[None]))
    np.testing.assert_allclose(mean[0], expected, atol=1e-6)
    drawn = machine.sample_visible(tf.repeat(mean, 4000, axis=0)).numpy()
    np.testing.assert_array_equal(drawn[:, 3:].sum(axis=1), 1)
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=0.04)


@pytest.mark.parametrize(
    ("call", "error", "complaint"),
    [
        (lambda net, x, y: net.fit(x), DataError, "2 label units, got none: give y"),
        (lambda net, x, y: net.up_down(x), DataError, "2 label units, got none: give y"),
        (lambda net, x, y: net.fit(tf.data.Dataset.from_tensors(x)), DataError, "2 label units, got none"),
        (lambda net, x, y: net.fit(tf.data.Dataset.from_tensors((x, y)), y), DataError, "leave y out"),
        (lambda net, x, y: net.fit(x, y + 1), DataError, "labels from 0 to 1, got 1 to 2"),
        (lambda net, x, y: net.fit(x, y[:3]), DataError, r"integer labels \[20\], got int64 \[3\]"),
        (lambda net, x, y: net.fit(x, y.astype(float)), DataError, "got float64"),
        (lambda net, x, y: net.fit(x * 2, y), DataError, "numbers from 0 to 1, got 0 to 2"),
        (lambda net, x, y: net.fit(x * np.nan, y), DataError, "finite numbers"),
        (lambda net, x, y: net.fit(x[:1], y[:1]), DataError, "at least 2 examples"),
        (lambda net, x, y: net.up_down(x, y, steps=0), RecipeError, "at least 1 step"),
        (lambda net, x, y: net.generate(2), RecipeError, "a label from 0 to 1, got 2"),
        (lambda net, x, y: net.generate(1, steps=0), RecipeError, "1 pictures and 0 steps"),
        (lambda net, x, y: net.to_mlp(1), RecipeError, "at least 2 classes"),
        (lambda net, x, y: DBN((4,), DBNConfig(hidden=(3,))).classify(x[:, 0, :, 0]), RecipeError, "has none"),
        (lambda net, x, y: DBN((4,), DBNConfig(hidden=(3,))).generate(0), RecipeError, "a label to dream of"),
        (lambda net, x, y: DBN((4,), DBNConfig(hidden=())), RecipeError, "numbers of units of at least 1 as hidden"),
        (lambda net, x, y: DBN((4,), DBNConfig(hidden=(3,), classes=1)), RecipeError, "at least 2 classes, got 1"),
        (lambda net, x, y: DBN((4,), DBNConfig(visible_units="softmax")), RecipeError, "got 'softmax'"),
        (lambda net, x, y: DBN((4,), DBNConfig(hidden=(3,), steps=0)), RecipeError, "steps"),
        (lambda net, x, y: DBN((784,), DBNConfig(hidden=(10**7, 10**4))), RecipeError, "fewer components"),
        (
            lambda net, x, y: DBN((4,), DBNConfig(hidden=(3,), classes=2, visible_units="gaussian")),
            RecipeError,
            "a hidden layer between",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused_in_one_line(call, error, complaint):
    images, labels = bars(20)
    with pytest.raises(error, match=complaint) as caught:
        call(DBN((4, 4, 1), DBNConfig(hidden=(5, 4), classes=2)), images, labels)
    assert "\n" not in str(caught.value)
