from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kapps.boxes.matcher import BACKGROUND, IGNORED, match
from kapps.errors import DataError

QUALITY = np.float32(
    [
        # candidate:  0    1    2    3    4
        [0.9, 0.5, 0.2, 0.0, 0.4],
        [0.1, 0.6, 0.2, 0.0, 0.4],
        [0.0, 0.0, 0.25, 0.0, 0.0],
    ]
)


def test_hand_computed_case():
    # 0.9 and 0.6 are matches; 0.25 and 0 background; 0.4 is between
    np.testing.assert_array_equal(match(QUALITY, 0.6, 0.3), [0, 1, BACKGROUND, BACKGROUND, IGNORED])
    # both thresholds the same: nothing is ignored, and a quality at the threshold is a match
    np.testing.assert_array_equal(match(QUALITY, 0.4, 0.4), [0, 1, BACKGROUND, BACKGROUND, 0])


def test_no_true_box_that_touches_a_candidate_is_lost():
    found = match(QUALITY, 0.7, 0.3, allow_low_quality_matches=True)
    np.testing.assert_array_equal(found, [0, 1, 2, BACKGROUND, IGNORED])
    # a true box that touches nothing takes nobody, though all candidates are equally bad for it
    untouched = np.float32([[0.9, 0.1, 0.0], [0.0, 0.0, 0.0]])
    found = match(untouched, 0.7, 0.3, allow_low_quality_matches=True)
    np.testing.assert_array_equal(found, [0, BACKGROUND, BACKGROUND])
    # all candidates that tie are taken, each for its own best box: candidate 0 stays with box 0
    tied = np.float32([[0.8, 0.0, 0.0], [0.5, 0.5, 0.5]])
    found = match(tied, 0.7, 0.3, allow_low_quality_matches=True)
    np.testing.assert_array_equal(found, [0, 1, 1])


@pytest.mark.parametrize("low_quality", [False, True])
def test_a_batch_with_padding_and_images_without_boxes(low_quality):
    quality = np.stack([QUALITY, QUALITY])
    valid = np.array([[True, True, False], [False, False, False]])
    function = tf.function(
        lambda quality, valid: match(quality, 0.7, 0.3, valid=valid, allow_low_quality_matches=low_quality),
        input_signature=[tf.TensorSpec((None, None, None)), tf.TensorSpec((None, None), tf.bool)],
    )
    first = match(QUALITY[:2], 0.7, 0.3, allow_low_quality_matches=low_quality)
    np.testing.assert_array_equal(function(quality, valid), [first, [BACKGROUND] * 5])
    np.testing.assert_array_equal(function(quality[:, :0], valid[:, :0]), [[BACKGROUND] * 5] * 2)
    assert function(quality[:, :, :0], valid).shape == (2, 0)


def test_thresholds_the_wrong_way_round():
    with pytest.raises(DataError, match=r"expected low at most high, found low 0.7 and high 0.3"):
        match(QUALITY, 0.3, 0.7)
