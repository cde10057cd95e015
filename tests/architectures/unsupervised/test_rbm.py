"""Restricted Boltzmann machines: all states added up, updates in NumPy with the same random numbers, scikit-learn."""

from __future__ import annotations

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.neural_network import BernoulliRBM

from kapps.architectures.unsupervised import rbm as module
from kapps.architectures.unsupervised.ais import exact_log_partition, log_likelihood
from kapps.architectures.unsupervised.rbm import RBM, FusedMomentum, RBMConfig
from kapps.errors import DataError, RecipeError

V, H = 10, 6


def machine(visible: int = V, hidden: int = H, **settings) -> RBM:
    """A machine whose weights are large enough to matter."""
    rbm = RBM((visible,), RBMConfig(hidden=hidden, **settings))
    rng = np.random.default_rng(3)
    rbm.W.assign(rng.normal(0, 0.7, (visible, hidden)))
    rbm.b.assign(rng.normal(0, 0.5, visible))
    rbm.c.assign(rng.normal(0, 0.5, hidden))
    return rbm


def states(units: int) -> np.ndarray:
    return np.array(list(itertools.product([0.0, 1.0], repeat=units)), np.float32)


def energies(rbm: RBM, v: np.ndarray, h: np.ndarray) -> np.ndarray:
    """E of every v with every h, float64 [len(v), len(h)], from its definition."""
    w, b, c = (weight.numpy().astype(float) for weight in (rbm.W, rbm.b, rbm.c))
    v, h = v.astype(float), h.astype(float)
    alone = np.square(v - b).sum(1) / 2 if rbm.gaussian else -v @ b
    return alone[:, None] - (h @ c)[None] - v @ w @ h.T


def bars() -> np.ndarray:
    """All 4x4 pictures of vertical or horizontal bars but the empty and the full one, [28, 4, 4, 1]."""
    rows = np.repeat(states(4)[1:-1, :, None], 4, axis=2)
    return np.concatenate([rows, rows.transpose(0, 2, 1)])[..., None]


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    return np.tile(bars(), (20, 1, 1, 1))


def learn_bars(data: np.ndarray, epochs: int = 25) -> RBM:
    config = RBMConfig(
        hidden=16,
        persistent=True,
        chains=70,
        learning_rate=0.3,
        momentum_epochs=2,
        final_momentum=0.6,
        weight_decay=0.0,
    )
    rbm = RBM((4, 4, 1), config)
    falling = keras.callbacks.LearningRateScheduler(lambda epoch: 0.3 * (1 - epoch / epochs))
    rbm.fit(data, batch_size=14, epochs=epochs, callbacks=[falling], verbose=0)
    return rbm


@pytest.fixture(scope="module")
def trained(data) -> RBM:
    return learn_bars(data)


# --- equations


@pytest.mark.parametrize("visible_units", ["bernoulli", "gaussian"])
def test_free_energy_and_hidden_probabilities_are_those_of_all_states(visible_units):
    rbm, h = machine(visible_units=visible_units), states(H)
    v = states(V) if visible_units == "bernoulli" else np.random.default_rng(0).normal(size=(50, V)).astype("float32")
    weights = np.exp(-energies(rbm, v, h))
    np.testing.assert_allclose(rbm.free_energy(v), -np.log(weights.sum(1)), atol=1e-5)
    expected = (weights / weights.sum(1, keepdims=True)) @ h
    np.testing.assert_allclose(rbm.hidden_probabilities(v), expected, atol=1e-6)


def test_visible_probabilities_are_those_of_all_states():
    rbm, v, h = machine(), states(V), states(H)
    weights = np.exp(-energies(rbm, v, h)).T
    np.testing.assert_allclose(rbm.visible_mean(h), (weights / weights.sum(1, keepdims=True)) @ v, atol=1e-6)


def test_gaussian_units_are_normal_around_their_mean():
    """exp(-E) is a normal density in v: from its mean, the energy rises by half the squared distance any way."""
    rbm, h = machine(visible_units="gaussian"), states(H)[[5, 60]]
    mean = rbm.visible_mean(h).numpy()
    for step in np.random.default_rng(1).normal(size=(5, V)):
        rise = np.diag(energies(rbm, mean + step, h)) - np.diag(energies(rbm, mean, h))
        np.testing.assert_allclose(rise, np.square(step).sum() / 2, rtol=1e-4)


def test_samples_of_gaussian_units_have_variance_one():
    m = tf.constant(np.tile([[-3.0, 0, 5]], (20_000, 1)), tf.float32)
    drawn = machine(3, 2, visible_units="gaussian").sample_visible(m).numpy()
    np.testing.assert_allclose(drawn.mean(0), [-3, 0, 5], atol=0.05)
    np.testing.assert_allclose(drawn.std(0), 1, atol=0.03)


def test_gibbs_sampling_ends_in_the_distribution_of_the_machine():
    rbm, v = machine(3, 2), states(3)
    p = np.exp(-energies(rbm, v, states(2))).sum(1)
    drawn = rbm.gibbs(np.zeros((20_000, 3), np.float32), steps=20)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    frequencies = np.bincount((drawn @ [4, 2, 1]).astype(int), minlength=8) / len(drawn)
    np.testing.assert_allclose(frequencies, p / p.sum(), atol=0.015)


def test_pseudo_likelihood_is_scikit_learns():
    rbm, v = machine(), states(V)[::7]
    theirs = BernoulliRBM(H, random_state=11)
    theirs.components_, theirs.intercept_hidden_ = rbm.W.numpy().T.astype(float), rbm.c.numpy().astype(float)
    theirs.intercept_visible_ = rbm.b.numpy().astype(float)
    units = np.random.RandomState(11).randint(0, V, len(v))  # what it draws first
    ours = rbm._pseudo_likelihood(tf.constant(v), tf.constant(units, tf.int32))
    np.testing.assert_allclose(ours, theirs.score_samples(v), atol=1e-4)


def test_score_samples_draws_every_unit():
    rbm, v = machine(), states(V)[300:301]
    each = rbm._pseudo_likelihood(tf.repeat(v, V, axis=0), tf.range(V)).numpy()
    scores = rbm.score_samples(np.repeat(v, 500, axis=0), batch_size=400)
    nearest = np.abs(scores[:, None] - each[None])
    assert nearest.min(1).max() < 1e-4
    assert set(nearest.argmin(1)) == set(range(V))


# --- learning


class Oracle:
    """The update in NumPy, float64, with the random numbers that the machine is about to draw."""

    def __init__(self, rbm: RBM):
        self.rbm, self.config = rbm, rbm.config
        self.w, self.b, self.c = (weight.numpy().astype(float) for weight in (rbm.W, rbm.b, rbm.c))
        self.seed, self.drawn = rbm.seeds.state.numpy().tolist()
        self.speed = [np.zeros_like(weight) for weight in (self.w, self.b, self.c)]
        self.chains = np.zeros((self.config.chains, H))
        self.activity = np.full(H, self.config.sparsity_target or 0.0)

    def sample(self, p: np.ndarray) -> np.ndarray:
        uniform = tf.random.stateless_uniform(p.shape, [self.seed, self.drawn]).numpy()
        self.drawn += 1
        return (uniform < p).astype(float)

    def up(self, v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(v @ self.w + self.c)))

    def down(self, h: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(h @ self.w.T + self.b)))

    def update(self, v: np.ndarray) -> None:
        config = self.config
        v = self.sample(v) if config.binarise else v
        h = self.up(v)
        states_of_hidden = self.chains if config.persistent else self.sample(h)
        for step in range(config.steps):
            v_model = self.sample(self.down(states_of_hidden))
            h_model = self.up(v_model)
            if config.persistent or step < config.steps - 1:
                states_of_hidden = self.sample(h_model)
        self.chains = states_of_hidden
        if config.sparsity_cost:
            self.activity = 0.9 * self.activity + 0.1 * h.mean(0)
            h = h - config.sparsity_cost * (self.activity - config.sparsity_target)
        rises = (
            v.T @ h / len(v) - v_model.T @ h_model / len(v_model) - config.weight_decay * self.w,
            v.mean(0) - v_model.mean(0),
            h.mean(0) - h_model.mean(0),
        )
        for speed, weight, rise in zip(self.speed, (self.w, self.b, self.c), rises, strict=True):
            speed[:] = config.final_momentum * speed + config.learning_rate * rise
            weight += speed


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 1},
        {"steps": 3, "weight_decay": 0.01, "momentum": 0.0, "final_momentum": 0.0},
        {"persistent": True, "chains": 9},
        {"persistent": True, "chains": 4, "steps": 2, "binarise": True},
        {"sparsity_target": 0.1, "sparsity_cost": 0.5},
    ],
    ids=lambda settings: ",".join(settings),
)
def test_updates_are_those_of_the_oracle(settings):
    rbm = machine(learning_rate=0.1, **settings)
    rbm.compile(optimizer=rbm.default_optimizer())
    rbm.optimizer.build(rbm.trainable_variables)
    oracle = Oracle(rbm)
    batch = np.random.default_rng(5).random((8, V), dtype="float32")
    for _ in range(3):
        rbm.train_step(batch)
        oracle.update(batch.astype(float))
        oracle.drawn += 1  # the units of the pseudo-likelihood
    for ours, expected in ((rbm.W, oracle.w), (rbm.b, oracle.b), (rbm.c, oracle.c)):
        np.testing.assert_allclose(ours.numpy(), expected, atol=2e-6)
    if rbm.config.persistent:
        np.testing.assert_array_equal(rbm.fantasies.numpy(), oracle.chains)


def test_gaussian_machines_learn_from_standardised_data():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(1000, 1))
    x = (hidden * [1, -1, 1, 1] + 0.3 * rng.normal(size=(1000, 4))) * [1, 10, 100, 0.1] + [5, 0, -50, 1]
    rbm = RBM((4,), RBMConfig(hidden=4, visible_units="gaussian", learning_rate=0.02))
    errors = rbm.fit(x, epochs=8, batch_size=50, verbose=0).history["reconstruction_error"]
    np.testing.assert_allclose(rbm.mean.numpy(), x.mean(0), rtol=1e-4)
    np.testing.assert_allclose(rbm.deviation.numpy(), x.std(0), rtol=1e-4)
    # One factor explains nine tenths: tied to their mean alone, the columns would be missed by their variance, 1.
    assert errors[0] > 0.8
    assert errors[-1] < 0.5
    again = rbm.inverse_transform(rbm.transform(x))
    assert all(np.corrcoef(again[:, i], x[:, i])[0, 1] > 0.85 for i in range(4))
    assert rbm.gibbs(x[:5], steps=2).shape == (5, 4)
    assert rbm.sample(3, steps=2).shape == (3, 4)


def test_learning_raises_the_likelihood_of_the_data(trained, data):
    """28 pictures in 65,536: the best is log(1 / 28) = -3.3, independent pixels have -11.1."""
    log_z = exact_log_partition(trained)
    assert log_likelihood(trained, bars(), log_z).mean() > -5.5
    drawn = trained.gibbs(bars(), steps=50)
    right = (drawn[:, None] == bars()[None]).all((2, 3, 4)).any(1)
    assert right.mean() > 0.4  # of pictures drawn at random, one in two thousand is
    assert trained.history.history["pseudo_likelihood"][-1] > trained.history.history["pseudo_likelihood"][0] + 1
    assert trained.history.history["reconstruction_error"][-1] < trained.history.history["reconstruction_error"][0] / 2


def test_a_seeded_run_is_reproduced(data):
    one, again = learn_bars(data, 1), learn_bars(data, 1)
    np.testing.assert_allclose(again.W.numpy(), one.W.numpy(), atol=1e-5)
    assert again.history.history["pseudo_likelihood"] == pytest.approx(one.history.history["pseudo_likelihood"])


def test_fingerprint():
    rbm = RBM((28, 28, 1), RBMConfig(hidden=30, seed=7))
    x = np.random.default_rng(1943).random((60, 28, 28, 1), dtype="float32")
    rbm.fit(x, batch_size=20, epochs=2, verbose=0)
    codes = rbm.transform(x)
    assert codes.shape == (60, 30)
    assert codes.dtype == np.float32
    found = [rbm.W.numpy().std(), rbm.b.numpy().std(), rbm.c.numpy().mean(), codes.mean(), codes.std()]
    assert found == pytest.approx(FINGERPRINT, rel=2e-3, abs=1e-6)


def test_visible_biases_start_where_the_lectures_say():
    rbm = RBM((3,), RBMConfig(hidden=2))
    rbm.initialise_from([[0, 1, 0], [1, 1, 0], [1, 1, 0], [0.2, 1, 1]])
    np.testing.assert_allclose(rbm.b.numpy(), [np.log(0.55 / 0.45), np.log(999), np.log(0.25 / 0.75)], rtol=1e-5)
    np.testing.assert_array_equal(rbm.c.numpy(), 0)
    large = RBM((100,), RBMConfig(hidden=100)).W.numpy()
    assert abs(large.mean()) < 5e-4
    assert large.std() == pytest.approx(0.01, rel=0.03)


def test_only_the_first_fit_sets_the_biases(data, monkeypatch):
    rbm = RBM((4, 4, 1), RBMConfig(hidden=3))
    rbm.fit(data, verbose=0)
    monkeypatch.setattr(rbm, "initialise_from", lambda x: pytest.fail("set again"))
    rbm.fit(data, verbose=0)
    assert int(rbm.optimizer.iterations.numpy()) == 12  # 560 examples in batches of 100


def test_an_epoch_sees_every_example_once(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_BYTES", 4 * 30)  # three batches of ten numbers
    rbm = RBM((1,), RBMConfig(hidden=2))
    rbm.compile(optimizer=rbm.default_optimizer())
    numbers = np.arange(74, dtype=np.float32)[:, None] / 100
    blocks = rbm._blocks(numbers, 10, shuffle=True)
    first, again = (list(blocks.as_numpy_iterator()) for _ in range(2))
    rbm.optimizer.iterations.assign(8)
    second = list(blocks.as_numpy_iterator())
    assert [block.shape for block in first] == [(3, 10, 1), (3, 10, 1), (1, 10, 1), (1, 4, 1)]
    assert len(blocks) == 4
    orders = [np.concatenate([block.ravel() for block in blocks]) for blocks in (first, second)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), numbers.ravel())
    assert (orders[0] != orders[1]).any()
    np.testing.assert_array_equal(np.concatenate([block.ravel() for block in again]), orders[0])
    in_order = rbm._blocks(numbers, 10, shuffle=False).as_numpy_iterator()
    np.testing.assert_array_equal(np.concatenate([block.ravel() for block in in_order]), numbers.ravel())


def test_a_stream_with_labels_teaches_like_an_array(data):
    rbm = RBM((4, 4, 1), RBMConfig(hidden=12, learning_rate=0.2, momentum_epochs=1))
    stream = tf.data.Dataset.from_tensor_slices((data, np.zeros(len(data)))).shuffle(560, seed=0).batch(20)
    rows = rbm.fit(stream, epochs=6, verbose=0, validation_data=stream).history
    assert int(rbm.optimizer.iterations.numpy()) == 6 * 28
    assert rows["reconstruction_error"][-1] < 0.7 * rows["reconstruction_error"][0]
    # Of a batch, training measures an eighth, after the update; the validation all of it.
    assert rows["val_reconstruction_error"][-1] == pytest.approx(rows["reconstruction_error"][-1], abs=0.04)


def test_momentum_changes_with_the_epoch_and_other_optimizers_serve(data):
    rbm = RBM((4, 4, 1), RBMConfig(hidden=3, momentum_epochs=2))
    seen: list[float] = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(float(self.model.optimizer.current_momentum.numpy()))

    rbm.fit(data, epochs=3, verbose=0, callbacks=[Watch(), keras.callbacks.LearningRateScheduler(lambda _: 0.01)])
    assert seen == pytest.approx([0.5, 0.5, 0.9])
    assert float(rbm.optimizer.learning_rate.numpy()) == pytest.approx(0.01)
    other = RBM((4, 4, 1), RBMConfig(hidden=3))
    other.compile(optimizer=keras.optimizers.Adam(0.01))
    before = other.W.numpy()
    other.fit(data, verbose=0)
    assert np.abs(other.W.numpy() - before).max() > 0.005


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_fused_momentum_is_keras_sgd(momentum, nesterov):
    start = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    results = []
    for optimizer in (
        FusedMomentum(0.1, momentum, nesterov=nesterov),
        keras.optimizers.SGD(0.1, momentum, nesterov=nesterov),
    ):
        weight = keras.Variable(start)
        for step in range(4):
            optimizer.apply([tf.constant(start * step)], [weight])
        results.append(weight.numpy())
    np.testing.assert_allclose(*results, rtol=1e-5)


# --- what it is used with


def test_saved_and_loaded(trained, data, tmp_path):
    trained.save(tmp_path / "rbm.keras")
    loaded = keras.models.load_model(tmp_path / "rbm.keras")
    assert loaded.config == trained.config
    np.testing.assert_array_equal(loaded.transform(data[:9]), trained.transform(data[:9]))
    np.testing.assert_array_equal(loaded.fantasies.numpy(), trained.fantasies.numpy())
    assert loaded.fantasies.numpy().any()
    assert float(loaded.optimizer.current_momentum.numpy()) == pytest.approx(0.6)
    begun = int(loaded.optimizer.iterations.numpy())
    loaded.fit(data, batch_size=280, verbose=0)
    assert int(loaded.optimizer.iterations.numpy()) == begun + 2


def test_encoder_and_components(trained, data):
    encoder = trained.encoder()
    np.testing.assert_allclose(encoder(data[:5]), trained.transform(data[:5]), atol=1e-6)
    assert trained.components_.shape == (16, 4, 4, 1)
    np.testing.assert_array_equal(trained.components_[3].ravel(), trained.W.numpy()[:, 3])
    again = trained.inverse_transform(trained.transform(data[:28]))
    assert again.shape == (28, 4, 4, 1)
    assert np.square(again - data[:28]).mean() < 0.1
    samples = trained.sample(6, steps=20)
    assert samples.shape == (6, 4, 4, 1)
    assert samples.min() >= 0
    assert samples.max() <= 1


@pytest.mark.parametrize("name", module.VARIANTS)
def test_variants(name):
    config = module.VARIANTS[name]
    learner = module.LEARNER((8, 8, 1), dataclasses.replace(config, hidden=16))
    x = np.random.default_rng(0).random((40, 8, 8, 1), dtype="float32")
    learner.fit(x, batch_size=10, epochs=2, verbose=0)
    assert np.isfinite(learner.transform(x)).all()
    assert learner.count_params() == 64 * 16 + 64 + 16 + (2 * 64 if name == "gaussian_rbm" else 0)


# --- what is refused


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"hidden": 0}, "at least 1 hidden unit as hidden, got 0"),
        ({"visible_units": "binary"}, "'bernoulli' or 'gaussian' as visible_units, got 'binary'"),
        ({"steps": 0}, "as steps, got 0"),
        ({"persistent": True, "chains": 0}, "as chains, got 0"),
        ({"learning_rate": 0.0}, "a positive number as learning_rate, got 0.0"),
        ({"learning_rate": float("nan")}, "as learning_rate, got nan"),
        ({"momentum": 1.0}, "as momentum, got 1.0"),
        ({"final_momentum": -0.1}, "as final_momentum, got -0.1"),
        ({"momentum_epochs": -1}, "as momentum_epochs, got -1"),
        ({"weight_decay": -1e-4}, "as weight_decay, got -0.0001"),
        ({"sparsity_target": 1.0, "sparsity_cost": 1.0}, "as sparsity_target, got 1.0"),
        ({"sparsity_cost": 0.1}, "0 where sparsity_target is None as sparsity_cost, got 0.1"),
        ({"visible_units": "gaussian", "binarise": True}, "False for Gaussian units as binarise, got True"),
        ({"seed": -1}, "as seed, got -1"),
        ({"hidden": 10**12}, "take fewer components"),
    ],
)
def test_wrong_configs(settings, line):
    with pytest.raises(RecipeError) as caught:
        RBM((4,), RBMConfig(**settings))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("x", "line"),
    [
        (np.full((5, 4), 1.5), "expected numbers from 0 to 1, got 1.5 to 1.5"),
        (np.array([[0, 1, np.nan, 0], [0, 1, 1, 0]]), "got NaN or infinity in 1 of 2 examples"),
        (np.zeros((1, 4)), "at least 2 examples to learn from, got 1"),
        (np.zeros((5, 3)), "expected data [N, 4], got [5, 3]"),
        (np.array([["a"] * 4] * 2), "expected numbers"),
        (tf.data.Dataset.from_tensor_slices(np.zeros((4, 3), np.float32)).batch(2), "expected data [N, 4], got [2, 3]"),
        (tf.data.Dataset.from_tensor_slices(np.zeros((0, 4), np.float32)).batch(2), "a stream with batches in it"),
    ],
)
def test_wrong_data(x, line):
    with pytest.raises(DataError) as caught:
        RBM((4,), RBMConfig(hidden=2)).fit(x, verbose=0)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_calls():
    rbm, gaussian = machine(), machine(visible_units="gaussian")
    x = np.random.default_rng(0).normal(size=(20, V))
    x[:, [2, 7]] = 3.3
    for call, error, line in (
        (lambda: gaussian.initialise_from(x), DataError, "got 2 constant ones of 10"),
        (lambda: RBM((V,), gaussian.config).fit(x, verbose=0), DataError, "got 2 constant ones of 10"),
        (lambda: gaussian.score_samples(x), RecipeError, "got Gaussian ones"),
        (lambda: rbm.gibbs(states(V)[:2], steps=0), RecipeError, "at least 1 step"),
        (lambda: rbm.sample(0), RecipeError, "got 0 samples"),
        (lambda: rbm.fit(states(V), batch_size=-1, verbose=0), RecipeError, "batches of at least 1 example, got -1"),
        (lambda: rbm.transform(2 * states(V)), DataError, "from 0 to 1"),
    ):
        with pytest.raises(error, match=line):
            call()


# Of weights and codes after training on noise: changes only where the learning or its random numbers do.
FINGERPRINT = [0.0127658, 0.15063, -0.00949211, 0.12775, 0.0266738]
