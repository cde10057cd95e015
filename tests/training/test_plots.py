"""Which axes the pictures of a run have, and what they show of a search."""

from __future__ import annotations

import numpy as np
import pytest

from kapps.training import plots


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would be written."""
    figures = []
    monkeypatch.setattr(plots, "_write", lambda figure, path: figures.append(figure))
    return figures


@pytest.mark.parametrize(
    ("row", "axes"),
    [
        (
            {"loss": 1.0, "accuracy": 0.5, "val_loss": 1.1, "val_accuracy": 0.4, "learning_rate": 0.1},
            ["loss", "accuracy"],
        ),
        ({"loss": 1.0, "rpn_loss": 0.3, "val_AP50": 0.4, "val_AP": 0.2}, ["loss", "AP50"]),
        ({"loss": 1.0, "rpn_loss": 0.3}, ["loss"]),
        ({"pseudo_likelihood": -90.0, "reconstruction_error": 0.1}, ["pseudo likelihood", "reconstruction error"]),
    ],
)
def test_curves_have_an_axis_for_what_was_measured_and_no_other(drawn, tmp_path, row, axes):
    rows = [{"epoch": float(epoch), "seconds": 2.0, **row} for epoch in (1, 2)]
    plots.plot_curves(rows, tmp_path / "curves.png", title="a run")
    assert [axis.get_ylabel() for axis in drawn[0].axes] == axes
    assert all(axis.lines for axis in drawn[0].axes)


def test_a_search_is_drawn_by_places_and_over_recall(drawn, tmp_path):
    searches = {"bits": [([1.0, 0.5], [0.1, 0.2]), ([0.5, 0.5], [0.1, 0.1]), ([0.0, 0.2], [0.0, 0.1])]}
    plots.plot_search(searches, tmp_path / "search.png", title="a search")
    by_place, by_recall = drawn[0].axes
    np.testing.assert_allclose(by_place.lines[0].get_xydata(), [(1, 0.5), (2, 0.5)])
    np.testing.assert_allclose(by_recall.lines[0].get_xydata(), [(0.1, 0.5), (0.1, 0.5)])
    band = by_place.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (0, 1), "the range over the seeds"
