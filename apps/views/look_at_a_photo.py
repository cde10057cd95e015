"""A photo seen by a small residual network: the answer, what the stages make of it, and where the evidence lies."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from apps import drawing, layout, models
from apps.drawing import Figure
from kapps.errors import KappsError

if TYPE_CHECKING:
    from kapps.explaining import Attribution
    from kapps.predict import Predictor

MODEL = "cifar10_resnet20"
METHODS = ("saliency", "integrated_gradients", "grad_cam")
STAGES = (
    "Every map of a stage, coloured from its lowest to its highest value. From stage to stage there are more maps and "
    "fewer places: what is seen matters more, where it is seen less."
)
KNOWN = "It knows {labels}, and nothing else: whatever you show it, it names one of these."


def given(how: str) -> tuple[bytes, str] | None:
    """The photo that the visitor gives, encoded, with its name; None while there is none. Draws the left column.

    Raises:
        ImageError: it is no picture that can be read rightly.
    """
    from kapps.data.images import check_image_bytes, read_image  # only now: TensorFlow takes seconds

    if how == "Example":
        photos = examples()
        name = st.radio("Which photo", list(photos), horizontal=True, label_visibility="collapsed", key="photo_example")
        st.image(photos[name], width="stretch")
        st.caption("From scikit-learn. Neither is of the ten kinds: see what it is taken for, and how surely.")
        return drawing.png(photos[name]), f"the {name}"
    if how == "Camera":
        file = st.camera_input("One thing, large, in the middle", key="photo_camera")
        return (file.getvalue(), "the photo") if file else None
    file = st.file_uploader(
        "A photo of one thing",
        type=["png", "jpg", "jpeg", "gif", "bmp"],
        key="photo_upload",
        max_upload_size=layout.LARGEST_UPLOAD,
    )
    if file is None:
        return None
    check_image_bytes(file.getvalue(), file.name)
    st.image(drawing.thumbnail(read_image(file.getvalue())), caption=layout.plain(file.name), width="stretch")
    return file.getvalue(), file.name


@st.cache_data(show_spinner="Reading the photos")
def examples() -> dict[str, np.ndarray]:
    """Two photos that come with scikit-learn, uint8 [h, w, 3]."""
    from sklearn.datasets import load_sample_image  # only now: it takes a second

    return {name: drawing.thumbnail(load_sample_image(f"{name}.jpg")) for name in ("flower", "china")}


def show_answer(predictor: Predictor, image: bytes) -> int:
    """The answer and the probability of each class; returns the number of the answer's class."""
    start = time.perf_counter()
    answer = predictor(image)
    took = 1000 * (time.perf_counter() - start)
    st.html(drawing.answer_html(answer["label"], answer["score"], f"probability; seen in {took:.1f} ms"))
    st.html(drawing.bars_html(answer["probabilities"], answer["label"]))
    return predictor.labels.index(answer["label"])


def show_evidence(predictor: Predictor, image: bytes, shown: np.ndarray, answer: int) -> None:
    """What the network was shown, and the places that speak for one class by three methods."""
    from kapps.data.images import read_image  # only now: TensorFlow takes seconds
    from kapps.explaining import attribute, to_image

    first, second = st.columns(2)
    label = first.selectbox("Evidence for the class", predictor.labels, index=answer, key=f"photo_target {answer}")
    stages = [
        name for name, shape in predictor.card.signatures["features"]["outputs"].items() if len(shape["shape"]) == 4
    ]
    stage = second.selectbox("Grad-CAM looks at", stages, index=len(stages) - 1, key="photo_stage")
    target = predictor.labels.index(label)
    start = time.perf_counter()
    cam = attribute(predictor, shown, method="grad_cam", target=target, feature=stage)
    path = attribute(predictor, shown, method="integrated_gradients", target=target)
    gradient = attribute(predictor, shown, method="saliency", target=target)
    took = 1000 * (time.perf_counter() - start)
    photo = drawing.thumbnail(read_image(image), 320)
    height, width, count = cam.details["shape"]
    figures = [
        Figure(
            drawing.as_seen(shown, predictor.card.input["preprocessing"]),
            "What it was shown",
            f"{shown.shape[0]} × {shown.shape[1]}",
            "The photo after preprocessing",
        ),
        Figure(
            to_image(enlarged(cam, photo.shape[:2]), photo, shortest_side=1),
            "Grad-CAM",
            f"{count} maps of {height} × {width}",
            f"Places that speak for {label}",
            smooth=True,
        ),
        Figure(
            to_image(path, shown, shortest_side=1),
            "Integrated gradients",
            f"add up but for {drawing.percent(path.details['completeness_delta'])}",
            f"Pixels that speak for and against {label}",
        ),
        Figure(
            to_image(gradient, shown, shortest_side=1),
            "Saliency",
            "sensitive to small changes",
            f"Pixels to which the score of {label} is sensitive",
        ),
    ]
    st.html(drawing.figures_html(figures, least_width="9.5rem"))
    st.caption(f"Red speaks for {label}, blue against it; Grad-CAM and saliency have no sign. In {took:.0f} ms.")


def enlarged(attribution: Attribution, size: tuple[int, int]) -> Attribution:
    """The same map for the photo itself, which the network saw squeezed into its own size."""
    from PIL import Image

    larger = Image.fromarray(attribution.map).resize(size[::-1], Image.Resampling.BILINEAR)
    return dataclasses.replace(attribution, map=np.asarray(larger))


def show_stages(predictor: Predictor, image: bytes) -> None:
    """The activations of all stages, in reading order."""
    figures = []
    for name, batch in predictor.features(image).items():
        maps = drawing.maps_of(batch[0])
        height, width, count = maps.shape
        text = f"{count} maps of {height} × {width}" if batch.ndim == 4 else f"{batch.size} units"
        figures.append(Figure(drawing.tile(maps), name, text, f"Activations of {name}: {text}"))
    st.html(drawing.figures_html(figures, least_width="13rem"))


layout.header(
    "Look at a photo",
    "ResNet-20 names what a photo shows: its answer, the places that speak for it and what its stages make of the "
    "picture ([He, Zhang, Ren and Sun 2016](https://arxiv.org/abs/1512.03385)).",
)
left, middle, right = st.columns([1, 1, 1.4], gap="large")
below = st.container()
problem: KappsError | None = None
with left:
    how = st.segmented_control(
        "Where the photo comes from",
        ["Upload", "Camera", "Example"],
        default="Upload",
        required=True,
        label_visibility="collapsed",
        key="photo_how",
    )
    try:
        image, name = given(how) or (None, "")
    except KappsError as error:
        image, name, problem = None, "", error

with middle:
    if problem is not None:
        layout.failure(problem)
    try:
        predictor = models.load(MODEL, METHODS)  # even without a photo: the first one is then answered at once
        if image is not None:
            answer = show_answer(predictor, image)
            shown = predictor.preprocess(image)[0]
            with right:
                show_evidence(predictor, image, shown, answer)
            with below:
                layout.section("Stage by stage", STAGES)
                show_stages(predictor, image)
        elif problem is None:
            *others, last = predictor.labels
            st.info(KNOWN.format(labels=f"{', '.join(others)} and {last}"))
    except KappsError as error:
        layout.failure(error)
