"""Why? Any model at hand, any picture, and what each method says about the answer, side by side."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from apps import drawing, layout, models
from apps.drawing import Figure
from kapps.errors import DataError, KappsError
from kapps.explaining import METHODS

if TYPE_CHECKING:
    from kapps.explaining import Attribution

NAMES = {method: method.replace("_", " ").capitalize() for method in METHODS} | {
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "lime": "LIME",
    "shap": "SHAP",
}
FIRST = ("grad_cam", "integrated_gradients", "saliency", "occlusion")  # on any network, with ReLUs or without
WITH_BASELINE = ("integrated_gradients", "occlusion", "lime", "shap")  # what stands for "nothing is there"
SLOW = 1.0  # seconds: what is faster is done twice, and the second time is told
CHEAP = 2e8  # FLOPs an image: the 42 images of deletion and insertion are then no matter
STEPS = 20  # of deletion and insertion
LOCAL = ("localhost", "127.0.0.1", "::1")
OWN, TAUGHT = "your own, from a folder", "the one you taught"
LIKELIEST = 8
LEAST_WIDTH = "min(13rem, 46%)"  # of a map: two in a line on a phone
PHOTO_WIDTH = 420  # pixels, or as much as there is: answer and photo are then about as high
DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Subject:
    """A model that is asked why.

    Attributes:
        model: a `Predictor` or a Keras model.
        name: by which results are remembered: the same name, the same answers.
        labels: of its classes.
        prepare: an encoded image -> float32 [h, w, c].
        preprocessing: what `prepare` does, as a card says it.
        flops: an image.
        features: names of the features that Grad-CAM can look at; empty where they are not known.
    """

    model: Any
    name: str
    labels: Sequence[str]
    prepare: Callable[[bytes], np.ndarray]
    preprocessing: Mapping[str, Any]
    flops: int
    features: tuple[str, ...]

    @property
    def reads_digits(self) -> bool:
        return tuple(self.labels) == DIGITS

    def nothing(self, shown: np.ndarray) -> float | np.ndarray:
        """What an empty pixel is: paper for a digit, else black; a number or float32 [c]."""
        if self.reads_digits:
            return float(shown.min())
        return -np.asarray(self.preprocessing["mean"], np.float32) / np.asarray(self.preprocessing["std"], np.float32)


# --- the model


def choices() -> dict[str, Callable[[], Subject | None]]:
    """What can be asked: label -> how it is had. Nothing is loaded yet."""
    found: dict[str, Callable[[], Subject | None]] = {}
    folder = models.models_dir()
    for card in sorted(folder.glob("*/card.json")):
        found[card.parent.name] = lambda folder=card.parent: exported(folder)
    job = st.session_state.get("teach_job")
    if job is not None and job.status == "done":
        found[TAUGHT] = lambda: exported(job.taught / "model")
    for source in models.weights_at_hand():
        found[f"{source.name} ({source.weights})"] = lambda source=source: catalogued(source.name, source.weights)
    if st.get_option("server.address") in LOCAL:  # elsewhere a stranger could have any file of the server looked at
        found[OWN] = own
    return found


def exported(folder: Path) -> Subject:
    """An exported model.

    Raises:
        SavedModelError: it is missing or damaged.
        DataError: it is no classifier.
    """
    predictor = models.load_folder(folder, ())
    card = predictor.card
    given = card.signatures["serving_tensors"]["outputs"]
    if "top_k" not in given:
        raise DataError(
            f"expected a classifier, whose score for a class can be explained, got one that gives {', '.join(given)}: "
            "choose another model"
        )
    features: tuple[str, ...] = ()
    if card.features:
        outputs = card.signatures["features"]["outputs"]
        features = tuple(name for name in card.features if len(outputs[name]["shape"]) == 4)
    return Subject(
        predictor,
        f"{folder.resolve()} {card.created}",
        predictor.labels,
        lambda image: predictor.preprocess(image)[0],
        card.input["preprocessing"],
        card.flops,
        features,
    )


def catalogued(name: str, weights: str) -> Subject:
    """An architecture of the catalogue with published weights.

    Raises:
        WeightsError: they are damaged.
    """
    model, preprocessing, labels, flops = models.load_published(name, weights)

    def prepare(image: bytes) -> np.ndarray:
        from kapps.data.images import read_image

        return np.asarray(preprocessing(read_image(image)))

    return Subject(model, f"{name} {weights}", labels, prepare, preprocessing.to_dict(), flops, ())


def own() -> Subject | None:
    """A model that the visitor has on this computer."""
    path = st.text_input(
        "Folder of an exported model", placeholder="runs/transfer/photos/model", key="why_path"
    ).strip()
    st.caption("A SavedModel is a program: choose only what you, or somebody you trust, exported with kapps.")
    return exported(Path(path).expanduser()) if path else None


# --- the picture


def given(subject: Subject) -> bytes | None:
    """The picture that the visitor gives, encoded; None while there is none.

    Raises:
        ImageError: it is no picture that can be read rightly.
    """
    from kapps.data.images import check_image_bytes, read_image  # only now: TensorFlow takes seconds

    ways = ["Example", "Upload", "Camera"]
    if subject.reads_digits:
        ways.insert(0, "Draw")
    way = st.segmented_control(
        "Where the picture comes from",
        ways,
        default=ways[0],
        required=True,
        label_visibility="collapsed",
        key=f"why_way {subject.reads_digits}",
    )
    if way == "Draw":
        return drawing.canvas("drawing")
    if way == "Example":
        pictures = scans() if subject.reads_digits else photos()
        name = st.radio(
            "Which example",
            list(pictures),
            horizontal=True,
            label_visibility="collapsed",
            key=f"why_example {subject.reads_digits}",
        )
        st.image(pictures[name], width=280 if subject.reads_digits else PHOTO_WIDTH)
        return drawing.png(pictures[name])
    if way == "Camera":
        file = st.camera_input("One thing, large, in the middle", key="why_camera", label_visibility="collapsed")
    else:
        file = st.file_uploader(
            "A picture",
            type=["png", "jpg", "jpeg", "gif", "bmp"],
            key="why_upload",
            label_visibility="collapsed",
            max_upload_size=layout.LARGEST_UPLOAD,
        )
    if file is None:
        return None
    check_image_bytes(file.getvalue(), file.name)
    st.image(drawing.thumbnail(read_image(file.getvalue(), file.name)), width=PHOTO_WIDTH)
    return file.getvalue()


@st.cache_data(show_spinner="Reading the photos")
def photos() -> dict[str, np.ndarray]:
    """Two photos that come with scikit-learn and a generated scene: uint8 [h, w, 3]."""
    from sklearn.datasets import load_sample_image  # only now: it takes a second

    from kapps.data.scenes import make_scene

    found = {name: drawing.thumbnail(load_sample_image(f"{name}.jpg")) for name in ("flower", "china")}
    return found | {"scene": make_scene(0, 3, (280, 280)).image}


@st.cache_data(show_spinner="Reading the scans")
def scans() -> dict[str, np.ndarray]:
    """One scan of each digit from scikit-learn's, enlarged: uint8 [h, w]."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    first = {label: int(np.flatnonzero(digits.target == int(label))[3]) for label in DIGITS}
    return {
        label: drawing.smoothly_enlarged((digits.images[index] * 255 / 16).round().astype(np.uint8), 10)
        for label, index in first.items()
    }


# --- the answer and the reasons


def scores_of(subject: Subject, shown: np.ndarray) -> np.ndarray:
    """The probability of every class, float32 [N]."""
    batch = shown[np.newaxis]
    if hasattr(subject.model, "predict_tensors"):
        return subject.model.predict_tensors(batch)[0]
    return np.asarray(subject.model(batch, training=False))[0]


def show_answer(subject: Subject, scores: np.ndarray) -> None:
    """The answer, and the likeliest classes."""
    best = int(scores.argmax())
    st.html(drawing.answer_html(subject.labels[best], float(scores[best]), "probability"))
    order = range(len(scores)) if len(scores) <= 10 else np.argsort(-scores)[:LIKELIEST]
    st.html(drawing.bars_html({subject.labels[i]: float(scores[i]) for i in order}, subject.labels[best]))


@st.cache_data(show_spinner=False, max_entries=128)
def explained(
    name: str, picture: str, method: str, target: int, feature: str | None, _subject: Subject, _shown: np.ndarray
) -> tuple[Attribution, float]:
    """What a method says, and how many seconds it took. What is quick is asked twice: the first call compiles.

    Raises:
        DataError: this network is not one that the method is for.
        MissingExtraError: LIME and SHAP need a package.
    """
    from kapps.explaining import attribute

    options: dict[str, Any] = {}
    if method in WITH_BASELINE:
        options["baseline"] = _subject.nothing(_shown)
    if method.startswith("grad_cam"):
        options["feature"] = feature
    for _ in range(2):
        start = time.perf_counter()
        found = attribute(_subject.model, _shown, method=method, target=target, **options)
        took = time.perf_counter() - start
        if took > SLOW:
            break
    return found, took


@st.cache_data(show_spinner=False, max_entries=128)
def tested(
    name: str, picture: str, method: str, target: int, feature: str | None, _subject: Subject, _shown: np.ndarray
) -> tuple[float, float]:
    """(area under the deletion curve, under the insertion curve) of a map; see `kapps.explaining.sanity`."""
    from kapps.explaining.sanity import deletion_and_insertion

    found, _ = explained(name, picture, method, target, feature, _subject, _shown)
    curves = deletion_and_insertion(_subject.model, _shown, found, steps=STEPS, baseline=_subject.nothing(_shown))
    return curves.deletion_area, curves.insertion_area


def facts(found: Attribution, took: float, areas: tuple[float, float] | None) -> str:
    """What a method can say of itself, in one line."""
    details = found.details
    said = []
    if "completeness_delta" in details:
        said.append(f"adds up but for {drawing.percent(details['completeness_delta'])}")
    if "feature" in details:
        height, width, count = details["shape"]
        said.append(f"{details['feature']}: {count} maps of {height} × {width}")
    if "patch" in details:
        said.append("{} × {} pixels covered".format(*details["patch"]))
    if "r2" in details:
        said.append(f"R² {details['r2']:.2f} of {details['samples']} samples")
    elif "segments" in details:
        said.append(f"{details['samples']} samples")
    if areas is not None:
        said.append(f"deletion {areas[0]:.2f}, insertion {areas[1]:.2f}")
    said.append(f"{1000 * took:.0f} ms" if took < 1 else f"{took:.1f} s")
    return "; ".join(said)


def show_reasons(subject: Subject, shown: np.ndarray, methods: Sequence[str], target: int, settings: Settings) -> None:
    """A picture a method, each as soon as it is there."""
    from kapps.explaining import to_image  # only now: Matplotlib

    height, width = shown.shape[:2]
    smooth = min(height, width) > 100
    print_of = -shown if subject.reads_digits else shown  # dark ink on pale paper: colours are seen on it
    label = subject.labels[target]
    seen = drawing.as_seen(shown, subject.preprocessing)
    figures = [
        Figure(
            drawing.grey(shown.mean(axis=-1)) if shown.shape[-1] == 1 else seen,
            "What it was shown",
            f"{height} × {width} pixels",
            "The picture after preprocessing",
            smooth=smooth,
        )
    ]
    digest = hashlib.sha256(shown.tobytes()).hexdigest()
    place, problems = st.empty(), []
    for method in methods:
        waiting = st.empty()
        waiting.caption(f"{NAMES[method]} is asked…")
        question = subject.name, digest, method, target, settings.feature if method.startswith("grad_cam") else None
        try:
            found, took = explained(*question, subject, shown)
            areas = tested(*question, subject, shown) if settings.test else None
        except KappsError as error:
            problems.append(f"{NAMES[method]}: {error}")
        else:
            picture = to_image(found, print_of, shortest_side=1)
            text = facts(found, took, areas)
            figures.append(Figure(picture, NAMES[method], text, f"What speaks for {label} by {method}", smooth=smooth))
            place.html(drawing.figures_html(figures, least_width=LEAST_WIDTH))
        waiting.empty()
    place.html(drawing.figures_html(figures, least_width=LEAST_WIDTH))
    for problem in problems:
        st.warning(layout.plain(problem))
    sentence = f"Red speaks for {label}, blue against it; what goes from yellow to dark red has no sign."
    if settings.test:
        sentence += (
            " Deletion: the mean probability while the most important pixels are taken away, low if they mattered. "
            "Insertion: while they are put into a blurred picture, high if they did."
        )
    st.caption(layout.plain(sentence))


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the methods are asked.

    Attributes:
        feature: what Grad-CAM looks at; None for the last feature with more than one place.
        test: whether deletion and insertion are measured.
    """

    feature: str | None
    test: bool


def show_settings(subject: Subject, scores: np.ndarray) -> tuple[list[str], int, Settings]:
    """Which methods, for which class, and how; draws the row above the pictures."""
    methods = st.pills(
        "Methods", list(METHODS), selection_mode="multi", default=list(FIRST), format_func=NAMES.__getitem__, key="why"
    )
    best = int(scores.argmax())
    first, second, third = st.columns([1.2, 1.2, 1], gap="medium", vertical_alignment="bottom")
    target = first.selectbox(
        "Reasons for the class",
        range(len(subject.labels)),
        index=best,
        format_func=lambda index: subject.labels[index],
        key=f"why_target {subject.name} {best}",
    )
    last = "the last feature"
    feature = second.selectbox(
        "Grad-CAM looks at", [last, *subject.features], key=f"why_feature {subject.name}", disabled=not subject.features
    )
    test = third.toggle(
        "Deletion and insertion",
        value=subject.flops <= CHEAP,
        key=f"why_test {subject.name}",
        help=f"Takes the important pixels away and puts them in, in {STEPS} steps: some seconds for a large network.",
    )
    return methods, target, Settings(None if feature == last else feature, test)


layout.header(
    "Why?",
    "What a network saw that made it say so: every method that kapps knows, on any model and any picture, side by side "
    "([Adebayo et al. 2018](https://arxiv.org/abs/1810.03292) on which to trust).",
)
left, right = st.columns([1, 1], gap="large")
below = st.container()
with left:
    try:
        found = choices()
        name = st.selectbox("The model", list(found), key="why_model")
        subject = found[name]() if name is not None else None
        image = given(subject) if subject is not None else None
    except KappsError as error:
        layout.failure(error)
    else:
        if subject is not None and image is None:
            st.info("Give it a picture: its answer and the reasons come at once.")
        if subject is not None and image is not None:
            try:
                shown = subject.prepare(image)
                scores = scores_of(subject, shown)
                with right:
                    show_answer(subject, scores)
                with below:
                    methods, target, settings = show_settings(subject, scores)
                    show_reasons(subject, shown, methods, target, settings)
            except KappsError as error:
                layout.failure(error)
