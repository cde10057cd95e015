"""The landing page: draw or upload a digit; see the answer and what led to it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from apps import drawing, layout, models
from apps.drawing import Figure
from kapps.errors import KappsError

if TYPE_CHECKING:
    from kapps.predict import Predictor

MODEL = "mnist_lenet5"
LAYERS = (
    "Every map of a layer, coloured from its lowest to its highest value. F6 is compared with a small stylised picture "
    "of every digit: the nearest is the answer."
)
HINTS = {
    "Draw": "Draw a digit on the sheet: the answer comes after every stroke.",
    "Upload": "Choose a photo or scan of one handwritten digit: dark on light or light on dark, at any place and size.",
    "Camera": "Write a digit with a thick pen, hold it before the camera and take a photo.",
}


def given(how: str) -> tuple[bytes, str] | None:
    """The picture that the visitor gives, encoded, with its name; None while there is none. Draws the left column.

    Raises:
        ImageError: it is no picture that can be read rightly.
    """
    if how == "Draw":
        image = drawing.canvas("drawing")
        return (image, "the drawing") if image else None
    if how == "Example":
        return example()
    if how == "Camera":
        file = st.camera_input("One digit on paper", key="camera")
        return (file.getvalue(), "the photo") if file else None
    file = st.file_uploader(
        "One digit on paper",
        type=["png", "jpg", "jpeg", "gif", "bmp"],
        key="upload",
        max_upload_size=layout.LARGEST_UPLOAD,
    )
    if file is None:
        return None
    from kapps.data.images import check_image_bytes, read_image  # only now: TensorFlow takes seconds

    check_image_bytes(file.getvalue(), file.name)
    st.image(drawing.thumbnail(read_image(file.getvalue())), caption=layout.plain(file.name), width=280)
    return file.getvalue(), file.name


def example() -> tuple[bytes, str]:
    """One of scikit-learn's scans of real handwriting, chosen with a slider."""
    images, labels = examples()
    number = st.slider("Which scan", 1, len(images), 1, key="example")
    image, label = drawing.smoothly_enlarged(images[number - 1], 10), labels[number - 1]
    figure = Figure(image, f"Scan {number}", f"someone wrote a {label}", f"A scanned {label}")
    st.html(drawing.figures_html([figure], least_width="17rem"))
    st.caption(
        "From scikit-learn's digits, 8 × 8 pixels, enlarged. The network learned from 28 × 28 pixels of other writers."
    )
    return drawing.png(image), f"scan {number}"


@st.cache_data(show_spinner="Reading the scans")
def examples() -> tuple[np.ndarray, list[int]]:
    """The scans of the test split: uint8 [n, 8, 8], bright ink, and what was written."""
    from kapps import data  # only now: TensorFlow takes seconds

    images, labels = zip(*data.load("digits", "test").examples.as_numpy_iterator(), strict=True)
    return np.stack(images)[..., 0], [int(label) for label in labels]


def show_answer(predictor: Predictor, image: bytes) -> int:
    """The answer and the probability of each class; returns the number of the answer's class."""
    start = time.perf_counter()
    answer = predictor(image)
    took = 1000 * (time.perf_counter() - start)
    st.html(drawing.answer_html(answer["label"], answer["score"], f"probability; read in {took:.1f} ms"))
    st.html(drawing.bars_html(answer["probabilities"], answer["label"]))
    return predictor.labels.index(answer["label"])


def show_evidence(predictor: Predictor, shown: np.ndarray, answer: int) -> None:
    """What the network was shown, and the pixels that speak for one class by three methods."""
    from kapps.explaining import attribute, to_image  # only now: TensorFlow takes seconds

    label = st.selectbox("Evidence for the class", predictor.labels, index=answer, key=f"target {answer}")
    target = predictor.labels.index(label)
    start = time.perf_counter()
    paper = float(shown.min())  # the value of an empty pixel: what stands for "nothing is there"
    path = attribute(predictor, shown, method="integrated_gradients", target=target, baseline=paper)
    covered = attribute(predictor, shown, method="occlusion", target=target, baseline=paper)
    gradient = attribute(predictor, shown, method="saliency", target=target)
    took = 1000 * (time.perf_counter() - start)
    (height, width), (tall, wide) = shown.shape[:2], covered.details["patch"]
    print_of = -shown  # dark ink on pale paper: colours are seen on it
    figures = [
        Figure(
            drawing.grey(shown.mean(axis=-1)),
            "What it was shown",
            f"{height} × {width}, size-normalised, centred",
            "The digit after preprocessing",
        ),
        Figure(
            to_image(path, print_of, shortest_side=1),
            "Integrated gradients",
            f"add up but for {drawing.percent(path.details['completeness_delta'])}",
            f"Pixels that speak for and against {label}",
        ),
        Figure(
            to_image(covered, print_of, shortest_side=1),
            "Occlusion",
            f"{tall} × {wide} pixels covered",
            f"Patches that speak for and against {label}",
        ),
        Figure(
            to_image(gradient, print_of, shortest_side=1),
            "Saliency",
            "sensitive to small changes",
            f"Pixels to which the score of {label} is sensitive",
        ),
    ]
    st.html(drawing.figures_html(figures, least_width="8.5rem"))
    st.caption(f"Red speaks for {label}, blue against it; saliency has no sign. Explained in {took:.0f} ms.")


def show_layers(predictor: Predictor, image: bytes) -> None:
    """The activations of all layers, in reading order."""
    figures = []
    for name, batch in predictor.features(image).items():
        activation = batch[0]
        if activation.ndim == 3 and activation.shape[:2] != (1, 1):
            height, width, count = activation.shape
            text = f"{count} maps of {height} × {width}"
        else:
            text = f"{activation.size} units"
        figures.append(
            Figure(drawing.tile(drawing.maps_of(activation)), name.upper(), text, f"Activations of {name}: {text}")
        )
    st.html(drawing.figures_html(figures, least_width="6.5rem"))


layout.header(
    "Read a digit",
    "LeNet-5 reads one handwritten digit: what it answers, what it was really shown, which pixels decide and what its "
    "layers make of them ([LeCun, Bottou, Bengio and Haffner 1998](https://doi.org/10.1109/5.726791)).",
)
wide, right = st.columns([2, 1], gap="large")
left, middle = wide.columns(2, gap="large")
below = wide.container()
problem: KappsError | None = None
with left:
    how = st.segmented_control(
        "Where the digit comes from",
        ["Draw", "Upload", "Example", "Camera"],
        default="Draw",
        required=True,
        label_visibility="collapsed",
        key="how",
    )
    try:
        image, name = given(how) or (None, "")
    except KappsError as error:
        image, name, problem = None, "", error

with middle:
    if problem is not None:
        layout.failure(problem)
    elif image is None:
        st.info(HINTS[how])
    try:
        predictor = models.load(MODEL)  # even without a picture: the first one is then answered at once
        shown = None if image is None else predictor.preprocess(image)[0]
        if shown is not None and np.ptp(shown) == 0:
            st.info(f"Nothing can be seen in {layout.plain(name)}: it is of one colour. Give another one.")
        elif shown is not None and image is not None:
            answer = show_answer(predictor, image)
            with below:
                layout.section("Layer by layer", LAYERS)
                show_layers(predictor, image)
            with right:
                show_evidence(predictor, shown, answer)
    except KappsError as error:
        layout.failure(error)
