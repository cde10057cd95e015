"""How data becomes what TensorFlow can take; the rest of `FeatureLearner` is tested with every learner."""

from __future__ import annotations

import numpy as np
import pytest

from kapps.architectures.unsupervised.feature_learner import aligned_float32, is_aligned


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64", ">f4", "bool"])
@pytest.mark.parametrize("shape", [(1,), (7, 5), (3, 4, 5)])
def test_a_copy_is_float32_and_aligned(dtype, shape):
    data = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    copied = aligned_float32(data)
    assert copied.dtype == np.float32
    assert is_aligned(copied)
    np.testing.assert_array_equal(copied, data)
    assert not np.shares_memory(copied, data)


def test_what_is_not_contiguous_is_copied_in_its_order():
    data = np.arange(12.0).reshape(3, 4)[::-1, ::2]
    np.testing.assert_array_equal(aligned_float32(data), data)


def test_memory_is_a_tensors_only_if_it_begins_right_and_has_no_gaps():
    data = aligned_float32(np.zeros((32, 32)))
    assert is_aligned(data)
    assert not is_aligned(data[:, :16])
    assert not is_aligned(data.T)
    assert not is_aligned(data.reshape(-1)[1:])
