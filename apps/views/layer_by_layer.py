"""What learned without labels: its filters, what it makes of noise, its dreams, its map and its memory."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from apps import drawing, layout, models
from apps.drawing import Figure
from kapps.errors import DataError, KappsError
from kapps.tasks.unsupervised import explore

if TYPE_CHECKING:
    from kapps.architectures.unsupervised.feature_learner import FeatureLearner

MISSING = (
    "Nothing that learned without labels is here yet. `kapps train mnist_dbn` trains a deep belief net, and "
    "`kapps export runs/mnist_dbn/seed0 saved_models/mnist_dbn` puts it here."
)
FILTERS, RECONSTRUCTIONS, CHAINS, SAMPLES, MAP, RETRIEVAL, MEASURED = (
    "Filters",
    "Reconstructions",
    "Chains",
    "Samples",
    "Map",
    "Retrieval",
    "Measured",
)
COLLECTION = 2000  # digits on the map and to look among
SHOWN = 24  # reconstructions
CHAINED = 16  # chains side by side
FRAME = 160  # milliseconds that a step of a chain is seen
WIDE = "22rem"


# --- what is looked at, made once for all visitors


@st.cache_resource(show_spinner="Loading the learner: some seconds, once", max_entries=4)
def learner_of(file: str, changed: int) -> FeatureLearner:
    """The learner in a file.

    Raises:
        WeightsError: the file is damaged.
    """
    models.import_kapps()
    return explore.load(next(each for each in explore.shipped(models.models_dir()) if str(each.file) == file))


@st.cache_resource(show_spinner="Reading the examples", max_entries=4)
def collection_of(name: str, changed: int, _learner: FeatureLearner) -> tuple[explore.Examples, np.ndarray]:
    """Examples for the learner and their codes."""
    seen = explore.examples(_learner, COLLECTION)
    return seen, _learner.transform(seen.data)


@st.cache_data(show_spinner="The chains run", max_entries=8)
def frames_of(name: str, changed: int, start: str, steps: int, _learner: FeatureLearner) -> list[np.ndarray]:
    """A picture of all chains for every step: uint8 [h, w, 4]."""
    data = explore.examples(_learner, CHAINED).data
    if start == "noise":
        data = explore.noisy(_learner, data, 1.0)
    return [explore.grid(explore.as_pictures(_learner, frame)) for frame in explore.chain(_learner, data, steps)]


# --- the parts of the page


def show_filters(learner: FeatureLearner) -> None:
    """What the units of a layer look for."""
    layout.section(
        "What the units look for",
        "The weights of a unit, as a picture: grey is nothing, white speaks for the unit and black against it. Each is "
        "as bright as it can be; the strongest are shown.",
    )
    layer = None
    if layers := explore.layers_of(learner):
        layer = st.segmented_control("Layer", layers, default=layers[0], required=True, key="layers_layer")
    most = st.slider("How many", 16, 256, 100, 4, key="layers_filters")
    found = explore.filters(learner, most, layer=layer)
    count, height, width, _ = found.shape
    sheet = explore.grid(found, low=-1, high=1)
    caption = f"{layer + ', ' if layer else ''}{count} units, {height} × {width}"
    st.html(drawing.figures_html([Figure(sheet, "Filters", caption, f"Filters: {caption}")], least_width="30rem"))


def show_reconstructions(learner: FeatureLearner, seen: explore.Examples) -> None:
    """Data with noise, and what comes back from its code."""
    layout.section(
        "What comes back",
        "What the learner sees, with as much noise as you like, becomes a code; from the code alone it makes a picture "
        "again. What it has learned to expect comes back, noise does not.",
    )
    level = st.slider("Noise", 0.0, 1.0, 0.1, 0.05, key="layers_noise")
    data = seen.data[:SHOWN]
    shown = explore.noisy(learner, data, level)
    again = explore.reconstruct(learner, shown)
    error, noise = (float(np.square(each - data).mean()) for each in (again, shown))
    pictures = [
        ("The original", data, seen.source),
        ("What it sees", shown, f"mean squared error {noise:.4f}"),
        ("What comes back", again, f"mean squared error {error:.4f}"),
    ]
    figures = [
        Figure(explore.grid(explore.as_pictures(learner, some)), name, text, f"{name}: {text}")
        for name, some, text in pictures
    ]
    st.html(drawing.figures_html(figures, least_width="15rem"))


def show_chains(learner: FeatureLearner, key: tuple[str, int]) -> None:
    """Gibbs chains that move by themselves, and one step of them."""
    layout.section(
        "Chains",
        "Hidden units are drawn given the visible ones, then visible ones given these, and so on: the machine wanders "
        "through what it takes for data.",
    )
    left, right = st.columns(2, gap="large")
    start = left.segmented_control(
        "They start at", ["examples", "noise"], default="examples", required=True, key="layers_start"
    )
    steps = right.slider("Steps", 10, 200, 60, 10, key="layers_steps")
    frames = frames_of(*key, start, steps, learner)
    step = st.slider("Look at step", 0, steps, 0, key=f"layers_step {steps}")
    text = f"{CHAINED} chains, {steps} steps"
    moving = (
        f'<figure><div class="k-frame"><img src="{animation(frames)}" alt="{escape(text)}"></div>'
        f"<figcaption><b>Moving</b><br>{escape(text)}</figcaption></figure>"
    )
    still = drawing.figures_html([Figure(frames[step], f"Step {step}", "of the same chains", f"Step {step}")], WIDE)
    st.html(still.replace("</figure></div>", f"</figure>{moving}</div>"))


def animation(frames: list[np.ndarray]) -> str:
    """Pictures uint8 [h, w, 4], one after the other and again, as an address that a page can show."""
    first, *others = (Image.fromarray(frame) for frame in frames)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=FRAME, loop=0, disposal=2)
    return "data:image/gif;base64," + base64.b64encode(buffer.getvalue()).decode()


def show_samples(learner: FeatureLearner) -> None:
    """What it makes up when it is told a class."""
    layout.section(
        "Samples",
        "The label is held on; the rest of the top layer is drawn again and again, and what it settles on goes down to "
        "the pixels.",
    )
    left, right = st.columns(2, gap="large")
    labels = list(range(explore.classes(learner)))
    label = left.segmented_control("Class", labels, default=labels[0], required=True, key="layers_class")
    steps = right.select_slider("Steps", [1, 10, 50, 100, 200, 500, 1000], 200, key="layers_dreaming")
    st.button("Again")  # every look is another dream
    with st.spinner("It dreams"):
        dreamt = explore.dream(learner, int(label), 25, int(steps))
    sheet = explore.grid(explore.as_pictures(learner, dreamt))
    text = f"25 of class {label}, after {steps} steps"
    st.html(drawing.figures_html([Figure(sheet, "Samples", text, f"Samples: {text}")], least_width=WIDE))


def show_map(learner: FeatureLearner, seen: explore.Examples, codes: np.ndarray) -> None:
    """Examples in the plane of their codes, and what lies where."""
    layout.section(
        "The map",
        "Every example is two numbers here. Colours are the labels, which the learner never saw; the other picture is "
        "what it makes of the places between them.",
    )
    left, right = st.columns([1.4, 1], gap="large")
    frame = pd.DataFrame(codes, columns=["x", "y"])
    frame["label"] = "" if seen.labels is None else seen.labels.astype(str)
    chart = (
        alt.Chart(frame)
        .mark_circle(size=22, opacity=0.6)
        .encode(
            x=alt.X("x:Q", title=None, scale=alt.Scale(zero=False)),
            y=alt.Y("y:Q", title=None, scale=alt.Scale(zero=False)),
            color=alt.Color("label:N", title=None, scale=alt.Scale(scheme="category10")),
            tooltip=["label", alt.Tooltip("x:Q", format=".2f"), alt.Tooltip("y:Q", format=".2f")],
        )
        .properties(height=460)
    )
    left.altair_chart(chart)
    left.caption(f"{len(codes):,} of {seen.source}.")
    sheet = explore.grid(explore.sheet_of_codes(learner, codes), columns=15, gap=0)
    text = "the same plane, from left to right and from top to bottom"
    right.html(drawing.figures_html([Figure(sheet, "What lies where", text, f"Decoded: {text}")], least_width="18rem"))


def show_retrieval(learner: FeatureLearner, seen: explore.Examples, codes: np.ndarray) -> None:
    """A drawn digit and what is most like it, by code and by pixels."""
    layout.section(
        "Retrieval",
        "What is most like your digit? Codes are compared, then, for contrast, pixels.",
    )
    left, right = st.columns([1, 2], gap="large")
    with left:
        image = drawing.canvas("drawing")
    if image is None:
        right.info("Draw a digit on the sheet: the nearest come after every stroke.")
        return
    digit = explore.drawn(learner, image)
    by_code, _ = explore.nearest(codes, learner.transform(digit), 24)
    by_pixels, _ = explore.nearest(seen.data, digit, 24)
    figures = [
        Figure(explore.grid(explore.as_pictures(learner, digit)), "Your digit", "as the learner sees it", "Your digit")
    ]
    for name, places in (("Nearest by code", by_code), ("Nearest by pixels", by_pixels)):
        text = f"of {len(codes):,}; {said(seen.labels, places)}"
        pictures = explore.grid(explore.as_pictures(learner, seen.data[places]), columns=5)
        figures.append(Figure(pictures, name, text, f"{name}: {text}"))
    with right:
        st.html(drawing.figures_html(figures, least_width="13rem"))
        st.caption(f"Among {seen.source}.")


def said(labels: np.ndarray | None, places: np.ndarray) -> str:
    """What most of the found ones are."""
    if labels is None:
        return f"{len(places)} nearest"
    values, counts = np.unique(labels[places], return_counts=True)
    return f"{counts.max()} of {len(places)} are a {values[counts.argmax()]}"


def show_measured(results: list[dict[str, Any]]) -> None:
    """The tables of the experiments."""
    layout.section("Measured", "What the experiments without labels found; the page Results has their pictures, too.")
    if not results:
        st.info("No experiment has been measured yet: `kapps train --list` names them.")
    for result in results:
        st.markdown(f"**{layout.plain(result['title'])}.** {layout.plain(result['question'])}")
        if result.get("finding"):
            st.markdown("What was found: " + layout.plain(result["finding"]))
        percent = any(word in result["metric"] for word in ("accuracy", "error", "IoU"))
        rows = [
            {
                "Case": case["label"],
                **{
                    key.capitalize(): f"{100 * case[key]:.2f} %" if percent else f"{case[key]:.4g}"
                    for key in ("median", "min", "max")
                },
            }
            for case in result["cases"]
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, height="content")
        st.caption(layout.plain(f"{result['metric']}; {result['command']}"))


def parts_of(learner: FeatureLearner, codes: np.ndarray) -> list[str]:
    """What there is to see of this learner."""
    digits = not explore.shows_patches(learner) and explore.picture_shape(learner)[2] == 1
    there = {
        FILTERS: True,
        RECONSTRUCTIONS: True,
        CHAINS: explore.has_chains(learner),
        SAMPLES: explore.classes(learner) > 0,
        MAP: codes.ndim == 2 and codes.shape[1] == 2,
        RETRIEVAL: digits,
        MEASURED: True,
    }
    return [part for part, is_there in there.items() if is_there]


def show(found: explore.Shipped) -> None:
    """One learner, part by part.

    Raises:
        KappsError: it is damaged, or is not for pictures.
    """
    file = Path(found.file)
    key = (str(file), file.stat().st_mtime_ns)
    learner = learner_of(*key)
    seen, codes = collection_of(*key, learner)
    part = st.segmented_control(
        "What to see",
        parts_of(learner, codes),
        default=FILTERS,
        required=True,
        label_visibility="collapsed",
        key=f"layers_part {found.name}",
    )
    if part == FILTERS:
        show_filters(learner)
    elif part == RECONSTRUCTIONS:
        show_reconstructions(learner, seen)
    elif part == CHAINS:
        show_chains(learner, key)
    elif part == SAMPLES:
        show_samples(learner)
    elif part == MAP:
        show_map(learner, seen, codes)
    elif part == RETRIEVAL:
        try:
            show_retrieval(learner, seen, codes)
        except DataError as error:  # an empty sheet is no failure
            st.info(layout.plain(str(error)))
    else:
        show_measured(explore.recorded())


layout.header(
    "Layer by layer",
    "Autoencoders, sparse coding, Boltzmann machines and deep belief nets learn features without one label, a layer at "
    "a time ([Hinton, Osindero and Teh 2006](https://doi.org/10.1162/neco.2006.18.7.1527), "
    "[Olshausen and Field 1996](https://doi.org/10.1038/381607a0)).",
)
learners = {found.title: found for found in explore.shipped(models.models_dir())}
if not learners:
    st.info(MISSING)
    show_measured(explore.recorded())
    st.stop()
try:
    show(learners[st.selectbox("Learner", list(learners), key="layers_learner")])
except KappsError as error:
    layout.failure(error)
