from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kapps
from kapps.explaining.inner import recorded
from kapps.explaining.receptive_field import receptive_fields


def fields_of(model, shape):
    @tf.function(autograph=False)
    def function(image):
        with recorded(model) as outputs:
            model(image, training=False)
        fields.update(receptive_fields(image, outputs))
        return image

    fields = {}
    function.get_concrete_function(tf.TensorSpec((1, *shape), tf.float32))
    return fields


def seen(model, name, shape, place):
    """The rows and columns of the image that one position depends on: where its gradient is not 0."""
    image = tf.constant(np.random.default_rng(0).uniform(1, 2, (1, *shape)).astype(np.float32))
    inner = keras.Model(model.inputs[0], model.get_layer(name).output)
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = tf.reduce_sum(inner(image)[0, place[0], place[1]])
    gradient = tape.gradient(value, image).numpy()[0].any(axis=-1)
    rows, columns = np.flatnonzero(gradient.any(axis=1)), np.flatnonzero(gradient.any(axis=0))
    return (rows[0], rows[-1]), (columns[0], columns[-1])


def conv(kernel, name, **settings):
    return layers.Conv2D(1, kernel, name=name, kernel_initializer="ones", **settings)


@pytest.fixture(scope="module")
def branches():
    """Windows of all kinds, borders, a crop and a place where branches of different reach meet."""
    image = keras.Input((33, 41, 1))
    x = conv((3, 5), "valid", strides=(2, 1))(image)
    x = layers.ZeroPadding2D(((2, 0), (1, 1)), name="border")(x)
    x = layers.DepthwiseConv2D(3, dilation_rate=2, padding="same", depthwise_initializer="ones", name="holes")(x)
    x = layers.BatchNormalization(name="norm")(layers.ReLU(name="relu")(x))
    far = conv(5, "far", padding="same", strides=2)(x)
    near = layers.AveragePooling2D(2, padding="same", name="near")(x)
    x = layers.Concatenate(name="meet")([far, near])
    x = layers.Cropping2D(((1, 0), (2, 1)), name="crop")(x)
    x = conv(2, "last", padding="same")(x)
    gate = layers.Dense(1, activation="sigmoid", name="gate")(
        layers.GlobalAveragePooling2D(keepdims=True, name="all")(x)
    )
    gated = layers.Multiply(name="gated")([x, gate])
    return keras.Model(image, layers.Flatten(name="flat")(gated))


def test_it_is_what_a_position_depends_on(branches):
    fields = fields_of(branches, (33, 41, 1))
    for name in ("valid", "border", "holes", "norm", "far", "near", "meet", "crop", "last"):
        place = (4, 6)  # where no border of padding is in sight
        expected = seen(branches, name, (33, 41, 1), place)
        for axis, position, (first, last), length in zip(fields[name], place, expected, (33, 41), strict=True):
            begin = axis.first + position * axis.stride
            end = axis.last + position * axis.stride
            assert (max(begin, 0), min(end, length - 1)) == (first, last), name
    rows, columns = fields["last"]
    assert (rows.stride, columns.stride) == (4, 2)


def test_what_is_no_window_sees_all(branches):
    fields = fields_of(branches, (33, 41, 1))
    assert [fields[name] for name in ("all", "gate", "gated", "flat")] == [None] * 4


def vgg16(image):
    """The convolutions of VGG-16 with one map each."""
    x = image
    for stage, depth in enumerate((2, 2, 3, 3, 3), 1):
        for number in range(1, depth + 1):
            x = conv(3, f"conv{stage}_{number}", padding="same")(x)
        x = layers.MaxPooling2D(2, name=f"pool{stage}")(x)
    return x


def test_vgg16_has_the_published_size():
    image = keras.Input((224, 224, 1))
    fields = fields_of(keras.Model(image, vgg16(image)), (224, 224, 1))
    sizes = [fields[f"pool{stage}"][0].size for stage in range(1, 6)]
    assert sizes == [6, 16, 44, 100, 212]  # Araujo et al. 2019: pool5 212, stride 32
    assert fields["pool5"][0].stride == fields["pool5"][1].stride == 32


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "feature", "field"),
    [
        # Araujo et al. 2019, table: resnet_v1_50 483, resnet_v1_101 1027, inception_v3 1311, vgg_16 212
        ("resnet50_v1", 224, "stage4", 483),
        ("resnet101_v1", 224, "stage4", 1027),
        ("inception_v3", 299, None, 1311),
        ("vgg16", 224, "pool5", 212),
        # with the stride in the 3x3 convolutions: 35 + 8 + 3 * 16 + 16 + 5 * 32 + 32 + 2 * 64
        ("resnet50", 224, "stage4", 427),
    ],
)
def test_networks_of_the_catalogue_have_the_published_sizes(name, size, feature, field):
    model = kapps.create_backbone(name, input_shape=(size, size, 3))
    fields = fields_of(model, (size, size, 3))
    if feature is None:
        feature = [name for name, found in fields.items() if found is not None][-1]
    assert fields[feature][0].size == fields[feature][1].size == field
    assert fields[feature][0].stride == 32
