"""The neocognitron: shared weights, local fields and pooling, learned without a teacher.

Idea: S-cells detect a feature at one place, C-cells wherever it is nearby; stage by stage the features get larger and
their place matters less, until one cell answers to a whole pattern, shifted or not.

    stage   what                                                            output        weights
    s1      24 planes of S-cells, fields of 5x5 on the image                [16, 16, 24]      624
    c1      24 planes of C-cells, fields of 5x5                             [10, 10, 24]
    s2      24 planes of S-cells, fields of 5x5 on all planes of c1         [8, 8, 24]     14,424
    c2      24 planes of C-cells, fields of 5x5                             [6, 6, 24]
    s3      24 planes of S-cells, fields of 5x5 on all planes of c2         [2, 2, 24]     14,424
    c3      24 C-cells, each on a whole plane of s3                         [1, 1, 24]
    predictions  the classes for which the strongest cell of c3 was strongest   [10]            240

The image is bright strokes (1) on black (0), 16x16 pixels. Learning is self-organised. Around every place the cells of
all planes with fields there form a column; the strongest cell of each column is a candidate, and the strongest
candidate of a plane represents it. Only representatives learn, and their whole plane learns with them:

    a_jk(o) grows by q c(o) u_j(n + o),    b_k by q / 2 v(n)

for a representative of plane k at the place n. A feature that no plane knows is answered only by the weak random
synapses of planes that are still free, and one of these becomes its detector.

Paper: Fukushima: "Neocognitron: a self-organizing neural network model for a mechanism of pattern recognition
unaffected by shift in position", Biological Cybernetics 36, 1980: the sizes, r and q are those of its simulation.

Deviations: the synapses c and d, which the paper wants to fall with the distance, fall by 0.9 and 0.8 a pixel. The
columns, whose size it leaves open, are so wide that the first pattern does not use up all planes. Initial synapses are
random; the paper gives them a preferred orientation. The output layer, which only counts classes, is added: the paper
stops at c3. It has no part in the learning of the planes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import tensorflow as tf
from keras.layers import Activation, Flatten

from kapps.layers.c_cells import CCells
from kapps.layers.plane_votes import PlaneVotes
from kapps.layers.s_cells import SCells


@dataclass(frozen=True)
class NeocognitronConfig:
    """The sizes of the paper's simulation.

    Attributes:
        planes: of each stage.
        s_sides: cells in a row of an S-plane, stage by stage.
        c_sides: cells in a row of a C-plane.
        c_fields: side of the C-cells' fields.
        selectivity: r of the S-cells.
        reinforcement: q of their learning.
        columns: side of the columns in which they compete.
    """

    planes: int = 24
    s_sides: tuple[int, ...] = (16, 8, 2)
    c_sides: tuple[int, ...] = (10, 6, 1)
    c_fields: tuple[int, ...] = (5, 5, 2)
    selectivity: tuple[float, ...] = (4.0, 1.5, 1.5)
    reinforcement: tuple[float, ...] = (1.0, 16.0, 16.0)
    columns: tuple[int, ...] = (13, 9, 5)


VARIANTS = {"neocognitron": NeocognitronConfig()}


def build(config: NeocognitronConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The stages from an image [B, 16, 16, C] to the cells of c3."""
    features = {}
    x = image
    for stage, (side, field) in enumerate(zip(config.c_sides, config.c_fields, strict=True)):
        s = SCells(
            config.planes,
            config.s_sides[stage],
            config.selectivity[stage],
            reinforcement=config.reinforcement[stage],
            column=config.columns[stage],
            name=f"s{stage + 1}",
        )
        x = features[f"s{stage + 1}"] = s(x)
        x = features[f"c{stage + 1}"] = CCells(side, field, name=f"c{stage + 1}")(x)
    return features


def classify(
    config: NeocognitronConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """What the strongest cell of c3 stands for: [B, 1, 1, planes] to [B, num_classes]."""
    x = Flatten(name="cells")(features["c3"])  # [24]
    x = PlaneVotes(num_classes, dtype="float32", name="votes")(x)
    return Activation(activation or "linear", dtype="float32", name="predictions")(x)


@keras.saving.register_keras_serializable("kapps")
class Neocognitron(keras.Model):
    """A functional model that learns as the paper says: one example after the other, all stages at once.

    The labels (integers) are only counted by the output layer, with the planes as they are after the batch. The
    optimizer that `compile` takes has nothing to do. `fit` reports the mean number of `representatives` an example had.
    """

    def __init__(self, inputs, outputs, name=None, **kwargs):
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        self.representatives = keras.metrics.Mean(name="representatives")

    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        images = tf.cast(x, tf.float32)[:, None]  # one by one, as batches of one
        learned = tf.map_fn(self._learn, images, parallel_iterations=1, fn_output_signature=tf.float32)
        self.representatives.update_state(learned)
        cells = keras.Model(self.inputs, self.get_layer("cells").output)(x, training=True)
        self.get_layer("votes").count(cells, tf.reshape(y, [-1]))
        y_pred = self(x, training=True)
        loss = self.compute_loss(x, y, y_pred)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            elif metric is not self.representatives:
                metric.update_state(y, y_pred)
        return self.get_metrics_result()

    def test_step(self, data):
        results = super().test_step(data)  # without the representatives: nothing is learned here
        return {name: value for name, value in results.items() if name != self.representatives.name}

    def _learn(self, image):
        """Teach every stage one image [1, H, W, C], each what the stages below answer with what they just learned."""
        x, representatives = image, 0.0
        for layer in self.layers:
            if isinstance(layer, SCells):
                representatives += layer.learn(x)
            if isinstance(layer, SCells | CCells):
                x = layer(x)
        return representatives


MODEL = Neocognitron
