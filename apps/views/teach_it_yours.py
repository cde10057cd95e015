"""Teach it yours: a few photos of each class, and a pre-trained network learns to tell them apart while you watch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from apps import drawing, layout, models, teaching
from apps.drawing import Figure
from apps.teaching import Job, Snapshot
from kapps.errors import KappsError

if TYPE_CHECKING:
    from kapps.predict import Predictor

WAYS = ("Upload", "Camera", "Zip file", "Example")
EXAMPLES = {
    "Shapes": (teaching.shapes, "Hearts, rings and stars in all colours on all grounds, drawn by kapps."),
    "Two photographs": (
        teaching.pieces,
        "Pieces of the two photographs that come with scikit-learn: does a petal look like a flower, and a roof like a "
        "temple? Pieces of one photograph are alike, so this is easier than it looks.",
    ),
}
HEAD, ALL = "Only the answer", "The whole network, too"
A_STRIP = 12  # thumbnails of a class
MISTAKES = 12
GREEN = "#5B8C5A"
AXIS = 44  # pixels for the numbers of both curves, so that their epochs stand above one another
EPOCH = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False))
# What `kapps.transfer` calls its steps, and what a visitor reads.
STEPS = {
    "starting": "Starting",
    "reading the photos": "Looking at the photos",
    "loading the network": "Loading the pre-trained network",
    "computing features": "What the network sees in them",
    "learning the head": "Learning to answer",
    "fine-tuning": "Fine-tuning the whole network",
    "calibrating": "Making it as sure as it is right",
    "writing the model": "Writing the model",
}


# --- the photos


def own_classes() -> list[dict[str, Any]]:
    """The visitor's classes, kept while they look at other pages: `{"id", "name", "photos": {digest: Snapshot}}`."""
    if "teach_classes" not in st.session_state:
        st.session_state["teach_classes"] = []
        add_class()
        add_class()
    return st.session_state["teach_classes"]


def add_class(name: str = "", photos: list[Snapshot] | None = None) -> None:
    """One more class, with the photos that there are already."""
    classes = st.session_state["teach_classes"]
    number = st.session_state["teach_number"] = st.session_state.get("teach_number", 0) + 1
    kept = {teaching.digest(photo.jpeg): photo for photo in photos or ()}
    classes.append({"id": number, "name": name or f"class {len(classes) + 1}", "photos": kept, "dropped": 0})


def take_photos(one: dict[str, Any], files: list[tuple[str, bytes]]) -> None:
    """Take encoded photos into a class; what cannot be read is told."""
    notes = []
    bar = st.progress(0.0) if len(files) > 1 else None
    for index, (name, data) in enumerate(files):
        if len(one["photos"]) >= teaching.MOST_PHOTOS:
            notes.append(f"expected at most {teaching.MOST_PHOTOS} photos of a class: the others are left out")
            break
        try:
            photo = teaching.take_in(data, name)
            one["photos"].setdefault(teaching.digest(photo.jpeg), photo)
        except KappsError as error:
            notes.append(f"left out {error}")
        if bar is not None:
            bar.progress((index + 1) / len(files), f"Reading {index + 1} of {len(files)}")
    st.session_state["teach_notes"] = notes


def show_class(one: dict[str, Any], upload: bool) -> None:
    """A class: its name, where its photos are dropped, and what there is already."""
    with st.container(border=True):
        one["name"] = teaching.clean_name(
            st.text_input("Name of the class", one["name"], teaching.LONGEST_NAME, key=f"teach_name {one['id']}")
        )
        if upload:
            # What was dropped is taken in, and the field is empty again: its next self has another key.
            files = st.file_uploader(
                "Photos of it",
                type=["png", "jpg", "jpeg", "gif", "bmp"],
                accept_multiple_files=True,
                key=f"teach_drop {one['id']} {one['dropped']}",
                max_upload_size=layout.LARGEST_UPLOAD,
                label_visibility="collapsed",
            )
            if files:
                take_photos(one, [(file.name, file.getvalue()) for file in files])
                one["dropped"] += 1
                st.rerun()
        show_strip(list(one["photos"].values()))
        if one["photos"] and st.button("Remove these photos", key=f"teach_clear {one['id']}", type="tertiary"):
            one["photos"].clear()
            st.rerun()


def show_strip(photos: list[Snapshot]) -> None:
    """How many photos a class has, and the first of them."""
    missing = teaching.LEAST_PHOTOS - len(photos)
    advice = (
        f"; {missing} more are needed, 20 are good" if missing > 0 else "; more are better" if len(photos) < 20 else ""
    )
    st.caption(f"{len(photos)} photo{'' if len(photos) == 1 else 's'}{advice}")
    if photos:
        st.html(drawing.strip_html([photo.thumbnail for photo in photos], A_STRIP))


def show_camera(classes: list[dict[str, Any]]) -> None:
    """One camera, for which class it takes photos, and beside it what there is of each class."""
    number = st.radio(
        "The next photo is of",
        range(len(classes)),
        format_func=lambda index: classes[index]["name"] or f"class {index + 1}",
        key="teach_target",
        horizontal=True,
    )
    one = classes[min(number or 0, len(classes) - 1)]
    left, right = st.columns([1.2, 1], gap="medium")
    with left:
        shot = st.camera_input(
            "Take a photo", key=f"teach_camera {one['id']} {one['dropped']}", label_visibility="collapsed"
        )
        st.caption("Turn the thing a little, or come nearer, from photo to photo: it learns what you show it.")
    if shot is not None:
        take_photos(one, [(f"photo {len(one['photos']) + 1}", shot.getvalue())])
        one["dropped"] += 1  # the camera is ready for the next one
        st.rerun()
    with right:
        for other in classes:
            show_class(other, upload=False)


def take_zip() -> None:
    """A zip file with a folder for each class takes the place of all classes."""
    dropped = st.session_state.get("teach_zips", 0)
    file = st.file_uploader(
        "A zip file with a folder of photos for each class",
        type=["zip"],
        key=f"teach_zip {dropped}",
        max_upload_size=teaching.LARGEST_ZIP,
    )
    if file is None:
        return
    try:
        with st.spinner("Reading the photos"):
            found, notes = teaching.read_zip(file.getvalue())
    except KappsError as error:
        layout.failure(error)
        return
    st.session_state["teach_classes"] = []
    for name, photos in found.items():
        add_class(name, photos)
    st.session_state["teach_notes"] = notes
    st.session_state["teach_zips"] = dropped + 1
    st.rerun()


def show_notes() -> None:
    """What was left out when photos were taken in last."""
    notes = st.session_state.get("teach_notes") or []
    if notes:
        st.warning("  \n".join(layout.plain(note) for note in notes[:5]))
        if len(notes) > 5:
            st.caption(f"{len(notes) - 5} more were left out.")


def collect() -> dict[str, list[Snapshot]]:
    """The classes as they are given now; draws the upper part of the page."""
    way = st.segmented_control(
        "Where the photos come from",
        WAYS,
        default=WAYS[0],
        required=True,
        label_visibility="collapsed",
        key="teach_way",
    )
    if way == "Example":
        which = st.radio(
            "Which example", list(EXAMPLES), horizontal=True, label_visibility="collapsed", key="teach_which"
        )
        make, sentence = EXAMPLES[which]
        st.caption(sentence)
        given = make()
        for column, (name, photos) in zip(st.columns(len(given)), given.items(), strict=True):
            with column, st.container(border=True):
                st.markdown(f"**{name}**")
                show_strip(photos)
        return given
    if way == "Zip file":
        take_zip()
    classes = own_classes()
    show_notes()
    if way == "Camera":
        show_camera(classes)
    else:
        for row in in_rows(classes, 3):
            for column, one in zip(st.columns(max(2, len(row))), row, strict=False):
                with column:
                    show_class(one, upload=way == "Upload")
    with st.container(horizontal=True):
        if len(classes) < teaching.MOST_CLASSES and st.button("Add a class", icon=":material/add:"):
            add_class()
            st.rerun()
        if len(classes) > 2 and st.button("Remove the last class", icon=":material/remove:"):
            classes.pop()
            st.rerun()
    missing = teaching.what_is_missing([(one["name"], list(one["photos"].values())) for one in classes])
    if missing:
        st.info(layout.plain(missing) + " Or choose *Example* above, which needs no photos.")
        return {}
    return {one["name"]: list(one["photos"].values()) for one in classes}


def in_rows(things: list[Any], width: int) -> list[list[Any]]:
    """As many rows as are needed, each at most so wide."""
    return [things[begin : begin + width] for begin in range(0, len(things), width)]


def show_teach(classes: dict[str, list[Snapshot]]) -> None:
    """How it shall learn, and the button."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        depth = st.segmented_control(
            "What learns",
            [HEAD, ALL],
            default=HEAD,
            required=True,
            key="teach_depth",
            width="content",
            help="Only the answer: some seconds on top of a network that stays as it is. The whole network: some "
            "minutes, and often a little better.",
        )
        mirror = st.toggle(
            "Average each photo with its mirror image",
            key="teach_mirror",
            width="content",
            help="Often a little better, and twice the work. Not for things that differ by left and right.",
        )
        pressed = st.button("Teach", type="primary", disabled=not classes, icon=":material/school:", width=260)
    if pressed:
        options = {"tune": depth == ALL, "mirror": mirror}
        try:
            st.session_state["teach_job"] = teaching.desk().start(classes, options, teaching.this_session())
        except KappsError as error:
            layout.failure(error)
        else:
            example = st.session_state["teach_way"] == "Example"
            st.session_state["teach_example"] = st.session_state["teach_which"] if example else None
            st.rerun()


# --- the learning


@st.fragment(run_every=1.0)
def show_learning(job: Job) -> None:
    """How far it is, anew every second."""
    if job.status != "learning":
        st.rerun()
    course = job.course()
    left, right = st.columns([1, 1.4], gap="large")
    with left:
        st.html(drawing.steps_html(told(course), running=True))
        *_, (_, done, of) = course.steps or [("starting", 0, 0)]
        st.progress(min(done / of, 1.0) if of else 0.0)
        st.caption(f"{course.seconds:.0f} s so far")
        if st.button("Stop", icon=":material/stop:", key="teach_stop"):
            teaching.desk().close(job)
            st.session_state["teach_job"] = None
            st.rerun()
    with right:
        if course.epochs:
            show_loss(course.epochs)
            show_right(course.epochs)
        else:
            names = ", ".join(f"{count} of {layout.plain(name)}" for name, count in job.classes.items())
            st.caption(f"Photos: {names}. A fifth of them is kept back, to see how good it is on photos it never saw.")


def told(course: teaching.Course) -> list[tuple[str, str]]:
    """The steps as a visitor reads them, with how much is done."""
    rows = []
    for step, done, of in course.steps:
        text = f"{done} of {of}" if of else f"{done}" if done else ""
        rows.append((STEPS.get(step, step), text))
    return rows


def show_loss(epochs: list[dict[str, float]]) -> None:
    """The course of fine-tuning: the loss on the photos of both sides."""
    table = pd.DataFrame(epochs)
    lines = {"loss": "learned from (distorted)", "validation_loss": "kept back"}
    losses = table.melt("epoch", list(lines), "photos", "value").replace({"photos": lines})
    chart = alt.Chart(losses).encode(
        x=EPOCH,
        y=alt.Y("value:Q", title="cross-entropy", axis=alt.Axis(minExtent=AXIS, tickCount=4)),
        color=alt.Color(
            "photos:N", sort=list(lines.values()), legend=alt.Legend(orient="top", title=None, labelLimit=300)
        ),
        tooltip=["epoch", "photos", alt.Tooltip("value:Q", format=".3f")],
    )
    st.altair_chart(chart.mark_line(point=True).properties(height=300))


def show_right(epochs: list[dict[str, float]]) -> None:
    """And the share of those kept back that are answered rightly."""
    table = pd.DataFrame(epochs)
    lowest = min(0.9, 0.1 * np.floor(10 * table["validation_accuracy"].min()))
    chart = alt.Chart(table).encode(
        x=EPOCH,
        y=alt.Y(
            "validation_accuracy:Q",
            title="right, kept back",
            axis=alt.Axis(minExtent=AXIS, tickCount=3, format=".0%"),
            scale=alt.Scale(domain=[lowest, 1], nice=False),
        ),
        tooltip=["epoch", alt.Tooltip("validation_accuracy:Q", title="right", format=".1%")],
    )
    line = chart.mark_line(point=alt.OverlayMarkDef(color=GREEN), color=GREEN)
    st.altair_chart(line.properties(height=200))


# --- what came of it


def show_result(job: Job) -> None:
    """Figures, mistakes, a box to try it, and everything to take home."""
    result = job.result()
    show_figures(job, result)
    try:
        predictor = models.load_folder(job.taught / "model", ("grad_cam",))
        layout.section("Try it", "A photo that it has not seen.")
        try_it(predictor, unseen(job))
    except KappsError as error:
        layout.failure(error)
    show_mistakes(job, result)
    layout.section("Take it home", "The SavedModel with its card, for Python, the command line or TensorFlow Serving.")
    st.caption("`kapps predict taught/model PHOTO.jpg` answers with it, where the zip file was unpacked.")
    with st.container(horizontal=True):
        st.download_button(
            "Download the model",
            (job.taught / "model.zip").read_bytes,
            file_name="taught.zip",
            mime="application/zip",
            on_click="ignore",
            icon=":material/download:",
        )
        st.download_button(
            "Download the report",
            (job.taught / "report.html").read_bytes,
            file_name="report.html",
            mime="text/html",
            on_click="ignore",
            icon=":material/description:",
        )
        if st.button("Teach something else", icon=":material/restart_alt:"):
            teaching.desk().close(job)
            st.session_state["teach_job"] = None
            st.rerun()


def show_figures(job: Job, result: dict[str, Any]) -> None:
    """How good it is, what it confuses, and how it got there."""
    left, right = st.columns([1, 1.2], gap="large")
    figures, tuning = result["metrics"].get("validation"), result["fine_tuning"]
    with left:
        if figures:
            note = (
                f"of {figures['num_examples']} photos that were kept back are right; with 95 % confidence "
                f"{drawing.percent(figures['low'])} to {drawing.percent(figures['high'])} of all such photos"
            )
            st.html(drawing.figure_html(drawing.percent(figures["accuracy"]), note))
            st.caption("Rows are what the photos are, columns what it says.")
            st.html(drawing.matrix_html(result["confusion"], result["class_names"]))
        if tuning and tuning["epochs"]:
            show_right(tuning["epochs"])
    with right:
        photos = result["photos"]
        lines = [f"Learned from {photos['train']} photos in {job.course().seconds:.0f} s."]
        if tuning and tuning["epochs"]:
            lines.append(
                f"Fine-tuning helped: epoch {tuning['kept']} is kept."
                if tuning["kept"]
                else "Fine-tuning did not help: the network is as it came, only its answer is new."
            )
        if result["settings"]["mirror"]:
            lines.append("The model averages each photo with its mirror image.")
        st.markdown(" ".join(lines))
        if tuning and tuning["epochs"]:
            show_loss(tuning["epochs"])
        else:
            st.html(drawing.steps_html(told(job.course()), running=False))
        if result["notes"]:
            with st.expander("What was left out or decided"):
                st.markdown("\n".join(f"- {layout.plain(note)}" for note in result["notes"][:20]))


def show_mistakes(job: Job, result: dict[str, Any]) -> None:
    """The surest of its wrong answers."""
    mistakes = result["mistakes"][:MISTAKES]
    if not mistakes:
        return
    from kapps.data.images import read_image  # only now: TensorFlow takes seconds

    layout.section("Its surest mistakes", "Look whether the network is wrong, or the photo lies in the wrong class.")
    figures = []
    for mistake in mistakes:
        file = job.folder / Path(mistake["file"])
        said = f"{mistake['answer']} {drawing.percent(mistake['confidence'])}"
        text = f"is {mistake['folder']}"
        photo = drawing.thumbnail(read_image(file), 240)
        figures.append(Figure(photo, said, text, f"A photo of {mistake['folder']}", smooth=True))
    st.html(drawing.figures_html(figures, least_width="8rem"))


def unseen(job: Job) -> dict[str, Snapshot]:
    """A photo of each class that the process did not get, where an example was taught; else none."""
    which = st.session_state.get("teach_example")
    if which is None:
        return {}
    make, _ = EXAMPLES[which]
    return {name: photos[-1] for name, photos in make(max(job.classes.values()) + 1).items()}


def try_it(predictor: Predictor, examples: dict[str, Snapshot]) -> None:
    """A fresh photo, its probabilities, and the places that speak for the answer."""
    from kapps.data.images import check_image_bytes, read_image  # only now: TensorFlow takes seconds

    left, middle, right = st.columns([1.1, 1, 1], gap="large")
    with left:
        ways = ["Example", "Upload", "Camera"] if examples else ["Upload", "Camera"]
        way = st.segmented_control(
            "Where the photo comes from",
            ways,
            default=ways[0],
            required=True,
            label_visibility="collapsed",
            key="teach_try_way",
        )
        if way == "Example":
            name = st.radio(
                "Of which class", list(examples), horizontal=True, label_visibility="collapsed", key="teach_try_example"
            )
            data, called = examples[name].jpeg, name
        else:
            if way == "Camera":
                file = st.camera_input("One photo", key="teach_try_camera", label_visibility="collapsed")
            else:
                file = st.file_uploader(
                    "One photo",
                    type=["png", "jpg", "jpeg", "gif", "bmp"],
                    key="teach_try",
                    label_visibility="collapsed",
                    max_upload_size=layout.LARGEST_UPLOAD,
                )
            if file is None:
                return
            data, called = file.getvalue(), file.name
    try:
        check_image_bytes(data, called)
        photo = drawing.thumbnail(read_image(data, called), 480)
        answer = predictor(data)
    except KappsError as error:
        layout.failure(error)
        return
    with middle:
        st.html(drawing.answer_html(answer["label"], answer["score"], "probability"))
        st.html(drawing.bars_html(answer["probabilities"], answer["label"]))
    with right:
        from kapps.explaining import attribute, to_image

        cam = attribute(predictor, predictor.preprocess(data)[0], method="grad_cam")
        seen = drawing.as_seen(predictor.preprocess(data)[0], predictor.card.input["preprocessing"])
        figures = [
            Figure(photo, "The photo", "", "The photo", smooth=True),
            Figure(
                to_image(cam, np.asarray(seen), shortest_side=1),
                "Grad-CAM",
                f"what speaks for {answer['label']}",
                f"Places that speak for {answer['label']}",
                smooth=True,
            ),
        ]
        st.html(drawing.figures_html(figures, least_width="9rem"))


layout.header(
    "Teach it yours",
    "A few photos of each class are enough: a network that learned to see from a million photos learns to tell yours "
    "apart, on this computer, while you watch ([Yosinski et al. 2014](https://arxiv.org/abs/1411.1792)).",
)
job: Job | None = st.session_state.get("teach_job")
if job is not None and job.status == "gone":
    job = st.session_state["teach_job"] = None
if job is None:
    try:
        teaching.check_network()
    except KappsError as error:
        layout.failure(error)
    else:
        show_teach(collect())
elif job.status == "learning":
    show_learning(job)
elif job.status == "done":
    show_result(job)
else:
    layout.failure(KappsError(job.error()))
    if st.button("Back to the photos", icon=":material/arrow_back:"):
        teaching.desk().close(job)
        st.session_state["teach_job"] = None
        st.rerun()
