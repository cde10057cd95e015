from __future__ import annotations

import numpy as np
import pytest

from kapps.architectures.unsupervised.space_time_dbn import SpaceTimeDBNConfig
from kapps.tasks.unsupervised import space_time
from kapps.tasks.unsupervised.space_time import CASES, EXPERIMENT, within


def test_variance_within_films_by_hand():
    # film means 1 and 3; each film's two times lie 1 around its mean: total variance 2, within 1
    codes = np.array([[[0.0], [2.0]], [[2.0], [4.0]]])
    assert within(codes) == pytest.approx(0.5)
    assert within(np.repeat(codes.mean(axis=1, keepdims=True), 2, axis=1)) == 0
    assert within(np.zeros((3, 2, 4))) == 0


@pytest.fixture
def small(monkeypatch):
    def config(seed):
        return SpaceTimeDBNConfig(
            filters=(3, 4),
            kernels=(9, 3),
            pools=(3, 2),
            learning_rates=(0.1, 0.1),
            sparsity_targets=(0.05, 0.05),
            seed=seed,
        )

    films = space_time.films
    monkeypatch.setattr(space_time, "SpaceTimeDBNConfig", config)
    monkeypatch.setattr(space_time, "films", lambda split, count: films(split, 40))
    monkeypatch.setattr(space_time, "EPOCHS", (1, 1))


@pytest.mark.parametrize("case", ["pixels", *(pytest.param(case, marks=pytest.mark.slow) for case in CASES[1:])])
def test_a_run(small, case, tmp_path):
    lines = []
    result = EXPERIMENT.run(case, 0, data_dir=None, folder=tmp_path, report=lines.append)
    assert 0 <= result["value"] <= 1
    assert 0 <= result["parts"]["motion accuracy"] <= 1
    assert 0 < result["parts"]["variance within films"] < 1
    assert (
        result["numbers a film"]
        == {
            "pixels": 12 * 32 * 32,
            "convolutional DBN, frame by frame": 12 * 8 * 8 * 3,
            "space-time DBN": 5 * 8 * 8 * 4,
        }[case]
    )
    assert len(lines) == {"pixels": 1, "convolutional DBN, frame by frame": 2, "space-time DBN": 3}[case]


def test_films_have_both_labels():
    pixels, digits, motions = space_time.films("test", 40)
    assert pixels.shape == (40, 12, 32, 32, 1)
    assert pixels.max() <= 1
    assert digits.max() > 6
    assert motions.max() == 6
