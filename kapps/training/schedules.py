"""Learning-rate schedules, counted in optimiser steps."""

from __future__ import annotations

import math

import keras
from keras import ops

from kapps.training.recipe import ScheduleSpec


@keras.saving.register_keras_serializable("kapps")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Smith 2018, "A disciplined approach to neural network hyper-parameters", with cosine legs.

    The rate rises from `start * peak` to `peak` over the first `warmup` share of the steps and falls to `final * peak`
    at the end.

    Args:
        peak: the largest rate.
        steps: all steps of the run.
        warmup: share of the steps spent rising, in (0, 1).
        start, final: first and last rate as shares of the peak.
    """

    def __init__(self, peak: float, steps: int, warmup: float = 0.3, start: float = 0.04, final: float = 0.0):
        super().__init__()
        if not 0 < warmup < 1:
            raise ValueError(f"one_cycle takes a warmup share between 0 and 1, got {warmup}: try 0.3")
        self.peak, self.steps, self.warmup, self.start, self.final = peak, steps, warmup, start, final

    def __call__(self, step):
        position = ops.cast(step, "float32") / max(self.steps, 1)
        rising = position / self.warmup
        falling = ops.minimum((position - self.warmup) / (1 - self.warmup), 1.0)
        up = self.start + (1 - self.start) * 0.5 * (1 - ops.cos(math.pi * rising))
        down = self.final + (1 - self.final) * 0.5 * (1 + ops.cos(math.pi * falling))
        return self.peak * ops.where(position < self.warmup, up, down)

    def get_config(self):
        return {
            "peak": self.peak,
            "steps": self.steps,
            "warmup": self.warmup,
            "start": self.start,
            "final": self.final,
        }


@keras.saving.register_keras_serializable("kapps")
class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise from zero over `steps`, then another schedule (Goyal et al. 2017, sec. 2.2)."""

    def __init__(self, after: float | keras.optimizers.schedules.LearningRateSchedule, steps: int):
        super().__init__()
        self.after, self.steps = after, steps

    def __call__(self, step):
        after = self.after(step) if callable(self.after) else self.after
        return after * ops.minimum(1.0, (ops.cast(step, "float32") + 1.0) / self.steps)

    def get_config(self):
        return {"after": keras.saving.serialize_keras_object(self.after), "steps": self.steps}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["after"]), config["steps"])


def make_schedule(
    spec: ScheduleSpec, peak: float, *, epochs: int, steps_per_epoch: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate as Keras takes it: a number or a schedule over optimiser steps.

    Args:
        spec: what the recipe says.
        peak: the largest rate.
        epochs, steps_per_epoch: the length of the run.
    """
    total = epochs * steps_per_epoch
    if spec.name == "one_cycle":
        return OneCycle(peak, total, warmup=spec.warmup or 0.3, final=spec.final)
    schedule: float | keras.optimizers.schedules.LearningRateSchedule = peak
    if spec.name == "step":
        every = max(1, round(spec.every * steps_per_epoch))
        boundaries = list(range(every, total, every))
        if boundaries:
            values = [peak * spec.factor**index for index in range(len(boundaries) + 1)]
            schedule = keras.optimizers.schedules.PiecewiseConstantDecay([b - 1 for b in boundaries], values)
    elif spec.name == "cosine":
        schedule = keras.optimizers.schedules.CosineDecay(peak, total, alpha=spec.final)
    if spec.warmup:
        schedule = Warmup(schedule, max(1, round(spec.warmup * steps_per_epoch)))
    return schedule
