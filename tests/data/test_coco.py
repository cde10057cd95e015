from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kapps.data import coco, load_boxes, write_scenes
from kapps.errors import DataError

CATEGORIES = [{"id": 7, "name": "dog", "supercategory": "animal"}, {"id": 2, "name": "cat"}]


def image(identity: int, name: str, **more) -> dict[str, Any]:
    return {"id": identity, "file_name": name, "width": 20, "height": 10, **more}


def box(identity: int, of: int, bbox: list, category: int = 2, **more) -> dict[str, Any]:
    return {"id": identity, "image_id": of, "category_id": category, "bbox": bbox, "iscrowd": 0, **more}


def write(path: Path, images: list, annotations: list, categories: list = CATEGORIES, folder: str = "images") -> Path:
    """The file, and its images, 20 wide and 10 high, in a folder that is given from the file's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    for entry in images:
        place = path.parent / folder / entry["file_name"]
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10)).save(place)
    return path


def examples(data) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Read one by one: building a pipeline for each of many tiny sets takes longer."""
    found = [data.decode(record) for record in data.records]
    return [(image.numpy(), {key: value.numpy() for key, value in targets.items()}) for image, targets in found]


def refused(source: Path, message: str, **options) -> None:
    with pytest.raises(DataError, match=message) as error:
        load_boxes(source, **options)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


@pytest.fixture
def pets(tmp_path) -> Path:
    return write(
        tmp_path / "pets.json",
        [image(31, "one.png"), image(4, "deeper/two.png"), image(5, "three.png", width=0)],
        [
            box(1, 31, [2, 3, 10, 6], category=7, area=41.5),
            box(2, 4, [0.5, 0, 4.25, 10]),
            box(3, 31, [0, 0, 20, 10], iscrowd=1, segmentation={"size": [10, 20], "counts": [0, 200]}),
        ],
    )


def test_boxes_by_hand(pets):
    data = load_boxes(pets)
    assert (data.num_examples, data.name, data.notes) == (3, "pets", ())
    assert data.class_names == ("cat", "dog")  # by id
    (pixels, one), (_, two), (_, three) = examples(data)
    assert pixels.shape == (10, 20, 3)
    assert one["boxes"].tolist() == [[2, 3, 12, 9], [0, 0, 20, 10]]
    assert one["areas"].tolist() == [41.5, 200]
    assert one["classes"].tolist() == [1, 0]
    assert one["crowd"].tolist() == [False, True]
    assert one["difficult"].tolist() == [False, False]
    assert two["boxes"].tolist() == [[0.5, 0, 4.75, 10]]
    assert two["areas"].tolist() == [42.5]
    assert three["boxes"].shape == (0, 4)


def test_slices_of_a_file(pets):
    assert load_boxes(pets, "train[:2]").num_examples == 2
    assert load_boxes(str(pets), "train[50%:]").num_examples == 1
    assert load_boxes(pets, "pets").num_examples == 3
    refused(pets, "pets has no split 'test': expected one of train", split="test")
    refused(pets, "no split ''", split="")
    refused(pets, "holds no example", split="train[3:]")


def test_files_by_name(pets):
    assert load_boxes("pets.json", data_dir=pets.parent).num_examples == 3
    with pytest.raises(DataError, match=r"expected a COCO file at petz.json, found nothing"):
        load_boxes("petz.json", data_dir=pets.parent)


def test_given_classes(pets):
    data = load_boxes(pets, classes=["dog", "cat", "bird"])
    assert examples(data)[0][1]["classes"].tolist() == [0, 1]
    refused(pets, r"pets.json: annotation 3: expected one of the 1 classes, found 'cat': known: dog", classes=["dog"])


def test_a_folder_as_coco_lays_it_out(tmp_path):
    for split, count in (("train2017", 3), ("val2017", 2)):
        entries = [image(number, f"{number:012d}.png") for number in range(count)]
        boxes = [box(number, number, [1, 1, 2, 2]) for number in range(count)]
        write(tmp_path / "annotations" / f"instances_{split}.json", entries, boxes, folder=f"../{split}")
    assert load_boxes(tmp_path).num_examples == load_boxes(tmp_path, "train2017").num_examples == 3
    assert load_boxes(tmp_path, "val").num_examples == load_boxes(tmp_path, "validation").num_examples == 2
    assert load_boxes(tmp_path, "train[:1]+val2017").num_examples == 3
    assert load_boxes(tmp_path / "annotations" / "instances_val2017.json").num_examples == 2
    refused(tmp_path, "has no split 'test': expected one of train, validation", split="test")
    (tmp_path / "annotations" / "instances_val2017.json").write_text("{")
    assert load_boxes(tmp_path).num_examples == 3  # what is not asked for is not read
    refused(tmp_path, "instances_val2017.json: expected JSON", split="val")


def test_years_stay_where_they_tell_apart(tmp_path):
    for year in ("2014", "2017"):
        write(tmp_path / f"instances_train{year}.json", [image(1, f"{year}.png")], [], folder=f"train{year}")
    assert load_boxes(tmp_path, "train2014+train2017").num_examples == 2
    refused(tmp_path, "has no split 'train': expected one of train2014, train2017")


def test_categories_that_differ(tmp_path):
    write(tmp_path / "instances_train.json", [image(1, "a.png")], [box(1, 1, [1, 1, 2, 2])])
    other = [{"id": 2, "name": "horse"}]
    write(tmp_path / "instances_val.json", [image(1, "b.png")], [box(1, 1, [1, 1, 2, 2])], other)
    refused(tmp_path, "instances_val.json: expected the categories of .*instances_train.json", split="train+val")
    assert load_boxes(tmp_path, "train+val", classes=("horse", "cat")).num_classes == 2


def test_written_scenes_are_the_built_in_ones(tmp_path):
    folder = write_scenes(tmp_path / "scenes", 12, seed=2)
    data, built_in = load_boxes(folder), load_boxes("scene_boxes", "train[:12]")
    assert data.class_names == built_in.class_names
    counts = []
    both = (part.examples.as_numpy_iterator() for part in (data, built_in))
    for (pixels, targets), (same_pixels, same_targets) in zip(*both, strict=True):
        np.testing.assert_array_equal(pixels, same_pixels)
        for key, values in targets.items():
            np.testing.assert_array_equal(values, same_targets[key])
            assert values.dtype == same_targets[key].dtype
        counts.append(len(targets["classes"]))
    assert 0 in counts
    assert load_boxes(folder / "instances.json", "train[:5]").num_examples == 5


def test_slips_are_mended(tmp_path):
    path = write(
        tmp_path / "a.json",
        [image(1, "a.png")],
        [
            box(1, 1, [-3, -1, 8, 6]),
            box(2, 1, [15, 5, 10, 10]),
            box(3, 1, [4, 4, 0, 3]),
            box(4, 1, [30, 4, 5, 3]),
            box(5, 1, [1, 1, 1e300, 1e300], area=3),
        ],
    )
    data = load_boxes(path)
    ((_, targets),) = examples(data)
    assert targets["boxes"].tolist() == [[0, 0, 5, 5], [15, 5, 20, 10], [1, 1, 20, 10]]
    assert targets["areas"].tolist() == [25, 25, 3]
    assert data.notes == (
        "clipped 3 boxes that reached over the border of their image",
        "left out 2 boxes without area in their image, first annotation 3",
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (box(9, 1, [1, 1, float("nan"), 2]), "a.json: annotation 9: expected four finite numbers as bbox"),
        (box(9, 1, [1, float("inf"), 1, 2]), "annotation 9: expected four finite numbers"),
        (box(9, 1, [10**400, 1, 1, 2]), "annotation 9: expected four finite numbers"),
        (box(9, 1, [1, 1, 2]), "annotation 9: expected four finite numbers"),
        (box(9, 1, [1, 1, 2, "2"]), "annotation 9: expected four finite numbers"),
        (box(9, 1, [1, 1, 2, True]), "annotation 9: expected four finite numbers"),
        (box(9, 1, None), "annotation 9: expected four finite numbers as bbox .* found None"),
        (box(9, 1, [5, 5, -2, 2]), "annotation 9: expected a width and a height from 0 in bbox, found -2 and 2"),
        (box(9, 77, [1, 1, 2, 2]), "annotation 9: expected the id of an image as image_id, found 77"),
        (box(9, [1], [1, 1, 2, 2]), r"expected the id of an image as image_id, found \[1\]"),
        (box(9, 1, [1, 1, 2, 2], category=3), "annotation 9: expected the id of a category as category_id, found 3"),
        (box(9, 1, [1, 1, 2, 2], area=float("nan")), "annotation 9: expected a number from 0 as area, found nan"),
        (box(9, 1, [1, 1, 2, 2], area=-1), "annotation 9: expected a number from 0 as area, found -1"),
        ({**box(9, 1, [1, 1, 2, 2]), "iscrowd": 2}, "annotation 9: expected 0 or 1 as iscrowd, found 2"),
        ("box", "annotation at place 0: expected an object .* found 'box'"),
    ],
)
def test_faults_are_named_with_file_and_annotation(tmp_path, wrong, message):
    refused(write(tmp_path / "a.json", [image(1, "a.png")], [wrong]), message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.json: expected JSON"),
        ("[" * 100_000, "a.json: expected JSON"),
        ("{'images': []}", "a.json: expected JSON"),
        ("[]", "expected the lists images, annotations and categories, found list"),
        ('{"images": [], "annotations": {}}', "expected the lists .* found .'images', 'annotations'"),
        ('{"two\\nlines": []}', r"found .'two\\nlines'"),
        (json.dumps({"images": [], "annotations": [], "categories": []}), "holds no example"),
        (json.dumps({"images": [3], "annotations": [], "categories": []}), "image 0: expected an object"),
        (json.dumps({"images": [{}], "annotations": [], "categories": []}), "image 0: expected an id"),
        (
            json.dumps({"images": [{"id": 1}, {"id": 1}], "annotations": [], "categories": []}),
            "image 1: expected every image's id once",
        ),
        (
            json.dumps({"images": [], "annotations": [], "categories": [{"id": "1", "name": "cat"}]}),
            "category 0: expected a whole number as id and a name",
        ),
        (
            json.dumps({"images": [], "annotations": [], "categories": [*CATEGORIES, CATEGORIES[0]]}),
            "category 2: .*once",
        ),
    ],
)
def test_what_is_no_such_file(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    refused(tmp_path / "a.json", message)


def test_what_is_no_file_at_all(tmp_path):
    (tmp_path / "a.json").mkdir()
    refused(tmp_path / "a.json", "expected a COCO file at .*, found a folder")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\xfd")
    refused(tmp_path / "b.json", "b.json: expected JSON")


def test_no_categories(tmp_path):
    refused(write(tmp_path / "a.json", [image(1, "a.png")], [], []), "expected categories, found none")


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "/etc/secret.png", "a/../../secret.png", "C:\\secret.png", "..\\secret.png", "", None, "\0"],
)
def test_names_do_not_lead_out_of_the_folder(tmp_path, name):
    path = write(tmp_path / "set" / "a.json", [image(1, "a.png")], [])
    Image.new("RGB", (20, 10)).save(tmp_path / "secret.png")
    path.write_text(json.dumps({"images": [image(1, name)], "annotations": [], "categories": CATEGORIES}))
    refused(path, "image 1: expected a file_name inside the images' folder")


def test_an_image_that_is_missing(pets):
    (pets.parent / "images" / "three.png").unlink()
    refused(pets, r"pets.json: image 5: expected it at .*images/three.png, found nothing")
    assert load_boxes(pets, "train[:2]").num_examples == 2


def test_images_that_cannot_be_read(tmp_path, damaged):
    _, data, message = damaged
    path = write(tmp_path / "a.json", [image(1, "a.png")], [])
    (tmp_path / "images" / "a.png").write_bytes(data)
    refused(path, message)


def test_the_size_of_another_image(tmp_path):
    path = write(tmp_path / "a.json", [image(1, "a.png", width=10, height=20)], [], folder=".")
    refused(path, r"a.json: image 1: expected the size of .*a.png, 20x10, found 10x20")


def test_the_limits(tmp_path, monkeypatch):
    boxes = [box(number, 1, [number % 10, 1, 5.5, 5]) for number in range(5000)]
    path = write(tmp_path / "a.json", [image(1, "a.png")], boxes)
    ((_, targets),) = examples(load_boxes(path))
    assert targets["boxes"].shape == (5000, 4)
    monkeypatch.setattr(coco, "MAX_BOXES", 4999)
    refused(path, "image 1: expected at most 4,999 boxes, got 5,000")
    monkeypatch.setattr(coco, "MAX_JSON_BYTES", 1000)
    refused(path, "a.json: expected at most 1,000 bytes")
