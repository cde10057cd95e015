"""FaceNet: a face becomes a point on a sphere, near the same person's and far from others'.

Idea: no classes: the network learns the embedding itself, by a loss on triplets (a face, another of the same person,
one of another person), so that squared distances measure how alike two faces are.

    stage        what                                                                output
    stem_relu6   Inception-ResNet v1's stem                                          [17, 17, 256]
    a1           residual Inception modules a                                        [17, 17, 256]
    ...
    a5                                                                               [17, 17, 256]
    mixed_6a     halves the map                                                      [8, 8, 896]
    b1           residual Inception modules b                                        [8, 8, 896]
    ...
    b10                                                                              [8, 8, 896]
    mixed_7a     halves the map                                                      [3, 3, 1792]
    c1           residual Inception modules c                                        [3, 3, 1792]
    ...
    c6           the last is neither scaled nor followed by ReLU                     [3, 3, 1792]
    embedding_bn mean over the map, dropout, full connection, batch normalisation    [512]
    predictions  divided by its length                                               [512]

Paper: Schroff, Kalenichenko, Philbin: "FaceNet: A Unified Embedding for Face Recognition and Clustering", CVPR 2015:
figure 2 (network, length 1, triplet loss), section 3.1 (the loss: `kapps/losses/triplet_semi_hard.py`).

Deviations: the paper's networks (an early Inception for 220x220 faces, 128 numbers) were never published. This is the
form in common use, with public weights: Sandberg's, on Inception-ResNet v1 for 160x160 faces, 512 numbers. Its batch
normalisations have a learned scale, as in facenet-pytorch, which has these weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras
from keras.layers import BatchNormalization, Dense, Dropout, GlobalAveragePooling2D, UnitNormalization

from kapps.architectures.convolutional import inception_resnet
from kapps.architectures.convolutional.inception_resnet import InceptionResNetConfig


@dataclass(frozen=True)
class FaceNetConfig:
    """The body and what makes an embedding of its last map.

    Attributes:
        body: an Inception-ResNet.
        dropout: before the full connection.
        epsilon: of the batch normalisation behind it.
    """

    body: InceptionResNetConfig
    dropout: float = 0.6
    epsilon: float = 1e-3


VARIANTS = {
    "facenet": FaceNetConfig(
        body=InceptionResNetConfig(version=1, repeats=(5, 10, 6), linear_last=True, last=0, scale=True, momentum=0.995)
    )
}


def build(config: FaceNetConfig, image: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """The body from an image of a face [B, H, W, 3], H and W at least 75 and best 160."""
    return inception_resnet.build(config.body, image)


def classify(
    config: FaceNetConfig, features: Mapping[str, keras.KerasTensor], num_classes: int, activation: str | None
) -> keras.KerasTensor:
    """The embedding [B, num_classes]: `num_classes` is the number of its dimensions.

    It has no classes, so there is nothing to activate: `"softmax"`, which `create_model` gives by default, and None are
    the same, and anything else is refused. Before the division by its length the vector is `embedding_bn`.
    """
    x = GlobalAveragePooling2D(name="global_pool")(list(features.values())[-1])  # [1792]
    x = Dropout(config.dropout, name="embedding_dropout")(x)
    x = Dense(num_classes, use_bias=False, name="embedding")(x)  # [512]
    norm = {"epsilon": config.epsilon, "momentum": config.body.momentum}
    x = BatchNormalization(**norm, name="embedding_bn")(x)
    if activation not in (None, "softmax"):
        raise ValueError(f"the output is an embedding: leave classifier_activation out, or None, not {activation!r}")
    return UnitNormalization(dtype="float32", name="predictions")(x)
