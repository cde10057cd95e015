from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.tasks.detection import faster_rcnn
from kapps.tasks.detection.alternating_training import fit_alternating
from kapps.tasks.detection.faster_rcnn import FasterRCNNConfig
from kapps.tasks.detection.joint_training import JointTraining
from kapps.training.loop import fit_resumable

TINY = FasterRCNNConfig(
    backbone="resnet18",
    features=("stage1", "stage2"),
    train_norms=True,
    channels=8,
    units=16,
    anchor_sizes=((8,), (16,), (32,)),
    anchor_ratios=(1.0,),
    training_proposals=20,
    proposals_before=20,
    proposals_after=10,
    anchors_per_image=16,
    regions_per_image=8,
    shorter_side=64,
    longer_side=64,
    max_detections=5,
)


def batch():
    """One image with two boxes of two classes, and one without any."""
    image = np.zeros((2, 64, 64, 3), "float32")
    image[0, 8:24, 8:24] = 2
    image[0, 32:48, 32:56] = -2
    inputs = {"image": tf.constant(image), "sizes": tf.constant([[64.0, 64.0]] * 2)}
    truths = {
        "boxes": tf.constant([[[8.0, 8, 24, 24], [32, 32, 56, 48]], [[0.0] * 4] * 2]),
        "classes": tf.constant([[0, 1], [0, 0]]),
        "valid": tf.constant([[True, True], [False, False]]),
    }
    return inputs, truths


def learner(config=TINY, **options):
    keras.utils.set_random_seed(0)
    model = JointTraining(faster_rcnn.build(config, 2), config, **options)
    # For a few steps, making a graph takes longer than doing without.
    model.compile(keras.optimizers.Adam(3e-3), run_eagerly=True)
    return model


def test_all_losses_fall_and_the_weights_of_every_part_move():
    model = learner()
    data = tf.data.Dataset.from_tensors(batch()).repeat()
    before = {weight.path: weight.numpy() for weight in model.trainable_variables}
    first = model.fit(data, steps_per_epoch=1, epochs=1, verbose=0).history
    last = model.fit(data, steps_per_epoch=5, epochs=2, verbose=0).history
    assert set(first) == {"loss", "anchor_score_loss", "anchor_box_loss", "class_loss", "box_loss"}
    assert first["loss"][0] == pytest.approx(sum(first[name][0] for name in first if name != "loss"), rel=1e-5)
    assert last["loss"][-1] < 0.8 * first["loss"][0]
    for weight in model.trainable_variables:
        assert np.abs(weight.numpy() - before[weight.path]).max() > 0, weight.path
    for part in ("stem_conv", "stage2_block1_conv1", "fpn2", "rpn_scores", "box_fc6", "box_deltas"):
        assert any(f"{part}/" in path for path in before), part


def test_at_first_all_classes_and_anchors_are_as_likely():
    """Heads that start near zero: log(classes + 1) and log(2)."""
    model = learner()
    losses = {name: float(value) for name, value in model.losses_of(*batch()).items()}
    assert losses["class_loss"] == pytest.approx(np.log(3), abs=0.3)
    assert losses["anchor_score_loss"] == pytest.approx(np.log(2), abs=0.3)


def test_images_without_boxes_give_finite_losses_and_none_of_boxes():
    inputs, _ = batch()
    for boxes in (2, 0):  # padded only, and not even that
        none = {
            "boxes": tf.zeros((2, boxes, 4)),
            "classes": tf.zeros((2, boxes), tf.int32),
            "valid": tf.zeros((2, boxes), tf.bool),
        }
        losses = {name: float(value) for name, value in learner().losses_of(inputs, none).items()}
        assert losses["anchor_box_loss"] == losses["box_loss"] == 0
        assert np.isfinite(list(losses.values())).all()


def test_the_same_step_draws_the_same_samples():
    first, second = (learner().losses_of(*batch()) for _ in range(2))
    assert {name: float(value) for name, value in first.items()} == pytest.approx(
        {name: float(value) for name, value in second.items()}
    )


@pytest.mark.parametrize(("learn", "still"), [("proposals", "box_"), ("boxes", "rpn_")])
def test_one_head_alone(learn, still):
    model = learner(learn=learn)
    history = model.fit(tf.data.Dataset.from_tensors(batch()), verbose=0).history
    assert len(history) == 3
    assert not any(still in weight.path for weight in model.trainable_variables)


def test_heads_alone():
    model = learner(shared=False)
    assert {weight.path.split("/")[0].split("_")[0] for weight in model.trainable_variables} == {"rpn", "box"}
    model.fit(tf.data.Dataset.from_tensors(batch()), verbose=0)


def test_another_network_s_proposals():
    proposer = faster_rcnn.build(TINY, 2)
    for weight in proposer.weights:  # it proposes nothing but the anchors themselves
        if "rpn_deltas" in weight.path:
            weight.assign(tf.zeros_like(weight))
    model = learner(learn="boxes", proposer=proposer)
    before = [weight.numpy() for weight in proposer.weights]
    assert float(model.losses_of(*batch())["class_loss"]) > 0
    model.fit(tf.data.Dataset.from_tensors(batch()), verbose=0)
    for weight, value in zip(proposer.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.slow
def test_c4_learns_in_its_tail_too():
    config = dataclasses.replace(TINY, features=("stage2",), tail="stage3", anchor_sizes=())
    model = learner(config)
    history = model.fit(tf.data.Dataset.from_tensors(batch()).repeat(), steps_per_epoch=3, epochs=2, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert any("stage3_block1_conv1" in weight.path for weight in model.trainable_variables)


@pytest.mark.slow
def test_four_steps_one_trunk_and_it_goes_on_where_it_was(tmp_path):
    keras.utils.set_random_seed(0)
    network = faster_rcnn.build(TINY, 2)
    start = {weight.path: weight.numpy() for weight in network.weights}

    def run():
        def learn(learner, place):
            learner.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
            data = tf.data.Dataset.from_tensors(batch()).repeat()
            return fit_resumable(learner, lambda _: data, place, title="", seed=0, epochs=2, steps=3, progress=False)

        for number in range(1, 5):
            (tmp_path / f"step{number}").mkdir(exist_ok=True)
        return fit_alternating(network, TINY, learn, tmp_path, seed=0)

    rows = run()
    assert [row["step"] for row in rows] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert "anchor_box_loss" in rows[0]
    assert "box_loss" in rows[2]
    for part in ("stem_conv/", "fpn2/", "rpn_conv/", "rpn_scores/", "box_fc6/", "box_deltas/"):
        (moved,) = (weight for weight in network.trainable_weights if f"{part}kernel" in weight.path)
        assert np.abs(moved.numpy() - start[moved.path]).max() > 0, part
    answer = network.get_weights()
    network.set_weights([np.zeros_like(value) for value in answer])
    again = run()
    assert [row["loss"] for row in again] == [row["loss"] for row in rows]
    for value, expected in zip(network.get_weights(), answer, strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-6)
