"""Partition functions: all states added up, and annealed importance sampling within its own bounds."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from kapps.architectures.unsupervised.ais import exact_log_partition, log_likelihood, log_partition, paper_betas
from kapps.architectures.unsupervised.rbm import RBM, RBMConfig
from kapps.errors import DataError, RecipeError

BETAS = np.linspace(0, 1, 400)


def machine(visible: int, hidden: int, *, scale: float = 0.7, **settings) -> RBM:
    rbm = RBM((visible,), RBMConfig(hidden=hidden, **settings))
    rng = np.random.default_rng(4)
    rbm.W.assign(rng.normal(0, scale, (visible, hidden)) if scale else np.zeros((visible, hidden)))
    rbm.b.assign(rng.normal(0, 0.5, visible))
    rbm.c.assign(rng.normal(0, 0.5, hidden))
    return rbm


def states(units: int) -> np.ndarray:
    return np.array(list(itertools.product([0.0, 1.0], repeat=units)))


def by_hand(rbm: RBM) -> float:
    """log of the sum of exp(-E) over all pairs of states, from the definition of E."""
    w, b, c = (weight.numpy().astype(float) for weight in (rbm.W, rbm.b, rbm.c))
    v, h = states(len(b)), states(len(c))
    return float(np.log(np.exp((v @ b)[:, None] + h @ c + v @ w @ h.T).sum()))


@pytest.mark.parametrize(("visible", "hidden"), [(10, 6), (6, 10)])
def test_counting_either_side_gives_the_sum_over_all_states(visible, hidden):
    rbm = machine(visible, hidden)
    assert exact_log_partition(rbm) == pytest.approx(by_hand(rbm), abs=1e-5)


def test_counting_in_parts(monkeypatch):
    monkeypatch.setattr("kapps.architectures.unsupervised.ais._AT_A_TIME", 7)
    rbm = machine(10, 6)
    assert exact_log_partition(rbm) == pytest.approx(by_hand(rbm), abs=1e-5)


def test_counting_with_a_gaussian_unit_gives_the_integral():
    rbm = machine(1, 3, visible_units="gaussian")
    v = np.linspace(-15, 15, 3001)
    densities = np.exp(-rbm.free_energy(v[:, None].astype("float32")).numpy().astype(float))
    assert exact_log_partition(rbm) == pytest.approx(math.log(densities.sum() * (v[1] - v[0])), abs=1e-5)


@pytest.mark.parametrize("settings", [{}, {"visible_units": "gaussian"}], ids=["bernoulli", "gaussian"])
def test_estimates_are_right_within_their_bounds(settings):
    # Large Gaussian weights make a density of far modes, which no chain finds.
    rbm = machine(10, 6, scale=0.3 if settings else 0.7, **settings)
    exact = exact_log_partition(rbm)
    for seed in range(3):
        found = log_partition(rbm, chains=200, betas=BETAS, seed=seed)
        assert found.low < exact < found.high
        assert found.low < found.value < found.high < found.low + 0.5
        assert 50 < found.effective_chains <= 200


def test_chains_started_from_the_means_of_the_data_are_as_right():
    rbm = machine(10, 6)
    drawn = rbm.gibbs(np.zeros((500, 10)), steps=20)
    found = log_partition(rbm, data=drawn, chains=200, betas=BETAS)
    assert found.low < exact_log_partition(rbm) < found.high
    assert found.value != log_partition(rbm, chains=200, betas=BETAS).value


@pytest.mark.parametrize("visible_units", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("betas", [[0, 1], [0, 0.3, 1]])
def test_without_weights_the_estimate_is_exact(visible_units, betas):
    """Nothing that a chain does changes its weight: each gains sum_j softplus(c_j) - log 2 on the way."""
    rbm = machine(10, 6, scale=0, visible_units=visible_units)
    found = log_partition(rbm, chains=5, betas=betas)
    assert found.value == pytest.approx(exact_log_partition(rbm), abs=1e-5)
    assert found.high - found.low < 1e-5
    assert found.effective_chains == pytest.approx(5)


def test_the_same_seed_gives_the_same_estimate():
    rbm = machine(10, 6)
    one, again, other = (log_partition(rbm, chains=10, betas=[0, 0.5, 1], seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one.value != other.value


def test_bounds_open_where_few_chains_carry_the_weight():
    found = log_partition(machine(10, 6, scale=3.0), chains=5, betas=[0, 1])
    assert found.low == -math.inf
    assert found.value < found.high
    assert found.effective_chains < 5


def test_likelihoods_add_up_to_one():
    rbm = machine(10, 6)
    logs = log_likelihood(rbm, states(10), exact_log_partition(rbm), batch_size=300)
    assert logs.shape == (1024,)
    assert np.exp(logs).sum() == pytest.approx(1, abs=1e-5)


def test_a_gaussian_density_is_that_of_the_data_as_they_are():
    rbm = machine(1, 3, visible_units="gaussian")
    rbm.mean.assign([40.0])
    rbm.deviation.assign([5.0])
    x = np.linspace(-50, 130, 6001)
    density = np.exp(log_likelihood(rbm, x[:, None], exact_log_partition(rbm)))
    assert density.sum() * (x[1] - x[0]) == pytest.approx(1, abs=1e-4)


def test_steps_of_the_paper():
    betas = paper_betas()
    assert len(betas) == 14_501
    assert betas[0] == 0
    assert betas[-1] == 1
    assert (np.diff(betas) > 0).all()
    assert betas[500] == 0.5
    assert betas[4500] == 0.9
    assert len(paper_betas(0.01)) == 146


def test_what_is_refused():
    rbm = machine(4, 3)
    for call, error, line in (
        (lambda: log_partition(rbm, chains=1), RecipeError, "at least 2 chains"),
        (lambda: log_partition(rbm, betas=[0, 0.5]), RecipeError, "rise from 0 to 1"),
        (lambda: log_partition(rbm, betas=[0, 0.7, 0.5, 1]), RecipeError, "rise from 0 to 1"),
        (lambda: log_partition(rbm, betas=[1]), RecipeError, "rise from 0 to 1"),
        (lambda: log_partition(rbm, data=np.zeros((2, 5))), DataError, "got \\[2, 5\\]"),
        (lambda: exact_log_partition(machine(21, 21)), RecipeError, "at most 20 hidden units"),
        (lambda: exact_log_partition(machine(21, 22)), RecipeError, "at most 20 visible units"),
        (lambda: exact_log_partition(machine(2, 21, visible_units="gaussian")), RecipeError, "20 hidden units"),
        (lambda: log_likelihood(rbm, np.full((2, 4), 7.0), 0.0), DataError, "from 0 to 1"),
    ):
        with pytest.raises(error, match=line):
            call()
