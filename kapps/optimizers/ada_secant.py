"""AdaSecant: a learning rate for each weight, estimated from how its gradient answered to its last steps."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

# What is remembered of each weight. E[.] is a moving average with the weight's own memory.
_STATE = (
    "memory",  # tau: how many steps the moving averages look back
    "gradient",  # g of the last step, normalised
    "corrected_gradient",  # g~ of the last step
    "mean_gradient",  # E[g]
    "mean_square_gradient",  # E[g^2]
    "mean_change",  # E[alpha], alpha = g - last g
    "mean_square_change",  # E[alpha^2]
    "mean_step",  # E[Delta], Delta = the weight's step
    "mean_square_step",  # E[Delta^2]
    "mean_step_change",  # E[Delta alpha]
    "gamma_numerator",  # E[((g - g') (g - E[g]))^2], g' = last g~
    "gamma_denominator",  # E[((g - E[g]) (g' - E[g]))^2]
)

_OUTLIER_MEMORY = 2.2  # tau at the start and after an outlier
_MEMORY_RANGE = (1.5, 1e7)  # above 1, where an average would be the last value alone; bounded for float32
_OUTLIER_DEVIATIONS = 2.0  # an outlier is further than this many standard deviations from its mean


@keras.saving.register_keras_serializable("kapps")
class AdaSecant(keras.optimizers.Optimizer):
    """AdaSecant, which needs no tuned learning rate.

    Gulcehre, Bengio: "ADASECANT: Robust Adaptive Secant Method for Stochastic Gradient", arXiv:1412.7419 (2014);
    extended as Gulcehre, Sotelo, Moczulski, Bengio: "A Robust Adaptive Stochastic Gradient Method for Deep Learning",
    arXiv:1703.00788 (2017). Algorithm 1, step by step in `update_step`:

    1. each variable's gradient is normalised to length 1;
    2. its noise is reduced by pulling it towards its mean, by as much as two successive gradients disagree;
    3. each weight's learning rate is a secant estimate: size of its steps over size of its gradient's changes;
    4. each weight's averages have their own memory tau, which grows while the steps have no common direction, shrinks
       to follow when they have one, and is reset by an outlier.

    Deviations: the moving averages of g and g^2 also use tau, not a fixed rate (one constant less and, on small
    networks, slightly better); the learning rate of a weight is cut off at 0. As in the authors' code, gamma is
    a ratio of root mean squares and cut off at 1.8, and Cov(alpha, Delta) is not centred and pairs a step with the
    change of the gradient just before it (centred or paired with the change just after it, training is slower or
    unstable).

    Twelve numbers a weight are kept (Adam: two).

    Because of step 1 a gradient's length says nothing here: `clipnorm` and `global_clipnorm` change nothing, but
    `clipvalue` does. `weight_decay` is multiplied by `learning_rate` as everywhere in Keras, and so should be about a
    thousand times smaller than beside Adam's 0.001.

    Args:
        learning_rate: factor on all steps; float or `keras.optimizers.schedules.LearningRateSchedule`. It does not
            enter the estimates, so that a schedule does not work against them.
        gamma_clip: most weight that the mean gradient gets against the gradient itself; 0 turns step 2 off.
        epsilon: small constant that keeps the quotients finite.
        weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum, ema_overwrite_frequency,
        loss_scale_factor, gradient_accumulation_steps, name: as in every Keras optimiser.

    Raises:
        ValueError: `gamma_clip` is negative, or `epsilon` is not above 0.
    """

    def __init__(
        self,
        learning_rate: Any = 1.0,
        gamma_clip: float = 1.8,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str = "ada_secant",
        **kwargs: Any,
    ):
        if not gamma_clip >= 0:
            raise ValueError(f"AdaSecant: gamma_clip must be at least 0, got {gamma_clip!r}: 1.8 is the authors'")
        if not epsilon > 0:
            raise ValueError(f"AdaSecant: epsilon must be above 0, got {epsilon!r}: 1e-7 is the authors'")
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
            **kwargs,
        )
        self.gamma_clip = gamma_clip
        self.epsilon = epsilon

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        start = [keras.initializers.Constant(_OUTLIER_MEMORY), *["zeros"] * (len(_STATE) - 1)]
        slots = self.add_optimizer_variables(variables, list(_STATE), start)
        self._state = dict(zip(_STATE, slots, strict=True))

    def update_step(self, gradient, variable, learning_rate) -> None:
        """One step of Algorithm 1 on one variable; all quantities have the variable's shape."""
        index = self._get_variable_index(variable)
        old = {name: ops.convert_to_tensor(slots[index]) for name, slots in self._state.items()}
        tau = old["memory"]
        epsilon = self.epsilon

        def averaged(name, value):
            # E[v]_t = (1 - 1/tau) E[v]_(t-1) + 1/tau v_t
            return old[name] + (value - old[name]) / tau

        # 1. Block normalisation: g / |g|, the block being the variable.
        g = ops.cast(ops.convert_to_tensor(gradient), variable.dtype)
        g = g / (ops.sqrt(ops.sum(ops.square(g))) + epsilon)
        mean_g = averaged("mean_gradient", g)
        mean_square_g = averaged("mean_square_gradient", ops.square(g))

        # 2. Variance reduction: g~ = (g + gamma E[g]) / (1 + gamma). With another estimate g' of the same gradient,
        # E[(g~ - g')^2] is least for gamma = E[(g - g') (g - E[g])] / E[(g - E[g]) (g' - E[g])]; g' is the last g~,
        # and root mean squares stand for the two expectations, so that gamma cannot be negative.
        last = old["corrected_gradient"]
        gamma_numerator = averaged("gamma_numerator", ops.square((g - last) * (g - mean_g)))
        gamma_denominator = averaged("gamma_denominator", ops.square((g - mean_g) * (last - mean_g)))
        gamma = ops.minimum(ops.sqrt(gamma_numerator) / ops.sqrt(gamma_denominator + epsilon), self.gamma_clip)
        corrected_g = (g + gamma * mean_g) / (1 + gamma)

        # 3. Secant: the curvature along the weight is alpha / Delta, so Newton's learning rate is Delta / alpha. Its
        # expectation in noise, eta = sqrt(E[Delta^2]) / sqrt(E[alpha^2]) - Cov(alpha, Delta) / E[alpha^2].
        # At the very first step nothing is known of Delta, and the gradient stands for it.
        is_first = ops.equal(self.iterations, 0)
        mean_square_step = ops.where(is_first, ops.square(g), old["mean_square_step"])
        mean_step = ops.where(is_first, g, old["mean_step"])
        change = g - old["gradient"]
        mean_change = averaged("mean_change", change)
        mean_square_change = averaged("mean_square_change", ops.square(change))
        eta = ops.sqrt(mean_square_step + epsilon) / ops.sqrt(mean_square_change + epsilon)
        eta = eta - old["mean_step_change"] / (mean_square_change + epsilon)
        # The averages of the quotients are one step apart, and so eta can come out below 0, which would climb.
        eta = ops.maximum(eta, 0.0)
        step = -eta * corrected_g

        # 4. Memory: tau_(t+1) = (1 - E[Delta]^2 / E[Delta^2]) tau_t + 1; an outlier in g or in its change resets it.
        # The averages hold the new value with weight 1 / tau: only from tau = 5 on can it be two deviations away.
        memory = (1 - ops.square(mean_step) / (mean_square_step + epsilon)) * tau + 1
        is_outlier = ops.logical_or(
            _is_outlier(g, mean_g, mean_square_g), _is_outlier(change, mean_change, mean_square_change)
        )
        memory = ops.clip(ops.where(is_outlier, _OUTLIER_MEMORY, memory), *_MEMORY_RANGE)

        new = {
            "memory": memory,
            "gradient": g,
            "corrected_gradient": corrected_g,
            "mean_gradient": mean_g,
            "mean_square_gradient": mean_square_g,
            "mean_change": mean_change,
            "mean_square_change": mean_square_change,
            "mean_step": mean_step + (step - mean_step) / tau,
            "mean_square_step": mean_square_step + (ops.square(step) - mean_square_step) / tau,
            "mean_step_change": averaged("mean_step_change", step * change),
            "gamma_numerator": gamma_numerator,
            "gamma_denominator": gamma_denominator,
        }
        for name, value in new.items():
            self.assign(self._state[name][index], value)
        self.assign_add(variable, ops.cast(learning_rate, variable.dtype) * step)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma_clip": self.gamma_clip, "epsilon": self.epsilon}


def _is_outlier(value, mean, mean_square):
    """Whether `value` lies more than two standard deviations from its moving average."""
    variance = ops.maximum(mean_square - ops.square(mean), 0.0)  # rounding can make it negative
    return ops.abs(value - mean) > _OUTLIER_DEVIATIONS * ops.sqrt(variance)
