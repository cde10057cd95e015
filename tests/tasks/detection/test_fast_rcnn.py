from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from kapps.data.scenes import CLASS_NAMES, make_scene
from kapps.errors import DataError, RecipeError, UnknownNameError, WeightsError
from kapps.tasks.detection import fast_rcnn
from kapps.tasks.detection.fast_rcnn import FastRCNN, FastRCNNConfig, RegionTraining, mirrored
from kapps.tasks.detection.proposals import sliding_windows

SMALL = FastRCNNConfig(
    backbone="resnet20",
    feature="stem",
    train_norms=True,
    units=64,
    region_size=4,
    background_iou=0.0,
    shorter_side=64,
    longer_side=64,
    proposals="windows",
    window_sizes=(16, 24),
    window_ratios=(1.0,),
    window_stride=0.25,
)
CLASSES = ("red", "blue")


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return fast_rcnn.build(SMALL, 2)


@pytest.fixture(scope="module")
def detector(network):
    return FastRCNN("fast_rcnn", network, SMALL, CLASSES)


def batch_of(detector, examples, numbers=(0, 1), seed=0):
    from kapps.tasks.detection.region_examples import RegionExamples

    return detector._batch(RegionExamples(examples, detector.propose), np.array(numbers), np.random.default_rng(seed))


def test_batches_are_images_with_a_sample_of_regions(detector, squares):
    inputs, targets = batch_of(detector, squares, (0, 7))
    assert inputs["image"].shape == (2, 64, 64, 3)
    assert inputs["regions"].shape == (2, 64, 4)
    labels = targets["labels"]
    assert 0 < (labels[0] < 2).sum() <= 16  # at most a quarter
    assert (labels[0] >= 0).all()
    assert (labels[1] == 2).all()  # an image without a box: background
    assert not targets["deltas"][labels == 2].any()
    # the true box is there, and does not have to move
    still = (labels[0] < 2) & (np.abs(targets["deltas"][0]).max(axis=1) < 1e-4)
    assert still.sum() >= 1


def test_mirrored_images_come_with_mirrored_boxes(detector, squares):
    np.testing.assert_array_equal(mirrored(np.float32([[1, 2, 4, 8]]), 10), [[6, 2, 9, 8]])
    straight = dataclasses.replace(SMALL, flip=False)
    seen = []
    for config in (SMALL, straight):
        own = FastRCNN("fast_rcnn", detector.network, config, CLASSES)
        for seed in range(4):
            inputs, targets = batch_of(own, squares, (0,), seed)
            picture = inputs["image"][0] * config.std + config.mean
            seen.append((config.flip, picture))
            # whatever the sample shows as red is red
            for label, box in zip(targets["labels"][0], inputs["regions"][0].round().astype(int), strict=True):
                if label < 2:
                    colour = picture[box[1] : box[3], box[0] : box[2]].mean(axis=(0, 1))
                    assert (colour.argmax() == 0) == (label == 0)
    pictures = {flip: [picture for own, picture in seen if own == flip] for flip in (True, False)}
    assert all((picture == pictures[False][0]).all() for picture in pictures[False])
    assert {(picture == pictures[False][0]).all() for picture in pictures[True]} == {True, False}


def scenes(dataset_of, count=3):
    examples = []
    for number in range(count):
        scene = make_scene(5, number, (64, 64), num_objects=(1, 3))
        no = np.zeros(len(scene.objects), bool)
        targets = {"boxes": scene.boxes, "classes": scene.labels.astype(np.int32), "crowd": no, "difficult": no}
        examples.append((scene.image, {**targets, "areas": np.ones(len(no), np.float32)}))
    return dataclasses.replace(dataset_of(examples), class_names=CLASS_NAMES)


def trained_on(data, epochs, folder=None):
    keras.utils.set_random_seed(0)
    detector = FastRCNN("fast_rcnn", fast_rcnn.build(SMALL, len(CLASS_NAMES)), SMALL, CLASS_NAMES)
    optimizer = keras.optimizers.Adam(0.003)
    return detector.fit(data, epochs=epochs, batch_size=3, optimizer=optimizer, folder=folder, progress=False)


def test_the_loss_falls_on_three_scenes(dataset_of):
    rows = trained_on(scenes(dataset_of), 10)
    assert [row["epoch"] for row in rows] == list(range(1, 11))
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert rows[0]["loss"] == pytest.approx(rows[0]["class_loss"] + rows[0]["box_loss"], rel=1e-4)


@pytest.mark.slow
def test_a_run_that_was_interrupted_goes_on(dataset_of, tmp_path):
    data = scenes(dataset_of)
    whole = trained_on(data, 4)
    trained_on(data, 3, tmp_path)
    rows = trained_on(data, 4, tmp_path)  # from the beginning of the third epoch on
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["loss"] == pytest.approx(whole[-1]["loss"], rel=1e-3)


@pytest.fixture(scope="module")
def trained(dataset_of, square):
    keras.utils.set_random_seed(1)
    detector = FastRCNN("fast_rcnn", fast_rcnn.build(SMALL, 2), SMALL, CLASSES)
    data = dataset_of([*(square(number) for number in range(11)), square(11, empty=True)])
    rows = detector.fit(data, epochs=12, batch_size=2, optimizer=keras.optimizers.Adam(0.002), progress=False)
    return detector, rows


@pytest.mark.slow
def test_it_learns_to_find_squares(trained, square, found_right):
    detector, rows = trained
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    right = np.concatenate(
        [found_right(detector.find(image), targets) for image, targets in map(square, range(20, 28))]
    )
    assert right.mean() >= 0.8
    empty, _ = square(30, empty=True)
    assert (detector.find(empty)["scores"] < 0.5).all()


def test_answers_are_those_of_the_whole_network(detector, square):
    config = dataclasses.replace(SMALL, shorter_side=96, longer_side=96)  # half as large again
    own = FastRCNN("fast_rcnn", detector.network, config, CLASSES)
    image, _ = square(3)
    found = own.find(image)
    assert list(own.timings) == ["proposals", "features", "classification"]
    assert all(seconds > 0 for seconds in own.timings.values())
    assert len(found["scores"])
    assert (np.diff(found["scores"]) <= 0).all()
    assert found["classes"].dtype == np.int32
    pixels, size = own._prepared(tf.constant(image))
    assert tuple(size.numpy()) == (96, 96)
    proposals = own.propose(image)
    inputs = {
        "image": pixels[None],
        "proposals": tf.constant(1.5 * proposals)[None],
        "counts": tf.constant([len(proposals)]),
        "sizes": size[None],
    }
    whole = detector.network(inputs)
    count = int(whole["num_detections"][0])
    np.testing.assert_allclose(found["scores"], whole["detection_scores"][0, :count], atol=1e-5)
    np.testing.assert_allclose(found["boxes"], whole["detection_boxes"][0, :count] / 1.5, atol=1e-3)


def test_an_image_without_proposals(detector, square):
    def blind(image):
        return np.zeros((0, 4), np.float32)

    found = FastRCNN("fast_rcnn", detector.network, SMALL, CLASSES, propose=blind).find(square(0)[0])
    assert {name: len(values) for name, values in found.items()} == {"boxes": 0, "scores": 0, "classes": 0}


def test_proposals_of_its_own_and_training_from_true_boxes_alone(network, dataset_of, square):
    detector = FastRCNN("fast_rcnn", network, SMALL, CLASSES, propose=lambda image: np.zeros((0, 4), np.float32))
    inputs, targets = batch_of(detector, dataset_of([square(0), square(1)]))
    boxes = sum(len(square(number)[1]["classes"]) for number in (0, 1))
    assert (targets["labels"] >= 0).sum() == boxes
    losses = RegionTraining(network, SMALL).losses_of(inputs, targets)
    assert all(np.isfinite(loss) for loss in losses.values())


def test_data_that_nothing_can_be_learned_from(network, dataset_of, square):
    detector = FastRCNN("fast_rcnn", network, dataclasses.replace(SMALL, background_iou=0.1), CLASSES)
    with pytest.raises(
        DataError, match=r"expected boxes or proposals with an IoU of at least 0\.1 with one in squares"
    ):
        detector.fit(dataset_of([square(0, empty=True)]), progress=False)


def test_saved_loaded_and_compressed(detector, square, tmp_path):
    image, _ = square(3)
    found = detector.find(image)
    detector.save(tmp_path)
    loaded = FastRCNN.load(tmp_path)
    assert loaded.config == SMALL
    exact = detector.compressed({"box_fc6": 64, "box_fc7": 64})
    for other in (loaded, exact):
        for name, values in other.find(image).items():
            np.testing.assert_allclose(values, found[name], atol=1e-3)
    small = detector.compressed({"box_fc6": 4})
    assert small.network.count_params() < detector.network.count_params() / 1.3
    small.save(tmp_path / "small")
    again = FastRCNN.load(tmp_path / "small")
    np.testing.assert_allclose(again.find(image)["scores"], small.find(image)["scores"], atol=1e-5)
    (tmp_path / "model.keras").write_bytes(b"")
    with pytest.raises(WeightsError):
        FastRCNN.load(tmp_path)


@pytest.mark.slow
def test_as_a_saved_model(detector, square, tmp_path):
    image, _ = square(3)
    module = tf.Module()
    module.detect, module.network = detector.function(), detector.network
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.detect)
    serve = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    found = serve(image=tf.constant(image), proposals=tf.constant(detector.propose(image)))
    count, expected = int(found["num_detections"]), detector.find(image)
    np.testing.assert_allclose(found["detection_scores"][:count], expected["scores"], atol=1e-5)
    np.testing.assert_allclose(found["detection_boxes"][:count], expected["boxes"], atol=1e-3)
    nothing = serve(image=tf.constant(image), proposals=tf.zeros((0, 4)))
    assert int(nothing["num_detections"]) == 0


def test_the_backbones_own_layers():
    """AlexNet's fc6 takes the 6x6 bins that its last pooling gave; its dense layers are the head's."""
    config = FastRCNNConfig(backbone="alexnet_tv", frozen="conv2", shorter_side=96, longer_side=128)
    network = fast_rcnn.build(config, 3)
    regions = network.get_layer("regions")
    assert (regions.size, regions.stride) == (6, 16)
    assert regions.input[0] is network.get_layer("conv5").output
    assert [layer.name for layer in network.layers if layer.name.startswith("fc")] == [
        "fc6_dropout",
        "fc6",
        "fc7_dropout",
        "fc7",
    ]
    assert network.get_layer("box_scores").input.shape == (None, None, 4096)
    learns = {layer.name for layer in network.layers if layer.trainable_variables}
    assert learns == {"conv3", "conv4", "conv5", "fc6", "fc7", "box_scores", "box_deltas"}
    with pytest.raises(
        RecipeError, match="fast_rcnn: expected regions of 9216 numbers for the dense layers of alexnet_tv, got 7x7x256"
    ):
        fast_rcnn.build(dataclasses.replace(config, region_size=7), 3)
    new = fast_rcnn.build(dataclasses.replace(config, own_layers=False, units=8, region_size=7), 3)
    assert new.get_layer("box_fc6").kernel.shape == (7 * 7 * 256, 8)


def test_roi_align_in_place_of_pooling(square):
    config = dataclasses.replace(SMALL, pooling="align")
    detector = FastRCNN("fast_rcnn", fast_rcnn.build(config, 2), config, CLASSES)
    assert type(detector.network.get_layer("regions")).__name__ == "RoIAlign"
    found = detector.find(square(0)[0])
    assert np.isfinite(found["scores"]).all()
    proposals = sliding_windows(64, 64, [30])[None]
    scores = RegionTraining(detector.network, config)._head([np.zeros((1, 64, 64, 3), np.float32), proposals])[0]
    assert scores.shape == (1, proposals.shape[1], 3)


def test_the_papers_own_numbers():
    config = fast_rcnn.VARIANTS["fast_rcnn"]
    assert (config.backbone, config.shorter_side, config.longer_side) == ("vgg16", 600, 1000)
    assert (config.regions_per_image, config.foreground_share, config.background_iou) == (64, 0.25, 0.1)


def test_wrong_configurations():
    with pytest.raises(RecipeError, match="num_classes should be an integer of at least 1, not True"):
        fast_rcnn.build(SMALL, True)
    with pytest.raises(UnknownNameError, match="no feature of resnet20 is named 'stage9'"):
        fast_rcnn.build(dataclasses.replace(SMALL, frozen="stage9"), 2)
