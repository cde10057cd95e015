from __future__ import annotations

import numpy as np
import pytest

from kapps.tasks.unsupervised import helmholtz_digits
from kapps.tasks.unsupervised.helmholtz_digits import EXPERIMENT, independent


def test_independent_pixels_by_hand():
    train = np.array([[1, 0], [1, 1], [1, 1], [0, 1]], "float32")  # shares 3 / 4 and 3 / 4
    test = np.array([[1, 0]], "float32")
    assert independent(train, test) == pytest.approx(np.log(3 / 4) + np.log(1 / 4))


def test_a_run_measures_in_testing_what_it_did_in_training(monkeypatch, tmp_path):
    patterns = np.zeros((400, 4, 4, 1), "float32")
    patterns[::2, :2] = patterns[1::2, 2:] = 1
    monkeypatch.setattr(helmholtz_digits, "bits", lambda split, count, data_dir: patterns)
    lines = []
    result = EXPERIMENT.run("100", 0, size=3, data_dir=None, folder=tmp_path, report=lines.append)
    assert result["independent pixels"] == pytest.approx(-16 * np.log(2), rel=1e-3)
    assert result["value"] == pytest.approx(-result["history"][-1], abs=0.5)
    assert len(result["history"]) == 3
    assert len(lines) == 1
