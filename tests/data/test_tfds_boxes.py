from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kapps.data import load_boxes
from kapps.errors import DataError

BBox = tfds.features.BBox
SIZES = ((10, 20), (8, 4), (6, 6))


def write(data_dir, name: str, features: dict, examples: list[dict], config: str = "") -> None:
    folder = data_dir / name / config / "1.0.0"
    folder.mkdir(parents=True)
    version = tfds.core.Version("1.0.0")
    identity = tfds.core.DatasetIdentity(name, version, str(folder), module_name="", config_name=config or None)
    info = tfds.core.DatasetInfo(builder=identity, features=tfds.features.FeaturesDict(features))
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=10)
    writer.initialize_splits(["train", "validation"])
    writer.add_examples({"train": examples, "validation": examples[:1]})
    writer.close_all()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """TFDS sets in the forms of `voc` and of `coco`, and some that are of neither."""
    folder = tmp_path_factory.mktemp("tfds")
    images = [np.full((*size, 3), 40 * number, np.uint8) for number, size in enumerate(SIZES)]
    labels = tfds.features.ClassLabel(names=["cat", "dog"])
    things = [
        # y, x, y, x: the whole of the first image but for VOC's first pixel, and a box in it; then two; then none
        [BBox(1 / 10, 1 / 20, 1.0, 1.0), BBox(0.2, 0.25, 0.5, 0.75)],
        [BBox(0.0, 0.0, 0.5, 1.0), BBox(0.5, 0.25, 0.5, 0.75)],
        [],
    ]
    write(
        folder,
        "voc",
        {
            "image": tfds.features.Image(encoding_format="png"),
            "image/filename": tfds.features.Text(),
            "objects": tfds.features.Sequence(
                {
                    "label": labels,
                    "bbox": tfds.features.BBoxFeature(),
                    "pose": tfds.features.ClassLabel(names=["left", "right"]),
                    "is_truncated": np.bool_,
                    "is_difficult": np.bool_,
                }
            ),
            "labels": tfds.features.Sequence(labels),
        },
        [
            {
                "image": pixels,
                "image/filename": f"{number}.png",
                "objects": [
                    {"label": place % 2, "bbox": box, "pose": 0, "is_truncated": False, "is_difficult": place == 1}
                    for place, box in enumerate(boxes)
                ],
                "labels": [0],
            }
            for number, (pixels, boxes) in enumerate(zip(images, things, strict=True))
        ],
        config="2007",
    )
    write(
        folder,
        "tiny_coco",
        {
            "image": tfds.features.Image(encoding_format="png"),
            "panoptic_image": tfds.features.Image(encoding_format="png"),
            "things": tfds.features.Sequence(
                {
                    "id": np.int64,
                    "area": np.int64,
                    "bbox": tfds.features.BBoxFeature(),
                    "label": labels,
                    "is_crowd": np.bool_,
                }
            ),
        },
        [
            {
                "image": pixels,
                "panoptic_image": pixels,
                "things": [
                    {"id": place, "area": 7 + place, "bbox": box, "label": 1, "is_crowd": place == 1}
                    for place, box in enumerate(boxes)
                ],
            }
            for pixels, boxes in zip(images, things, strict=True)
        ],
    )
    write(
        folder,
        "no_boxes",
        {"image": tfds.features.Image(encoding_format="png"), "label": labels},
        [{"image": images[0], "label": 0}],
    )
    write(
        folder,
        "two_labels",
        {
            "image": tfds.features.Image(encoding_format="png"),
            "objects": tfds.features.Sequence({"bbox": tfds.features.BBoxFeature(), "colour": labels, "kind": labels}),
        },
        [{"image": images[0], "objects": [{"bbox": things[0][0], "colour": 0, "kind": 1}]}],
    )
    return folder


def examples(data) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    return list(data.examples.as_numpy_iterator())


def test_the_form_of_voc(data_dir):
    data = load_boxes("voc/2007", data_dir=data_dir)
    assert (data.num_examples, data.class_names, data.name) == (3, ("cat", "dog"), "voc")
    assert "voc/2007/1.0.0" in data.source
    (image, first), (_, second), (_, third) = examples(data)
    assert image.shape == (10, 20, 3)
    # VOC counts from 1: left and top are a pixel less than TFDS' fractions say.
    np.testing.assert_allclose(first["boxes"], [[0, 0, 20, 10], [4, 1, 15, 5]], atol=1e-5)
    np.testing.assert_allclose(first["areas"], [200, 44], atol=1e-3)
    assert first["difficult"].tolist() == [False, True]
    assert first["crowd"].tolist() == [False, False]
    assert first["classes"].tolist() == [0, 1]
    assert first["classes"].dtype == np.int32
    np.testing.assert_allclose(second["boxes"][0], [0, 0, 4, 4], atol=1e-5)
    assert third["boxes"].shape == (0, 4)


def test_the_form_of_coco(data_dir):
    (_, first), (_, second), (_, third) = examples(load_boxes("tiny_coco", data_dir=data_dir))
    np.testing.assert_allclose(first["boxes"], [[1, 1, 20, 10], [5, 2, 15, 5]], atol=1e-5)
    assert first["areas"].tolist() == [7, 8]
    assert first["crowd"].tolist() == [False, True]
    assert first["difficult"].tolist() == [False, False]
    assert second["boxes"].tolist() == [[0, 0, 4, 4]]  # the other one has no height
    assert second["areas"].tolist() == [7]
    assert third["classes"].shape == (0,)


def test_batches(data_dir):
    def prepare(image):
        return tf.cast(image, tf.float32), tf.cast(tf.shape(image)[:2], tf.float32)

    data = load_boxes("tiny_coco", data_dir=data_dir)
    ((inputs, targets),) = data.batches(3, prepare, shuffle_seed=1)
    assert inputs["image"].shape == (3, 10, 20, 3)
    assert sorted(map(tuple, inputs["sizes"].numpy().tolist())) == sorted(SIZES)
    assert targets["boxes"].shape == (3, 1, 4)  # without the crowd
    assert sorted(targets["valid"].numpy().ravel().tolist()) == [False, True, True]


def test_splits(data_dir):
    for split in ("validation", "val", "train[:1]"):
        assert load_boxes("voc/2007", split, data_dir=data_dir).num_examples == 1
    assert load_boxes("voc/2007", "train[1:]+val", data_dir=data_dir).num_examples == 3
    with pytest.raises(DataError, match=r"no split 'test': expected one of train \(3\), validation \(1\)"):
        load_boxes("voc/2007", "test", data_dir=data_dir)


def test_other_sets(data_dir):
    with pytest.raises(DataError, match="expected an image and a sequence of boxes with labels in no_boxes, it has "):
        load_boxes("no_boxes", data_dir=data_dir)
    with pytest.raises(DataError, match=r"expected one box and one label a thing in two_labels, .* bbox, colour, kind"):
        load_boxes("two_labels", data_dir=data_dir)
