"""The partition function of a restricted Boltzmann machine: annealed importance sampling, and counting.

Idea: the machine's Z is unknown, that of a machine without weights is not. Chains are led from the one to the other
over many machines in between, and what they gain on the way is, on average, the ratio of the two.

    in between, b' of 0 to 1    log f(v) = (1 - b') a.v + b' b.v + sum_j softplus(b' (c_j + (v W)_j))
    at b' = 0                   log Z_0 = sum_i softplus(a_i) + H log 2
    a chain's weight            log w = sum_k log f_k(v_k) - log f_(k-1)(v_k), v_(k+1) drawn with one Gibbs step of f_k
    the estimate                log Z = log Z_0 + log mean w; its error is that of a mean of independent weights

The base biases `a` are those of the data's means: the nearer f_0 is to the machine, the less the weights differ. For
Gaussian units a.v and b.v are -|v - a|^2 / 2 and -|v - b|^2 / 2, and softplus(a_i) is log(2 pi) / 2.

Papers: Neal: "Annealed importance sampling", Statistics and Computing 11, 2001. Salakhutdinov, Murray: "On the
quantitative analysis of deep belief networks", ICML 2008: section 4.1, eq. 14 to 18 and the 14,500 steps of section 6.

Deviations: Gaussian units, which the paper does not treat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kapps.architectures.unsupervised.rbm import RBM
from kapps.errors import RecipeError

# Counting takes 2^units states.
_MOST_UNITS = 20

# States that are counted at a time.
_AT_A_TIME = 2**14

# Means of the data are drawn towards 1/2 by so much, as if a twentieth of an example more were on and off each.
_SMOOTHING = 0.05


@dataclass(frozen=True)
class LogPartition:
    """An estimate of log Z in nats.

    Attributes:
        value: log of the mean of the chains' estimates of Z.
        low: the log of three standard errors less; -inf where that is not positive.
        high: the log of three standard errors more.
        effective_chains: so many chains of equal weight would tell as much; few of many, and the error is not to be
            trusted.
    """

    value: float
    low: float
    high: float
    effective_chains: float


def paper_betas(scale: float = 1.0) -> np.ndarray:
    """The steps of Salakhutdinov and Murray: 500 up to 0.5, 4,000 up to 0.9, 10,000 up to 1.

    Args:
        scale: takes so many times as many.
    """
    counts = [max(1, round(count * scale)) for count in (500, 4000, 10_000)]
    ends = (0.0, 0.5, 0.9, 1.0)
    parts = [
        np.linspace(low, high, count, endpoint=False)
        for low, high, count in zip(ends[:-1], ends[1:], counts, strict=True)
    ]
    return np.append(np.concatenate(parts), 1.0)


def log_partition(
    rbm: RBM,
    *,
    data: Any = None,
    chains: int = 100,
    betas: Sequence[float] | np.ndarray | None = None,
    seed: int = 0,
) -> LogPartition:
    """An estimate of log Z by annealed importance sampling.

    Args:
        rbm: any machine.
        data: examples [N, *data_shape] whose means give the base biases; without, they are the machine's own, which
            serves where its weights are small.
        chains: independent ones; the error falls with their root.
        betas: rising from 0 to 1; None = `paper_betas()`. The more, the less the chains' weights differ.
        seed: of the sampling.

    Raises:
        RecipeError: fewer than 2 chains, or betas that do not rise from 0 to 1.
        DataError: as `rbm.fit`.
    """
    steps = np.asarray(paper_betas() if betas is None else betas, "float64")
    if chains < 2:
        raise RecipeError(f"expected at least 2 chains, as their differences give the error, got {chains}")
    if steps.ndim != 1 or len(steps) < 2 or steps[0] != 0 or steps[-1] != 1 or not (np.diff(steps) > 0).all():
        raise RecipeError("expected betas that rise from 0 to 1, got others: see paper_betas")
    base = rbm.b.numpy() if data is None else _base_biases(rbm, data)
    logs = _log_weights(
        tf.convert_to_tensor(rbm.W),
        tf.convert_to_tensor(rbm.b),
        tf.convert_to_tensor(rbm.c),
        tf.constant(base, tf.float32),
        tf.constant(steps, tf.float32),
        tf.constant(seed, tf.int64),
        chains=chains,
        gaussian=rbm.gaussian,
    ).numpy()
    visible, hidden = rbm.W.shape
    of_visible = visible * math.log(2 * math.pi) / 2 if rbm.gaussian else np.logaddexp(0, base.astype("float64")).sum()
    weights = np.exp(logs - logs.max())
    value = float(of_visible + hidden * math.log(2) + logs.max() + np.log(weights.mean()))
    error = float(weights.std(ddof=1) / weights.mean() / math.sqrt(chains))
    return LogPartition(
        value=value,
        low=value + math.log1p(-3 * error) if 3 * error < 1 else -math.inf,
        high=value + math.log1p(3 * error),
        effective_chains=float(weights.sum() ** 2 / np.square(weights).sum()),
    )


def exact_log_partition(rbm: RBM) -> float:
    """log Z in nats, by adding up all states of the smaller side in float64.

    Raises:
        RecipeError: more than 20 units there. The visible ones of a Gaussian machine cannot be counted.
    """
    w, b, c = (weight.numpy().astype("float64") for weight in (rbm.W, rbm.b, rbm.c))
    visible, hidden = w.shape
    over_hidden = rbm.gaussian or hidden <= visible
    units = hidden if over_hidden else visible
    if units > _MOST_UNITS:
        raise RecipeError(
            f"expected at most {_MOST_UNITS} {'hidden' if over_hidden else 'visible'} units to count their states, got "
            f"{units}: estimate with log_partition"
        )
    total = -math.inf
    for first in range(0, 2**units, _AT_A_TIME):
        numbers = np.arange(first, min(first + _AT_A_TIME, 2**units))
        states = (numbers[:, None] >> np.arange(units) & 1).astype("float64")
        if not over_hidden:
            logs = states @ b + np.logaddexp(0, states @ w + c).sum(axis=1)
        elif rbm.gaussian:
            to_visible = states @ w.T
            logs = states @ c + to_visible @ b + np.square(to_visible).sum(axis=1) / 2
            logs += visible * math.log(2 * math.pi) / 2
        else:
            logs = states @ c + np.logaddexp(0, states @ w.T + b).sum(axis=1)
        total = float(np.logaddexp(total, np.logaddexp.reduce(logs)))
    return total


def log_likelihood(rbm: RBM, x: Any, log_z: float, *, batch_size: int = 1000) -> np.ndarray:
    """log p(v) of data [N, *data_shape], float64 [N] in nats; of Gaussian units the log of a density.

    Args:
        log_z: from `log_partition(...).value` or `exact_log_partition`. An estimate of Z too small makes every example
            look too likely.

    Raises:
        DataError: as `rbm.transform`.
    """
    data = rbm.check(x, least=1)

    @tf.function(reduce_retracing=True)
    def free_energy(some: tf.Tensor) -> tf.Tensor:
        return rbm.free_energy(rbm.visible_states(some))

    starts = range(0, len(data), batch_size)
    energies = np.concatenate([free_energy(tf.constant(data[at : at + batch_size])).numpy() for at in starts])
    logs = -energies.astype("float64") - log_z
    if rbm.gaussian:  # the energy is that of the standardised data
        logs -= np.log(rbm.deviation.numpy().astype("float64")).sum()
    return logs


def _base_biases(rbm: RBM, data: Any) -> np.ndarray:
    """The visible biases of the best machine without weights, float64 [V]."""
    x = rbm.check(data, least=1)
    mean = x.reshape(len(x), -1).mean(axis=0, dtype="float64")
    if rbm.gaussian:
        return (mean - rbm.mean.numpy()) / rbm.deviation.numpy()
    mean = (mean + _SMOOTHING) / (1 + 2 * _SMOOTHING)
    return np.log(mean / (1 - mean))


@tf.function(reduce_retracing=True)
def _log_weights(
    w: tf.Tensor,
    b: tf.Tensor,
    c: tf.Tensor,
    base: tf.Tensor,
    betas: tf.Tensor,
    seed: tf.Tensor,
    *,
    chains: int,
    gaussian: bool,
) -> tf.Tensor:
    """log w of every chain, float64 [chains]."""

    def visible(inputs: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        """States drawn with random numbers of their own, [chains, V]."""
        key = tf.stack([seed, 2 * number])
        if gaussian:
            return inputs + tf.random.stateless_normal(tf.shape(inputs), key)
        return tf.cast(tf.random.stateless_uniform(tf.shape(inputs), key) < tf.sigmoid(inputs), tf.float32)

    def alone(v: tf.Tensor) -> tf.Tensor:
        """What the biases alone say of v, the machine's less the base's, [chains]."""
        if gaussian:
            return tf.reduce_sum(tf.square(v - base) - tf.square(v - b), axis=1) / 2
        return tf.linalg.matvec(v, b - base)

    v = visible(tf.tile(base[None], [chains, 1]), tf.constant(0, tf.int64))
    logs = tf.zeros([chains], tf.float64)  # many small numbers are added to a large one
    for k in tf.range(1, tf.size(betas, out_type=tf.int64)):
        before, now = betas[k - 1], betas[k]
        inputs = v @ w + c
        gain = tf.reduce_sum(tf.nn.softplus(now * inputs) - tf.nn.softplus(before * inputs), axis=1)
        logs += tf.cast(gain + (now - before) * alone(v), tf.float64)
        p = tf.sigmoid(now * inputs)
        h = tf.cast(tf.random.stateless_uniform(tf.shape(p), tf.stack([seed, 2 * k - 1])) < p, tf.float32)
        v = visible((1 - now) * base + now * (b + tf.matmul(h, w, transpose_b=True)), k)
    return logs
