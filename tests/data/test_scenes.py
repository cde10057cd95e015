from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from kapps.data import load, load_boxes, make_scene, scene_dataset, scenes, write_scenes
from kapps.errors import DataError, OutputError

SCENES = [make_scene(0, index, num_objects=(0, 5)) for index in range(150)]


def extent(mask: np.ndarray) -> list[float]:
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_boxes_and_masks_belong_together():
    for scene in SCENES:
        count = len(scene.objects)
        assert scene.image.shape == (128, 128, 3)
        assert scene.masks.shape == (count, 128, 128)
        assert scene.boxes.shape == (count, 4)
        assert (scene.masks.sum(axis=0) <= 1).all()  # what is seen is seen once
        for box, mask in zip(scene.boxes, scene.masks, strict=True):
            assert box.tolist() == extent(mask)
        assert all(0.4 <= visible <= 1 for visible in scene.visible)
        if count:
            assert scene.objects[-1].visible == 1  # nothing is nearer than the last


def test_objects_are_drawn_where_the_masks_say():
    for scene in SCENES[:60]:
        for thing, mask in zip(scene.objects, scene.masks, strict=True):
            # Inside the edges, every pixel has the named colour; the shade varies by 12.
            inner = mask.copy()
            for axis in (0, 1):
                inner &= np.roll(mask, 1, axis) & np.roll(mask, -1, axis)
            if inner.sum() >= 4:
                colour = np.median(scene.image[inner], axis=0)
                assert np.abs(colour - scenes.COLOURS[thing.colour]).max() <= 13, thing


def test_sizes_are_true_to_their_names():
    for scene in SCENES:
        for thing in scene.objects:
            longest = max(thing.box[2] - thing.box[0], thing.box[3] - thing.box[1])
            assert longest <= scenes.SIZES[thing.size][1] * 128 + 2
            if thing.visible == 1 and thing.name in ("circle", "ring", "star"):
                assert longest >= scenes.SIZES[thing.size][0] * 128 * 0.85 - 2


def test_hidden_parts_are_known():
    """The visible part, against the same object's whole area: circles of known size."""
    checked = 0
    for scene in SCENES:
        for thing, mask in zip(scene.objects, scene.masks, strict=True):
            if thing.name == "circle" and thing.visible < 1:
                x1, y1, x2, y2 = thing.box
                centre_x, centre_y = thing.centre
                radius = max(centre_x - x1, x2 - centre_x, centre_y - y1, y2 - centre_y)
                whole = np.pi * radius**2
                assert mask.sum() / whole == pytest.approx(thing.visible, abs=0.12)
                checked += 1
    assert checked >= 3


def test_a_scene_is_a_function_of_seed_and_number():
    scene = make_scene(5, 1234, (96, 160))
    again = make_scene(5, 1234, (96, 160))
    np.testing.assert_array_equal(scene.image, again.image)
    assert scene.objects == again.objects
    assert (scene.caption, scene.questions) == (again.caption, again.questions)
    assert scene.image.shape == (96, 160, 3)
    for other in (make_scene(6, 1234, (96, 160)), make_scene(5, 1235, (96, 160))):
        assert not np.array_equal(scene.image, other.image)


@pytest.mark.parametrize("size", [(32, 32), (32, 300), (500, 64)])
def test_any_size(size):
    for index in range(20):
        scene = make_scene(1, index, size, num_objects=(3, 3))
        assert scene.image.shape == (*size, 3)
        assert len(scene.objects) >= 1
        if len(scene.objects):
            assert (scene.boxes >= 0).all()
            assert (scene.boxes[:, 2:] <= [size[1], size[0]]).all()


def test_captions_tell_what_is_there():
    pattern = re.compile(r"(small|medium|large) (\w+) (\w+)")
    for scene in SCENES:
        said = Counter(" ".join(match.groups()) for match in pattern.finditer(scene.caption))
        assert said == Counter(str(thing) for thing in scene.objects)
        assert scene.caption.startswith("a ")
        assert f"a {scene.background} background" in scene.caption
        match = re.match(r"a (\w+ \w+ \w+) (left of|right of|above|below) a (\w+ \w+ \w+)", scene.caption)
        assert bool(match) == (len(scene.objects) >= 2)
        if match and len({str(thing) for thing in scene.objects}) == len(scene.objects):
            first, second = (next(o for o in scene.objects if str(o) == match[i]) for i in (1, 3))
            assert holds(first, match[2], second)


def holds(first: scenes.SceneObject, relation: str, second: scenes.SceneObject) -> bool:
    (x1, y1), (x2, y2) = first.centre, second.centre
    return {"left of": x1 < x2, "right of": x1 > x2, "above": y1 < y2, "below": y1 > y2}[relation]


def answer(question: str, scene: scenes.Scene) -> str:
    """Answers a question from the objects alone, by another way than the generator's."""
    things = scene.objects
    if question == "how many objects are there?":
        return str(len(scene.masks))
    if match := re.fullmatch(r"how many (\w+?)(es|s) are there\?", question):
        return str(sum(thing.name in (match[1], match[1] + "e") for thing in things))
    if match := re.fullmatch(r"is there an? (\w+) (\w+)\?", question):
        return "yes" if any((thing.colour, thing.name) == match.groups() for thing in things) else "no"
    if match := re.fullmatch(r"what colour is the (\w+)\?", question):
        (thing,) = (thing for thing in things if thing.name == match[1])
        return thing.colour
    if match := re.fullmatch(r"what is the (\w+) object\?", question):
        (thing,) = (thing for thing in things if thing.colour == match[1])
        return thing.name
    match = re.fullmatch(r"is the (\w+) (\w+) (left of|right of|above|below) the (\w+) (\w+)\?", question)
    assert match, question
    (first,) = (thing for thing in things if (thing.colour, thing.name) == match.groups()[:2])
    (second,) = (thing for thing in things if (thing.colour, thing.name) == match.groups()[3:])
    return "yes" if holds(first, match[3], second) else "no"


def test_answers_are_right_and_balanced():
    answers, counts = Counter(), Counter()
    for scene in SCENES:
        assert scene.questions
        for question, given in scene.questions:
            assert answer(question, scene) == given, (question, scene.objects)
            if given in ("yes", "no"):
                answers[question.split()[1], given] += 1
        counts[scene.questions[0][1]] += 1
    for kind in ("there", "the"):
        share = answers[kind, "yes"] / (answers[kind, "yes"] + answers[kind, "no"])
        assert 0.35 < share < 0.65, (kind, answers)
    assert set(counts) == set("012345")
    assert min(counts.values()) >= 10
    text = " ".join(question for scene in SCENES for question, _ in scene.questions)
    assert "a orange" not in text
    assert "an orange" in text


def test_all_classes_colours_and_backgrounds_occur():
    things = [thing for scene in SCENES for thing in scene.objects]
    assert {thing.name for thing in things} == set(scenes.CLASS_NAMES)
    assert {thing.colour for thing in things} == set(scenes.COLOURS)
    assert {thing.size for thing in things} == set(scenes.SIZES)
    assert {scene.background for scene in SCENES} == set(scenes.BACKGROUNDS)


def test_edges_are_smooth():
    scene = next(scene for scene in SCENES if any(thing.name == "circle" for thing in scene.objects))
    assert len(np.unique(scene.image.reshape(-1, 3), axis=0)) > 50


def test_as_a_classification_set():
    data = load("scenes", "train[:40]")
    assert (data.input_shape, data.num_classes) == ((64, 64, 3), 18)
    images, labels = next(iter(data.batches(40)))
    for index in (0, 17):
        scene = make_scene(0, index, (64, 64), num_objects=(1, 1))
        np.testing.assert_array_equal(images[index], scene.image)
        assert labels[index] == scene.labels[0]
    # The splits are other scenes.
    image = next(iter(load("scenes", "test[:1]").examples))[0]
    np.testing.assert_array_equal(image, make_scene(0, 12_000, (64, 64), num_objects=(1, 1)).image)
    assert load("scenes", "validation[50%:]").num_examples == 1000


def test_as_a_detection_set():
    data = load_boxes("scene_boxes", "train[:30]")
    assert (data.name, data.num_examples, data.class_names) == ("scene_boxes", 30, scenes.CLASS_NAMES)
    counts = Counter()
    for index, (image, targets) in enumerate(data.examples.as_numpy_iterator()):
        scene = make_scene(2, index, (128, 128), num_objects=(0, 5))
        np.testing.assert_array_equal(image, scene.image)
        np.testing.assert_array_equal(targets["boxes"], scene.boxes)
        np.testing.assert_array_equal(targets["classes"], scene.labels)
        assert targets["areas"].tolist() == [mask.sum() for mask in scene.masks]
        assert not targets["crowd"].any()
        assert not targets["difficult"].any()
        counts[len(scene.objects)] += 1
    assert set(counts) == set(range(6))
    # The splits are other scenes.
    image, _ = next(iter(load_boxes("scene_boxes", "test[:1]").examples))
    np.testing.assert_array_equal(image, make_scene(2, 11_000, (128, 128), num_objects=(0, 5)).image)
    assert load_boxes("scene_boxes", "val[50%:]").num_examples == 500
    with pytest.raises(DataError, match="scene_boxes has no split 'dev'"):
        load_boxes("scene_boxes", "dev")


def test_as_a_stream():
    elements = list(scene_dataset(3, size=(48, 64), num_objects=(0, 4), start=10, count=5).as_numpy_iterator())
    assert [element["index"] for element in elements] == [10, 11, 12, 13, 14]
    for element in elements:
        scene = make_scene(3, int(element["index"]), (48, 64), num_objects=(0, 4))
        np.testing.assert_array_equal(element["image"], scene.image)
        np.testing.assert_array_equal(element["boxes"], scene.boxes)
        np.testing.assert_array_equal(element["masks"], scene.masks)
        assert element["caption"].decode() == scene.caption
        pairs = [(q.decode(), a.decode()) for q, a in zip(element["questions"], element["answers"], strict=True)]
        assert tuple(pairs) == scene.questions
    endless = scene_dataset(3, size=(48, 64), num_objects=(0, 4))
    padded = next(iter(endless.padded_batch(6)))
    assert padded["boxes"].shape == (6, 4, 4)  # the fullest of the six has four objects
    ragged = next(iter(endless.ragged_batch(6)))
    assert ragged["boxes"].row_lengths().numpy().tolist() == [
        len(make_scene(3, index, (48, 64), num_objects=(0, 4)).objects) for index in range(6)
    ]


def decoded(segmentation: dict) -> np.ndarray:
    values = np.repeat(np.arange(len(segmentation["counts"])) % 2 == 1, segmentation["counts"])
    return values.reshape(segmentation["size"], order="F")


def test_run_lengths_of_small_masks():
    def lengths(rows):
        return scenes.run_lengths(np.array(rows, bool))

    assert lengths([[0, 0], [0, 0]]) == [4]
    assert lengths([[1, 1], [1, 1]]) == [0, 4]
    assert lengths([[0, 1], [1, 0]]) == [1, 2, 1]  # column by column
    assert lengths([[1, 0], [0, 1]]) == [0, 1, 2, 1]


def test_written_files(tmp_path):
    done = []
    folder = write_scenes(tmp_path / "out", 6, seed=2, size=(64, 96), progress=done.append)
    assert done == [1, 2, 3, 4, 5, 6]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    instances, captions, questions, answers = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("instances", "captions", "questions", "answers")
    )
    names = {category["id"]: category["name"] for category in instances["categories"]}
    for entry in instances["images"]:
        scene = make_scene(2, entry["id"], (64, 96), num_objects=(0, 5))
        with Image.open(folder / "images" / entry["file_name"]) as image:
            np.testing.assert_array_equal(np.asarray(image), scene.image)
        mine = [item for item in instances["annotations"] if item["image_id"] == entry["id"]]
        assert [names[item["category_id"]] for item in mine] == [thing.name for thing in scene.objects]
        for item, thing, mask in zip(mine, scene.objects, scene.masks, strict=True):
            x, y, width, height = item["bbox"]
            assert (x, y, x + width, y + height) == thing.box
            np.testing.assert_array_equal(decoded(item["segmentation"]), mask)
            assert item["area"] == mask.sum()
        assert captions["annotations"][entry["id"]]["caption"] == scene.caption
    assert len({item["id"] for item in instances["annotations"]}) == len(instances["annotations"])
    asked = {item["question_id"]: item["question"] for item in questions["questions"]}
    assert set(asked) == {item["question_id"] for item in answers["annotations"]}


def test_nothing_half_written(tmp_path):
    def stop(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path / "out", 5, size=(32, 32), progress=stop)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(OutputError, match="holds something"):
        write_scenes(tmp_path / "full", 1)
    with pytest.raises(OutputError, match="cannot be written"):
        write_scenes(tmp_path / "full" / "file" / "below", 1)
    assert (tmp_path / "full" / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed from 0"),
        ({"index": -1}, "number from 0"),
        ({"size": (16, 64)}, "sides of 32 to 4096"),
        ({"size": (64, 5000)}, "sides of 32 to 4096"),
        ({"num_objects": (3, 2)}, "fewest and most"),
        ({"num_objects": (0, 99)}, "fewest and most"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(DataError, match=message):
        make_scene(**{"seed": 0, "index": 0, **arguments})
    with pytest.raises(DataError):
        write_scenes("/nonexistent", 0)
    with pytest.raises(DataError):
        scene_dataset(start=-1)
