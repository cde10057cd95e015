"""A small FCN names every pixel of a scene or of the visitor's picture, alone and with a dense CRF behind it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from apps import drawing, layout, models
from apps.drawing import Figure
from kapps import masks
from kapps.errors import KappsError

if TYPE_CHECKING:
    from kapps.predict import Predictor

MODEL = "scenes_fcn"
MISSING = (
    f"The network is not here yet. `kapps train fcn_scenes` trains it, and "
    f"`kapps export runs/fcn_scenes/fcn_crf/seed0 saved_models/{MODEL}` puts it here."
)
TRUTH, NETWORK, REFINED = "The truth", "The network", "With a CRF behind"
CONFIDENT = "Where it is sure: dark is unsure, bright is sure. It is least sure at the outlines."


class Seen(NamedTuple):
    """One picture and what is known about it.

    Attributes:
        image: uint8 [H, W, 1 or 3].
        truth: the index of each pixel's class [H, W]; None for a picture of the visitor's.
        name: how to call it.
    """

    image: np.ndarray
    truth: np.ndarray | None
    name: str


class Maps(NamedTuple):
    """What the network says, on the picture's own pixels; -1 where it did not get to see them.

    Attributes:
        network: the index of each pixel's class [H, W].
        refined: the same with a CRF behind; None for a network whose scores are not known.
        confidence: the score of the best class [H, W].
        source: where the CRF stands: `"in the model"` or `"put behind it here"`.
    """

    network: np.ndarray
    refined: np.ndarray | None
    confidence: np.ndarray
    source: str


def given(predictor: Predictor) -> Seen | None:
    """The scene or the visitor's picture; None while there is none. Draws the controls.

    Raises:
        ImageError: it is no picture that can be read rightly.
    """
    from kapps.data.images import check_image_bytes, read_image  # only now: TensorFlow takes seconds
    from kapps.data.scenes import MASK_CLASS_NAMES, label_map, make_scene

    how = st.segmented_control(
        "Where the picture comes from",
        ["Generated scene", "Upload"],
        default="Generated scene",
        required=True,
        label_visibility="collapsed",
        key="pixels_how",
    )
    if how == "Generated scene":
        seeds, numbers = st.columns(2)
        seed = seeds.number_input("Seed", 0, 2**31 - 1, 7, key="pixels_seed")
        index = numbers.number_input("Scene", 0, 2**31 - 1, 0, key="pixels_scene")
        size = tuple(max(side, 32) for side in predictor.card.input["shape"][:2])
        scene = make_scene(seed, index, size, num_objects=(1, 5))
        truth = label_map(scene) if predictor.labels == MASK_CLASS_NAMES else None
        return Seen(scene.image, truth, f"{size[0]} × {size[1]} pixels")
    file = st.file_uploader(
        "A picture",
        type=["png", "jpg", "jpeg", "gif", "bmp"],
        key="pixels_upload",
        max_upload_size=layout.LARGEST_UPLOAD,
    )
    if file is None:
        return None
    check_image_bytes(file.getvalue(), file.name)
    image = drawing.thumbnail(read_image(file.getvalue()), 448)
    return Seen(image if image.ndim == 3 else image[..., np.newaxis], None, file.name)


def ask(predictor: Predictor, image: np.ndarray) -> Maps:
    """The answers without and with a CRF, on the picture's own pixels."""
    from kapps.answers import at_own_size  # only now: TensorFlow takes seconds
    from kapps.data.preprocessing import Preprocessing
    from kapps.tasks.segmentation.refine import refine

    shown = predictor.preprocess(image)
    last = predictor.predict_tensors(shown)
    first, refined, source = last, None, ""
    if predictor.logits_function is not None:
        logits = predictor.logits_function(image=shown)["logits"].numpy()
        before = predictor.features(image)["scores"] if "scores" in predictor.card.features else logits
        if np.allclose(before, logits):
            refined, source = refine(logits, shown), "put behind it here"
        else:
            powers = np.exp(before - before.max(axis=-1, keepdims=True))
            first, refined, source = powers / powers.sum(axis=-1, keepdims=True), last, "in the model"

    steps = Preprocessing.from_dict(predictor.card.input["preprocessing"])

    def own(values: np.ndarray) -> np.ndarray:
        return at_own_size(values, steps, image.shape[:2])

    return Maps(
        own(first[0].argmax(axis=-1)),
        None if refined is None else own(refined[0].argmax(axis=-1)),
        own((last if refined is None else refined)[0].max(axis=-1)),
        source,
    )


def show_maps(seen: Seen, maps: Maps, colours: np.ndarray) -> None:
    """The picture, the labels laid over it, and how sure they are."""
    height, width = seen.image.shape[:2]
    picture = np.repeat(seen.image, 3 // seen.image.shape[-1], axis=-1)
    layers = [(TRUTH, seen.truth, "known exactly"), (NETWORK, maps.network, "the likeliest class of each pixel")]
    layers.append((REFINED, maps.refined, f"{maps.source}: pixels that look alike agree"))
    figures = [Figure(picture, "Picture", f"{height} × {width} pixels", "The picture")]
    figures += [
        Figure(masks.over(picture, mask, colours, 0.75), name, text, f"{name}: a colour for each class")
        for name, mask, text in layers
        if mask is not None
    ]
    sure = drawing.ramp(np.clip(maps.confidence, 0, 1))
    figures.append(Figure(sure, "Confidence", "dark: unsure, bright: sure", CONFIDENT))
    st.html(drawing.figures_html(figures, least_width="13rem"))


def show_figures(seen: Seen, maps: Maps, labels: tuple[str, ...]) -> None:
    """The classes in the picture: what part of it they are, and where the truth is known how well they were found."""
    from kapps.metrics.mean_iou import intersection_over_union  # only now: Keras takes seconds

    answers = {NETWORK: maps.network} | ({} if maps.refined is None else {REFINED: maps.refined})
    every = {**({} if seen.truth is None else {TRUTH: seen.truth}), **answers}
    shares = {name: np.bincount(mask[mask >= 0], minlength=len(labels)) / mask.size for name, mask in every.items()}
    present = [index for index in range(len(labels)) if any(share[index] for share in shares.values())]
    columns = {"Class": [labels[index] for index in present]}
    for name, share in shares.items():
        columns[f"{name}: share"] = [drawing.percent(share[index]) for index in present]
    if seen.truth is not None:
        for place, (name, mask) in zip(st.columns(len(answers)), answers.items(), strict=True):
            confusion = np.zeros((len(labels), len(labels)), int)
            np.add.at(confusion, (seen.truth[mask >= 0], mask[mask >= 0]), 1)
            iou = intersection_over_union(confusion)
            columns[f"{name}: IoU"] = [drawing.percent(iou[index]) if iou[index] >= 0 else "-" for index in present]
            place.metric(f"{name}: mean IoU", drawing.percent(float(np.nanmean(iou))))
    st.dataframe(pd.DataFrame(columns), hide_index=True, height="content")


def legend(labels: tuple[str, ...], colours: np.ndarray, maps: Maps, truth: np.ndarray | None) -> None:
    """The colours of the classes that are in one of the maps."""
    shown = [mask for mask in (maps.network, maps.refined, truth) if mask is not None]
    present = sorted({int(index) for mask in shown for index in np.unique(mask) if index >= 0})
    names = "".join(
        f'<span style="white-space: nowrap"><span style="display: inline-block; width: 0.8rem; height: 0.8rem; '
        f'border-radius: 0.2rem; background: #{bytes(colours[index]).hex()}"></span> {escape(labels[index])}</span>'
        for index in present
    )
    st.html(f'<div style="display: flex; flex-wrap: wrap; gap: 0.3rem 1rem">{names}</div>')


layout.header(
    "Label every pixel",
    "A classifier made fully convolutional names every pixel of an image; a conditional random field brings the names "
    "to the outlines ([Long, Shelhamer and Darrell 2015](https://arxiv.org/abs/1411.4038), "
    "[Krähenbühl and Koltun 2011](https://arxiv.org/abs/1210.5644)).",
)
if not (models.models_dir() / MODEL / "card.json").exists():
    st.info(MISSING)
    st.stop()
left, right = st.columns([1, 2.6], gap="large")
try:
    predictor = models.load(MODEL, ())
    with left:
        seen = given(predictor)
        if seen is None:
            *others, last = (label for label in predictor.labels if label != "background")
            st.info(f"It knows {', '.join(others)} and {last}, drawn on textures: a photo is something else to it.")
    if seen is not None:
        colours = masks.palette(predictor.labels)
        maps = ask(predictor, seen.image)
        with right:
            show_maps(seen, maps, colours)
        with left:
            legend(predictor.labels, colours, maps, seen.truth)
        with right:
            show_figures(seen, maps, predictor.labels)
except KappsError as error:
    layout.failure(error)
