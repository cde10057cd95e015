"""A detector at work: what it finds, the proposals it chooses from, and where its anchors see an object; and beside it
what the whole family of detectors was measured to do."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from apps import drawing, layout, models
from apps.drawing import Figure
from kapps.boxes.drawing import draw
from kapps.errors import KappsError
from kapps.exporting.card import Card

if TYPE_CHECKING:
    from kapps.predict import Predictor

MISSING = (
    "No detector is here yet. `kapps train scenes_faster_rcnn` trains one, and "
    "`kapps export runs/scenes_faster_rcnn/seed0 saved_models/scenes_faster_rcnn` puts it here."
)
LARGEST_SIDE = 1024  # pixels of a picture of the visitor's; what is larger is made smaller
MOST_PROPOSALS = 300
# What the time of an image is made of, and the colour of each in a picture.
STAGES = {"proposals": "#d9772b", "features": "#3a7ca5", "classification": "#8f8f8f"}
SHORTEST = 1e-3  # seconds: where the bars begin


class Seen(NamedTuple):
    """One picture and what is known about it.

    Attributes:
        image: uint8 [H, W, 3].
        truth: `label` and `box` of each object; None for a picture of the visitor's.
        name: how to call it.
    """

    image: np.ndarray
    truth: list[dict[str, Any]] | None
    name: str


class Steps(NamedTuple):
    """What happened inside, for one image: P proposals, C classes; boxes "xyxy" in pixels.

    Attributes:
        boxes: float32 [P, 4], of the proposals.
        scores: float32 [P]: how likely an object.
        class_boxes: float32 [P, C, 4]: moved, for each class.
        class_scores: float32 [P, C].
        objectness: level -> float32 [h, w].
        seconds: how long it took.
    """

    boxes: np.ndarray
    scores: np.ndarray
    class_boxes: np.ndarray
    class_scores: np.ndarray
    objectness: dict[str, np.ndarray]
    seconds: float


def detectors() -> dict[str, str]:
    """The exported detectors that are here, title -> name; first those for scenes, which can be made on the spot."""
    found = []
    for file in sorted(models.models_dir().glob("*/card.json")):
        try:
            card = Card.read(file)
        except KappsError:
            continue  # another page says what is wrong with it
        if card.kind == "detection":
            found.append(card)
    found.sort(key=lambda card: not card.data.startswith("scene_boxes"))
    return {card.title: card.name for card in found}


def given(predictor: Predictor) -> Seen | None:
    """The scene or the visitor's picture; None while there is none. Draws the controls.

    Raises:
        ImageError: it is no picture that can be read rightly.
    """
    from kapps.data.images import check_image_bytes, read_image  # only now: TensorFlow takes seconds
    from kapps.data.scenes import CLASS_NAMES, make_scene

    knows_scenes = set(predictor.labels) == set(CLASS_NAMES)
    ways = [*(["Generated scene"] if knows_scenes else []), "Upload"]
    how = st.segmented_control(
        "Where the picture comes from",
        ways,
        default=ways[0],
        required=True,
        label_visibility="collapsed",
        key=f"find_how {predictor.card.name}",
    )
    if how == "Generated scene":
        seeds, numbers = st.columns(2)
        seed = seeds.number_input("Seed", 0, 2**31 - 1, 7, key="find_seed")
        index = numbers.number_input("Scene", 0, 2**31 - 1, 0, key="find_scene")
        scene = make_scene(seed, index, num_objects=(2, 5))
        truth = [{"label": thing.name, "box": list(thing.box)} for thing in scene.objects]
        return Seen(scene.image, truth, f"{scene.image.shape[0]} × {scene.image.shape[1]} pixels")
    file = st.file_uploader(
        "A picture",
        type=["png", "jpg", "jpeg", "gif", "bmp"],
        key=f"find_upload {predictor.card.name}",
        max_upload_size=layout.LARGEST_UPLOAD,
    )
    if file is None:
        return None
    check_image_bytes(file.getvalue(), file.name)
    image = drawing.thumbnail(read_image(file.getvalue()), LARGEST_SIDE)
    if image.ndim == 2:
        image = image[..., np.newaxis]
    return Seen(np.repeat(image, 3 // image.shape[-1], axis=-1), None, file.name)


def look(predictor: Predictor, image: np.ndarray) -> Steps:
    """All that happens between the image and its detections."""
    import tensorflow as tf  # only now: it takes seconds

    height, width = image.shape[:2]
    begun = time.perf_counter()
    found = {name: value.numpy()[0] for name, value in predictor.steps_function(image=tf.constant(image[None])).items()}
    took = time.perf_counter() - begun

    def pixels(boxes: np.ndarray) -> np.ndarray:
        return boxes[..., [1, 0, 3, 2]] * np.float32([width, height, width, height])

    return Steps(
        pixels(found["proposal_boxes"]),
        found["proposal_scores"],
        pixels(found["class_boxes"]),
        found["class_scores"],
        {name: found[name] for name in sorted(found) if name.startswith("objectness")},
        took,
    )


def choose(steps: Steps, labels: tuple[str, ...], score: float, iou: float) -> list[dict[str, Any]]:
    """The detections by these two thresholds, best first: `label`, `score`, `box`."""
    from kapps.boxes.suppression import suppress  # only now: TensorFlow takes seconds

    places, classes = np.nonzero(steps.class_scores > score)
    boxes, scores = steps.class_boxes[places, classes], steps.class_scores[places, classes]
    numbers, count = suppress(boxes, scores, classes, iou_threshold=iou, max_outputs=100)
    return [
        {"label": labels[classes[number]], "score": float(scores[number]), "box": boxes[number].tolist()}
        for number in numbers.numpy()[: int(count)]
    ]


def show_found(seen: Seen, found: list[dict[str, Any]], labels: tuple[str, ...], seconds: float) -> None:
    """The picture with what was found in it, the truth beside it where it is known, and a list."""
    large = max(1, round(512 / max(seen.image.shape[:2])))
    figures = [
        Figure(drawn(seen.image, found, labels, large), "Found", f"in {1000 * seconds:.0f} ms", "What was found")
    ]
    if seen.truth is not None:
        figures.append(
            Figure(drawn(seen.image, seen.truth, labels, large), "The truth", "known exactly", "What is there")
        )
    st.html(drawing.figures_html(figures, least_width="22rem"))
    if not found:
        st.info("Nothing has so high a score: move the slider to the left.")
        return
    table = pd.DataFrame(
        [
            (thing["label"], drawing.percent(thing["score"]), *(round(side, 1) for side in thing["box"]))
            for thing in found
        ],
        columns=["Object", "Score", "Left", "Top", "Right", "Bottom"],
    )
    st.dataframe(table, hide_index=True, height="content")


def show_steps(seen: Seen, steps: Steps) -> None:
    """Where the anchors see an object, level by level, and the best proposals."""
    layout.section(
        "Where there may be an object",
        "The region proposal network asks at every place of every level whether an anchor there holds an object: dark "
        "is no, bright is yes. Fine levels look for small objects, coarse ones for large ones.",
    )
    figures = []
    for name, scores in steps.objectness.items():
        stride = 2 ** int(name.removeprefix("objectness"))
        height, width = scores.shape
        caption = f"{height} × {width} places"
        figures.append(
            Figure(
                drawing.ramp(np.append(scores, [0.0, 1.0]))[:-2].reshape(*scores.shape, 3),
                f"Every {stride} pixels",
                caption,
                f"Objectness, {caption}",
            )
        )
    st.html(drawing.figures_html(figures, least_width="13rem"))
    real = steps.scores > 0
    most = int(min(real.sum(), MOST_PROPOSALS))
    layout.section(
        "The proposals",
        "The best anchors, moved by what the network says about each and without their doubles. Only in these does the "
        "second half of the network look for what it is.",
    )
    count = st.slider("How many, the best first", 1, most, min(20, most), key="find_count") if most > 1 else most
    large = max(1, round(512 / max(seen.image.shape[:2])))
    proposals = [{"label": "proposal", "score": None, "box": box.tolist()} for box in steps.boxes[real][:count]]
    picture = drawn(seen.image, proposals, ("proposal",), large, tags=False)
    caption = f"{count} of {int(real.sum())}"
    st.html(drawing.figures_html([Figure(picture, "Proposals", caption, "The best proposals")], least_width="22rem"))


def drawn(
    image: np.ndarray, objects: list[dict[str, Any]], labels: tuple[str, ...], times: int, *, tags: bool = True
) -> np.ndarray:
    """Frames on an image that is enlarged first, so that they hide less of it."""
    enlarged = image.repeat(times, axis=0).repeat(times, axis=1)
    moved = [{**thing, "box": [times * side for side in thing["box"]]} for thing in objects]
    return draw(enlarged, moved, labels, tags=tags)


def family() -> dict[str, Any] | None:
    """What the experiment that compares the family recorded; None while it has recorded nothing."""
    file = resources.files("kapps.tasks").joinpath("detection", "detector_family.results.json")
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def short_time(seconds: float | None) -> str:
    """`3.1 s`, `46 ms`, `0.4 ms`; a dash where nothing was measured."""
    if seconds is None:
        return "–"
    number, unit = (seconds, "s") if seconds >= 1 else (1000 * seconds, "ms")
    return f"{number:.0f} {unit}" if number >= 10 else f"{number:.1f} {unit}"


def family_table(cases: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One line a detector, in the order of the history; a dash where it has no such figure."""

    def shown(case: Mapping[str, Any], part: str, kind: str) -> str:
        value = case.get("parts", {}).get(part)
        return "–" if value is None else format(value, kind)

    rows = []
    for case in cases:
        parts = case.get("parts", {})
        rows.append(
            {
                "Detector": case["label"],
                "AP50": f"{case['median']:.3f}",
                "AP": shown(case, "AP", ".3f"),
                **{f"{stage.capitalize()} an image": short_time(parts.get(stage)) for stage in STAGES},
                "× R-CNN's speed without proposals": shown(case, "times R-CNN's speed without proposals", ".1f"),
                "× R-CNN's speed": shown(case, "times R-CNN's speed", ".1f"),
                "× selective search's speed": shown(case, "times selective search's speed", ".1f"),
                "Training": short_time(parts.get("training seconds")),
                "Disk, MB": shown(case, "disk, MB", ",.1f"),
                "Features if stored, MB": shown(case, "features if stored, MB", ",.0f"),
            }
        )
    return pd.DataFrame(rows)


def family_bars_html(cases: Sequence[Mapping[str, Any]]) -> str:
    """A bar for the time of each detector: as long as the logarithm of the time over `SHORTEST`, and divided into its
    stages as the time is. Detectors without times are left out."""
    timed = {
        str(case["label"]): [case["parts"][stage] for stage in STAGES]
        for case in cases
        if set(STAGES) <= set(case.get("parts", {}))
    }
    longest = max((sum(seconds) for seconds in timed.values()), default=SHORTEST)
    rows = []
    for label, seconds in timed.items():
        whole = sum(seconds)
        length = math.log(max(whole / SHORTEST, 1.01)) / math.log(max(longest / SHORTEST, 1.01))
        pieces = "".join(
            f'<span class="k-fill" style="width: {100 * length * one / whole:.2f}%; background: {colour}" '
            f'title="{stage}: {short_time(one)}"></span>'
            for one, (stage, colour) in zip(seconds, STAGES.items(), strict=True)
        )
        rows.append(
            f'<div class="k-bar"><span class="k-name">{escape(label)}</span>'
            f'<span class="k-track" style="display: flex">{pieces}</span>'
            f'<span class="k-value">{short_time(whole)}</span></div>'
        )
    legend = " &nbsp; ".join(f'<span style="color: {colour}">■</span> {stage}' for stage, colour in STAGES.items())
    return (
        f'<div class="k-bars" style="max-width: 52rem" role="img" aria-label="Seconds an image of each detector, by '
        f'stage">{"".join(rows)}</div><p class="k-note">{legend}. Logarithmic: each bar begins at '
        f"{short_time(SHORTEST)}; its colours divide it as they divide the time.</p>"
    )


def show_family() -> None:
    """The comparison of the family, as it was recorded."""
    layout.section(
        "The whole family side by side",
        "Five detectors on one trunk and one set of scenes: each keeps what the one before it computed again and "
        "again. What they find, and where the time of an image goes.",
    )
    measured = family()
    if measured is None:
        st.markdown(
            "Nothing is recorded yet. `kapps train detector_family --record` trains, measures and times all five."
        )
        return
    st.dataframe(family_table(measured["cases"]), hide_index=True, height="content")
    st.html(family_bars_html(measured["cases"]))
    if measured.get("finding"):
        st.markdown("**What was found.** " + layout.plain(measured["finding"]))
    st.caption(
        layout.plain(f"Measured on {measured.get('machine', 'an unknown machine')}. The command that does it again:")
    )
    st.code(measured["command"], language="bash", wrap_lines=True)


layout.header(
    "Find things",
    "Faster R-CNN proposes boxes, looks into them and names what is there ([Ren, He, Girshick and Sun "
    "2015](https://arxiv.org/abs/1506.01497), [Lin and others 2017](https://arxiv.org/abs/1612.03144)).",
)
names = detectors()
if not names:
    st.info(MISSING)
    show_family()
    st.stop()
left, right = st.columns([1, 2.6], gap="large")
try:
    with left:
        title = st.selectbox("Detector", list(names), key="find_model")
        predictor = models.load(names[title], ())
        seen = given(predictor)
        if seen is None:
            *others, last = predictor.labels
            known = f"{', '.join(others)} and {last}" if others else last
            st.info(f"It knows {known}, and nothing else.")
        score = st.slider("At least this score", 0.05, 0.95, 0.5, 0.05, key="find_score")
        iou = st.slider(
            "Doubles overlap by more than",
            0.1,
            0.9,
            0.5,
            0.05,
            key="find_iou",
            help="Of two boxes of a class that overlap by more (intersection over union), the worse one goes.",
        )
    if seen is not None:
        steps = look(predictor, seen.image)
        with right:
            show_found(seen, choose(steps, predictor.labels, score, iou), predictor.labels, steps.seconds)
            show_steps(seen, steps)
except KappsError as error:
    layout.failure(error)
show_family()
