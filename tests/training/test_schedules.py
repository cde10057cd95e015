"""Learning-rate schedules against values computed by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kapps.training.recipe import ScheduleSpec
from kapps.training.schedules import OneCycle, Warmup, make_schedule


def rates(schedule, steps):
    return [float(schedule(step)) if callable(schedule) else schedule for step in steps]


def test_constant_is_a_number():
    assert make_schedule(ScheduleSpec(), 0.1, epochs=2, steps_per_epoch=5) == 0.1


def test_step_falls_at_the_epoch_not_one_step_later():
    schedule = make_schedule(ScheduleSpec("step", every=2, factor=0.1), 1.0, epochs=6, steps_per_epoch=10)
    np.testing.assert_allclose(rates(schedule, (0, 19, 20, 39, 40, 59)), (1, 1, 0.1, 0.1, 0.01, 0.01), rtol=1e-6)


def test_cosine_is_half_way_down_in_the_middle():
    schedule = make_schedule(ScheduleSpec("cosine", final=0.2), 1.0, epochs=1, steps_per_epoch=100)
    np.testing.assert_allclose(rates(schedule, (0, 50, 100)), (1.0, 0.6, 0.2), atol=1e-6)


def test_one_cycle_starts_low_peaks_and_ends_low():
    schedule = OneCycle(peak=2.0, steps=100, warmup=0.25, start=0.1, final=0.01)
    np.testing.assert_allclose(rates(schedule, (0, 25, 100, 200)), (0.2, 2.0, 0.02, 0.02), rtol=1e-5)
    middle_of_rise, middle_of_fall = rates(schedule, (12.5, 62.5))
    assert middle_of_rise == pytest.approx(2.0 * 0.55, rel=1e-5)
    assert middle_of_fall == pytest.approx(2.0 * (0.01 + 0.99 / 2), rel=1e-5)


def test_warmup_rises_in_a_line_and_then_follows_the_other_schedule():
    schedule = make_schedule(ScheduleSpec("cosine", warmup=1), 1.0, epochs=10, steps_per_epoch=10)
    plain = make_schedule(ScheduleSpec("cosine"), 1.0, epochs=10, steps_per_epoch=10)
    assert rates(schedule, (0,))[0] == pytest.approx(0.1)
    assert rates(schedule, (4,))[0] == pytest.approx(0.5 * rates(plain, (4,))[0])
    np.testing.assert_allclose(rates(schedule, (10, 50)), rates(plain, (10, 50)), rtol=1e-6)


@pytest.mark.parametrize("schedule", [OneCycle(1.0, 50), Warmup(0.5, 10), Warmup(OneCycle(1.0, 50), 10)])
def test_a_schedule_is_the_same_after_a_trip_through_its_config(schedule):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    np.testing.assert_allclose(rates(again, (0, 3, 20, 49)), rates(schedule, (0, 3, 20, 49)))


def test_one_cycle_refuses_an_impossible_share():
    with pytest.raises(ValueError, match="between 0 and 1"):
        OneCycle(1.0, 50, warmup=1.0)
