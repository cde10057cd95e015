from __future__ import annotations

import numpy as np
import pytest

from kapps.errors import DataError
from kapps.tasks.segmentation.refine import refine


def halves():
    """A black and a white half, and scores that are sure of them but for a few pixels in the wrong one."""
    image = np.zeros((1, 16, 16, 3), np.float32)
    image[:, :, 8:] = 1
    truth = (image[0, :, :, 0] > 0.5).astype(int)
    scores = 1.0 * np.eye(2, dtype=np.float32)[truth][np.newaxis]
    scores[0, 3, 2], scores[0, 12, 13] = scores[0, 3, 2, ::-1].copy(), scores[0, 12, 13, ::-1].copy()
    return scores, image, truth


def test_labels_follow_the_image():
    scores, image, truth = halves()
    assert (scores[0].argmax(-1) != truth).sum() == 2
    probabilities = refine(scores, image)
    np.testing.assert_array_equal(probabilities[0].argmax(-1), truth)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)


def test_an_image_of_one_colour_is_no_trouble():
    scores, image, _ = halves()
    assert np.isfinite(refine(scores, np.zeros_like(image))).all()


@pytest.mark.parametrize("options", [{"reach": 0.0}, {"iterations": 0}])
def test_what_the_crf_cannot_use_is_refused(options):
    scores, image, _ = halves()
    with pytest.raises(DataError, match="DenseCRF"):
        refine(scores, image, **options)
    with pytest.raises(DataError, match="same height and width"):
        refine(scores[:, :8], image)
