"""The perceptron: the first machine that learned to see.

Idea: add an example to the weights when the answer was wrongly "no", take it off when it was wrongly "yes", else
leave them alone.

    stage        what                                                                     output
    retina       the pixels as one vector                                                 [784]
    net_input    weighted sum and threshold (a bias), one response unit a class           [10]       7,850 weights
    predictions  one class: 1 where the net input is above 0; several: see below          [10]

With one class the target is 0 or 1 and the rule is Rosenblatt's, w <- w + eta (t - y) x. With several, the unit with
the largest net input answers, and a wrong answer is corrected in two units: the right one's weights gain eta x, the
answering one's lose it (Kesler's construction: one perceptron on a longer vector). Examples are learned one after the
other, also within a batch, and `fit` reports the number of `corrections` in each epoch.

If the classes can be separated by a margin gamma and no input (with its constant 1 for the bias) is longer than R,
there are at most (R / gamma)^2 corrections, in whatever order the examples come (Novikoff 1962); if they cannot, as for
XOR, the corrections never end (Minsky, Papert 1969).

Paper: Rosenblatt: "The perceptron: a probabilistic model for information storage and organization in the brain",
Psychological Review 65, 1958; the rule and its theorem: "Principles of Neurodynamics", 1962, chapter 5. Kesler's
construction: Nilsson: "Learning Machines", 1965.

Deviations: the fixed random association units between retina and response are left out, as in the lectures. The
optimizer that `compile` takes only gives eta, and the loss is only reported. Of several classes `predictions` is the
softmax of the net inputs: the largest is the perceptron's answer, the numbers are no calibrated probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import tensorflow as tf
from keras.layers import Activation, Dense, Flatten

from kapps.layers.step import step


@dataclass(frozen=True)
class PerceptronConfig:
    """The perceptron has nothing to choose but its inputs and classes."""


VARIANTS = {"perceptron": PerceptronConfig()}


def build(config: PerceptronConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The retina: an image [B, H, W, C] (or a vector [B, D]) as one vector."""
    return {"retina": Flatten(name="retina")(image)}


def classify(
    config: PerceptronConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """The response units: [B, D] to [B, num_classes]; a single one answers 0 or 1, unless `activation` is None."""
    net_input = Dense(num_classes, kernel_initializer="zeros", dtype="float32", name="net_input")(features["retina"])
    answer = step if num_classes == 1 and activation is not None else activation or "linear"
    return Activation(answer, dtype="float32", name="predictions")(net_input)


@keras.saving.register_keras_serializable("kapps")
class Perceptron(keras.Model):
    """A functional model with the layers `retina` and `net_input` whose training step is the perceptron rule.

    Targets are integers: the class, or 0 and 1 if there is a single response unit. Sample weights are not used.
    """

    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        self.corrections = keras.metrics.Sum(name="corrections")  # in this epoch

    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = self(x, training=True)
        self.corrections.update_state(self._learn(x, y))
        self.optimizer.iterations.assign_add(1)
        loss = self.compute_loss(x, y, y_pred)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            elif metric is not self.corrections:
                metric.update_state(y, y_pred)
        return self.get_metrics_result()

    def test_step(self, data):
        results = super().test_step(data)  # without the corrections: nothing is corrected here
        return {name: value for name, value in results.items() if name != self.corrections.name}

    def _learn(self, x, y) -> tf.Tensor:
        """Apply the rule to the examples in turn; returns how many of them were answered wrongly."""
        layer = self.get_layer("net_input")
        classes, rate = layer.units, tf.cast(self.optimizer.learning_rate, tf.float32)
        inputs = tf.cast(self.get_layer("retina")(x), tf.float32)  # [B, D]
        labels = tf.reshape(y, [-1])  # [B]
        targets = tf.cast(labels[:, None], tf.float32) if classes == 1 else tf.one_hot(labels, classes)  # [B, classes]

        def rule(state, example):
            kernel, bias, corrections = state
            signal, target = example
            net_input = tf.linalg.matvec(kernel, signal, transpose_a=True) + bias
            answer = step(net_input) if classes == 1 else tf.one_hot(tf.argmax(net_input), classes)
            error = rate * (target - answer)  # all 0 if the answer is right
            wrong = tf.reduce_any(target != answer)
            return kernel + signal[:, None] * error, bias + error, corrections + tf.cast(wrong, tf.float32)

        kernel, bias, corrections = tf.foldl(rule, (inputs, targets), (layer.kernel.value, layer.bias.value, 0.0))
        layer.kernel.assign(kernel)
        layer.bias.assign(bias)
        return corrections


MODEL = Perceptron
