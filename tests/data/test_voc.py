from __future__ import annotations

import logging
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kapps.data import load_boxes, voc
from kapps.errors import DataError, UnknownNameError

OBJECT = (
    "<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>"
    "<xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>\n"
)


def thing(name: str, *box, difficult=0) -> str:
    return OBJECT.format(name=name, box=box, difficult=difficult)


def page(*things: str, size: str = "<size><width>20</width><height>10</height><depth>3</depth></size>") -> str:
    """Line 1 is the root, line 2 the size, line 3 the first object."""
    return f"<annotation>\n{size}\n{''.join(things)}</annotation>\n"


def add(folder: Path, name: str, text: str | bytes, *, suffix: str = ".png", mode: str = "RGB") -> None:
    """An annotation and its image, 20 wide and 10 high."""
    for part in ("Annotations", "JPEGImages"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "Annotations" / f"{name}.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
    Image.new(mode, (20, 10), 50).save(folder / "JPEGImages" / f"{name}{suffix}")


def add_list(folder: Path, name: str, ids: list[str]) -> None:
    (folder / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    (folder / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(ids) + "\n")


@pytest.fixture
def pets(tmp_path) -> Path:
    """Four images with their splits."""
    folder = tmp_path / "pets"
    add(folder, "a", page(thing("dog", 3, 4, 12, 9), thing("cat", 1, 1, 20, 10, difficult=1)))
    add(folder, "b", page(), suffix=".jpg", mode="L")
    add(folder, "c", page(thing("cat", 5, 5, 6, 6)))
    add(folder, "d", page(thing("bird", 2.5, 3, 10, 7.5)))
    add_list(folder, "train", ["c", "a", "b"])
    add_list(folder, "val", ["d"])
    add_list(folder, "trainval", ["a", "b", "c", "d"])
    return folder


def examples(data) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Read one by one: building a pipeline for each of many tiny sets takes longer."""
    found = [data.decode(record) for record in data.records]
    return [(image.numpy(), {key: value.numpy() for key, value in targets.items()}) for image, targets in found]


def refused(folder: Path, message: str, **options) -> None:
    with pytest.raises(DataError, match=message) as error:
        load_boxes(folder, **options)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_boxes_by_hand(pets):
    data = load_boxes(pets)
    assert (data.num_examples, data.name, data.split, data.notes) == (3, "pets", "train", ())
    assert data.class_names == ("bird", "cat", "dog")  # those of all splits
    (_, c), (image, a), (grey, b) = examples(data)
    # Counted from 1 with both corners inside: the second box is the whole image.
    assert a["boxes"].tolist() == [[2, 3, 12, 9], [0, 0, 20, 10]]
    assert a["areas"].tolist() == [60, 200]
    assert a["classes"].tolist() == [2, 1]
    assert a["difficult"].tolist() == [False, True]
    assert a["crowd"].tolist() == [False, False]
    assert c["boxes"].tolist() == [[4, 4, 6, 6]]
    assert image.shape == grey.shape == (10, 20, 3)
    assert b["boxes"].shape == (0, 4)
    assert {key: value.dtype for key, value in b.items()} == {
        "boxes": np.float32,
        "classes": np.int32,
        "crowd": bool,
        "difficult": bool,
        "areas": np.float32,
    }


def test_splits_and_slices(pets):
    assert load_boxes(pets, "validation").num_examples == load_boxes(pets, "val").num_examples == 1
    assert load_boxes(pets, "val").split == "val"
    ((_, d),) = examples(load_boxes(pets, "val[:100%]"))
    assert d["boxes"].tolist() == [[1.5, 2, 10, 7.5]]
    assert load_boxes(pets, "trainval[50%:]").num_examples == 2
    assert load_boxes(pets, "train[:1]+val").num_examples == 2
    refused(pets, r"no split 'test': expected one of train \(3\), validation \(1\), trainval \(4\)", split="test")


def test_folders_by_name(pets, monkeypatch):
    """Below the working folder, else below `data_dir`."""
    assert load_boxes("pets", data_dir=pets.parent).num_examples == 3
    with pytest.raises(UnknownNameError, match="'pets'"):
        load_boxes("petz", data_dir=pets.parent)
    monkeypatch.chdir(pets.parent)
    assert load_boxes("pets").num_examples == load_boxes("./pets", data_dir="/nowhere").num_examples == 3


def test_without_lists_a_fifth_is_kept_for_testing(tmp_path):
    for number in range(20):
        add(tmp_path / "set", f"{number:02d}", page(thing("cat", number % 9 + 1, 1, 20, 10)))
    train, test = load_boxes(tmp_path / "set"), load_boxes(tmp_path / "set", "test")
    assert (train.num_examples, test.num_examples) == (16, 4)
    kept = examples(test)
    (tmp_path / "set").rename(tmp_path / "elsewhere")
    for (_, before), (_, after) in zip(kept, examples(load_boxes(tmp_path / "elsewhere", "test")), strict=True):
        np.testing.assert_array_equal(before["boxes"], after["boxes"])


def test_given_classes(pets):
    data = load_boxes(pets, classes=("dog", "horse", "cat"))
    assert data.class_names == ("dog", "horse", "cat")
    assert examples(data)[1][1]["classes"].tolist() == [0, 2]
    refused(
        pets,
        "a.xml line 4: expected one of the 2 classes, found 'cat': did you mean 'cats'",
        classes=("dog", "cats"),
        split="train[1:2]",
    )
    refused(pets, "c.xml line 3: expected one of the 1 classes, found 'cat': known: dog", classes=("dog",))


def test_slips_are_mended(tmp_path, caplog):
    add(
        tmp_path,
        "a",
        page(
            thing("cat", 0, 0, 5, 5),  # counted from 0
            thing("cat", 15, 5, 25, 12),  # over the border
            thing("cat", 7, 7, 7, 7),  # a click
            thing("cat", 7, 7, 9, 7),  # a line
            thing("cat", 21, 1, 30, 9),  # all of it outside
            thing("cat", 4, 4, 5, 5),
        ),
    )
    add_list(tmp_path, "train", ["a"])
    with caplog.at_level(logging.WARNING):
        data = load_boxes(tmp_path)
    ((_, targets),) = examples(data)
    assert targets["boxes"].tolist() == [[0, 0, 5, 5], [14, 4, 20, 10], [3, 3, 5, 5]]
    assert targets["classes"].tolist() == [0, 0, 0]
    assert data.notes == (
        "clipped 2 boxes that reached over the border of their image",
        "left out 3 boxes without area in their image, first a.xml line 5",
    )
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (thing("cat", 9, 1, 5, 5), "a.xml line 3: expected xmin up to xmax .* found x 9 to 5 and y 1 to 5"),
        (thing("cat", 1, 9, 5, 5), "line 3: expected xmin up to xmax"),
        (thing("cat", "nan", 1, 5, 5), "line 3: expected a number as <xmin>, found 'nan'"),
        (thing("cat", 1, 1, "inf", 5), "line 3: expected a number as <xmax>, found 'inf'"),
        (thing("cat", 1, 1, 5, "five"), "line 3: expected a number as <ymax>, found 'five'"),
        (thing("cat", 1, 1, 5, ""), "expected a number as <ymax>, found ''"),
        (thing("", 1, 1, 5, 5), "line 3: expected a <name>"),
        (thing("cat", 1, 1, 5, 5, difficult="x"), "line 3: expected 0 or 1 as <difficult>, found 'x'"),
        ("<object><name>cat</name></object>", "line 3: expected a <xmin> in the <bndbox>"),
        ("<object><name>cat</name><name>dog</name></object>", "line 3: expected one <name>, found another"),
        ("<object>\n<name>cat</object>", "line 4: expected XML, it is damaged there"),
        ("<x>" * 25 + "</x>" * 25, "expected at most 20 elements inside each other"),
    ],
)
def test_faults_are_named_with_file_and_line(tmp_path, objects, message):
    add(tmp_path, "a", page(objects))
    refused(tmp_path, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "a.xml line 1: expected XML, it is damaged there .no element found"),
        (b"\x00\xff", "expected XML"),
        (b"<html></html>", "line 1: expected <annotation>, found <html>"),
        (b"<annotation>", "line 1: expected XML"),
        (b'<?xml version="1.0" encoding="klingon"?><annotation/>', "expected XML"),
        (b"<!DOCTYPE annotation SYSTEM 'file:///etc/passwd'>\n<annotation/>", "without DOCTYPE and entities"),
        (
            b'<!DOCTYPE bomb [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>\n<annotation>&b;</annotation>',
            "a.xml line 1: expected XML without DOCTYPE and entities, found one: remove it",
        ),
        (b"<annotation>&nothing;</annotation>", "undefined entity"),
    ],
)
def test_what_is_no_such_xml(tmp_path, text, message):
    add(tmp_path, "a", text)
    refused(tmp_path, message)


def test_an_xml_in_another_encoding(tmp_path):
    text = '<?xml version="1.0" encoding="ISO-8859-1"?>\n' + page(thing("Käse", 1, 1, 5, 5))
    add(tmp_path, "a", text.encode("latin-1"))
    assert load_boxes(tmp_path).class_names == ("Käse",)


def test_parts_of_an_object_are_no_objects(tmp_path):
    person = thing("person", 1, 1, 20, 10).replace(
        "</object>",
        "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part></object>",
    )
    add(tmp_path, "a", page(person))
    data = load_boxes(tmp_path)
    assert data.class_names == ("person",)
    assert examples(data)[0][1]["boxes"].tolist() == [[0, 0, 20, 10]]


@pytest.mark.parametrize(
    "size", ["", "<size><width>0</width><height>0</height></size>", "<size><width>20</width></size>"]
)
def test_a_size_that_says_nothing(tmp_path, size):
    add(tmp_path, "a", page(thing("cat", 1, 1, 99, 99), size=size))
    assert examples(load_boxes(tmp_path))[0][1]["boxes"].tolist() == [[0, 0, 20, 10]]


def test_the_size_of_another_image(tmp_path):
    add(tmp_path, "a", page(thing("cat", 1, 1, 9, 9), size="<size><width>10</width><height>20</height></size>"))
    refused(tmp_path, "a.xml line 2: expected the size of .*a.png, 20x10, found 10x20")


def test_a_photo_that_is_turned_by_its_orientation(tmp_path):
    """Size and boxes are those of the upright image."""
    upright = "<size><width>10</width><height>20</height></size>"
    add(tmp_path, "a", page(thing("cat", 1, 1, 10, 20), size=upright), suffix=".jpg")
    refused(tmp_path, "expected the size of .*a.jpg, 20x10, found 10x20")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "JPEGImages" / "a.jpg", exif=exif)
    ((image, targets),) = examples(load_boxes(tmp_path))
    assert image.shape == (20, 10, 3)
    assert targets["boxes"].tolist() == [[0, 0, 10, 20]]


def test_images_and_annotations_belong_together(pets):
    Image.new("L", (20, 10)).save(pets / "JPEGImages" / "more.png")
    assert load_boxes(pets).notes == ("left out 1 images without an annotation of the same name",)
    (pets / "JPEGImages" / "a.png").rename(pets / "JPEGImages" / "other.png")
    refused(pets, r"Annotations/a.xml: expected one image a.jpg .* in .*JPEGImages, found 0")
    # Only without an image of its own name does an annotation's `filename` count, and it leads nowhere else.
    text = page(thing("cat", 1, 1, 9, 9), size="<filename>other.png</filename>")
    (pets / "Annotations" / "a.xml").write_text(text)
    assert load_boxes(pets).num_examples == 3
    for name in ("../JPEGImages/other.png", str(pets / "JPEGImages" / "other.png"), "elsewhere.png"):
        (pets / "Annotations" / "a.xml").write_text(text.replace("other.png", name))
        refused(pets, "expected one image a.jpg")
    (pets / "Annotations" / "a.xml").unlink()
    refused(pets, r"train.txt line 2: expected the annotation of 'a' in .*Annotations, found none")


def test_two_images_of_one_name(pets):
    Image.new("L", (20, 10)).save(pets / "JPEGImages" / "a.bmp")
    refused(pets, "expected one image a.jpg .*, found 2")
    text = (pets / "Annotations" / "a.xml").read_text()
    (pets / "Annotations" / "a.xml").write_text(text.replace("<size>", "<filename>a.png</filename><size>"))
    assert load_boxes(pets).num_examples == 3


def test_an_id_twice(pets):
    add_list(pets, "train", ["a", "", "a"])
    refused(pets, "train.txt line 3: expected every id once, got 'a' again")


def test_a_list_that_is_no_text(pets):
    (pets / "ImageSets" / "Main" / "train.txt").write_bytes(b"\xff\xfe\x00")
    refused(pets, "train.txt: expected an id a line in UTF-8")


def test_folders_that_are_no_such_set(tmp_path):
    add(tmp_path, "a", page())
    refused(tmp_path, "expected <object> in the annotations of .*, found none")
    (tmp_path / "JPEGImages" / "a.png").unlink()
    (tmp_path / "JPEGImages").rmdir()
    (tmp_path / "Annotations" / "a.xml").write_text(page(thing("cat", 1, 1, 2, 2)))
    refused(tmp_path, "expected the images of .* in .*JPEGImages")


def test_images_that_cannot_be_read(tmp_path, damaged):
    _, data, message = damaged
    add(tmp_path, "a", page(thing("cat", 1, 1, 2, 2)))
    (tmp_path / "JPEGImages" / "a.png").write_bytes(data)
    refused(tmp_path, message)


def test_the_limits(tmp_path, monkeypatch):
    many = [thing("cat", 1 + number % 10, 1, 12, 9) for number in range(5000)]
    add(tmp_path, "a", page(*many))
    ((_, targets),) = examples(load_boxes(tmp_path))
    assert targets["boxes"].shape == (5000, 4)
    monkeypatch.setattr(voc, "MAX_BOXES", 4999)
    refused(tmp_path, "a.xml line 5002: expected at most 4,999 objects, got more")
    monkeypatch.setattr(voc, "MAX_XML_BYTES", 1000)
    refused(tmp_path, "a.xml: expected at most 1,000 bytes")


def test_images_of_many_pixels(tmp_path):
    """20 megapixels are read; 900 are refused by their header."""
    add(tmp_path, "a", page(thing("cat", 1, 1, 5000, 4000), size=""))
    Image.new("1", (5000, 4000)).save(tmp_path / "JPEGImages" / "a.png")
    ((image, targets),) = examples(load_boxes(tmp_path))
    assert image.shape == (4000, 5000, 3)
    assert targets["boxes"].tolist() == [[0, 0, 5000, 4000]]
    data = bytearray((tmp_path / "JPEGImages" / "a.png").read_bytes())
    struct.pack_into(">II", data, 16, 30000, 30000)
    (tmp_path / "JPEGImages" / "a.png").write_bytes(data)
    refused(tmp_path, "a.png: expected at most 50,000,000 pixels")


def test_blood_cells(shared_dir):
    """Real annotations: two of their 3,943 boxes are clicks."""
    folder = shared_dir / "data" / "bccd"
    train, val = load_boxes(folder), load_boxes(folder, "val")
    assert train.class_names == val.class_names == ("Platelets", "RBC", "WBC")
    assert (train.num_examples, val.num_examples) == (205, 87)
    for data, click in ((train, "BloodImage_00343.xml line 50"), (val, "BloodImage_00338.xml line 158")):
        assert data.notes == (f"left out 1 boxes without area in their image, first {click}",)
    boxes = [targets["boxes"] for _, targets in val.examples.as_numpy_iterator()]
    ids = (folder / "ImageSets" / "Main" / "val.txt").read_text().split()
    written = [(folder / "Annotations" / f"{name}.xml").read_text().count("<object>") for name in ids]
    assert sum(map(len, boxes)) == sum(written) - 1
    assert [len(mine) for mine in boxes][:60] == written[:60]
    boxes = np.concatenate(boxes)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [640, 480]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_a_folder_under_data_dir_even_if_tfds_knows_a_set_of_that_name(pets, tmp_path):
    pets.rename(tmp_path / "bccd")
    data = load_boxes("bccd", data_dir=tmp_path)
    assert (data.name, data.num_examples, data.class_names) == ("bccd", 3, ("bird", "cat", "dog"))
    with pytest.raises(DataError, match="bccd is not prepared under"):
        load_boxes("bccd", data_dir=tmp_path / "elsewhere")
