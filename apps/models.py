"""The networks behind the pages: loaded once for all visitors, and kept as they are."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from kapps import catalog, paths

if TYPE_CHECKING:
    from kapps.data.preprocessing import Preprocessing
    from kapps.predict import Predictor
    from kapps.weights.sources import Source


def models_dir() -> Path:
    """The folder of the trained models: `KAPPS_SAVED_MODELS` where it is set, else the one that comes with kapps."""
    chosen = os.environ.get("KAPPS_SAVED_MODELS")
    return Path(chosen) if chosen else paths.saved_models_dir()


def load(name: str, methods: tuple[str, ...] = ("saliency",)) -> Predictor:
    """The predictor of one exported model, ready to answer and, by these methods, to explain at once.

    Raises:
        SavedModelError: the model is missing or damaged.
    """
    return load_folder(models_dir() / name, methods)


def load_folder(folder: Path, methods: tuple[str, ...] = ("saliency",)) -> Predictor:
    """The same for an exported model that lies anywhere.

    Raises:
        SavedModelError: the model is missing or damaged.
    """
    card = folder / "card.json"
    # A model that was exported anew is loaded anew; an absent one is asked for again on every run.
    return _load(str(folder), card.stat().st_mtime_ns if card.exists() else 0, methods)


def weights_at_hand() -> list[Source]:
    """The published weights that need no network: of installed packages, or fetched before."""
    from kapps.weights import sources
    from kapps.weights.download import cache_dir

    def fetched(source: Source) -> bool:
        place = cache_dir() / "weights" / hashlib.sha256(source.url.encode()).hexdigest()[:16]
        return (
            bool(source.url)
            and place.is_dir()
            and any(file.suffix in (".pth", ".h5", ".safetensors") for file in place.iterdir())
        )

    return [source for source in sources.sources() if sources.installed_file(source) or fetched(source)]


@st.cache_resource(show_spinner="Loading the network: some seconds, once", max_entries=2)
def load_published(name: str, weights: str) -> tuple[Any, Preprocessing, list[str], int]:
    """An architecture with published ImageNet weights: the Keras model, its preprocessing, its labels and its FLOPs.

    Raises:
        WeightsError, UnknownNameError: there are none, or they are damaged.
    """
    kapps = import_kapps()
    from kapps.data.preprocessing import Preprocessing
    from kapps.weights import sources

    source = sources.find(name, weights)
    preprocessing = Preprocessing(**source.preprocessing)
    shape = (*preprocessing.size, preprocessing.channels)
    model = kapps.create_model(name, input_shape=shape, weights=source.weights)
    return model, preprocessing, sources.imagenet_labels(), catalog.flops(name) or 0


def import_kapps() -> ModuleType:
    """`kapps`, for what needs TensorFlow and Keras; these take seconds, so a page asks for them when it needs them.

    Streamlit ends every run of a page with `keras.backend.clear_session()`. With TensorFlow as Keras' backend this
    throws away everything that TensorFlow has compiled, the loaded network too, and the next stroke on the canvas
    would wait for seconds; and it resets Keras under another visitor whose page builds a network in that moment. It is
    there against memory that fills up when models are made without end; here models are made seldom and not kept.
    """
    import keras

    import kapps

    keras.backend.clear_session = _leave_the_session_alone
    return kapps


def _leave_the_session_alone(free_memory: bool = True) -> None:
    """In the place of `keras.backend.clear_session`."""


@st.cache_resource(show_spinner="Loading the network: some seconds, once", max_entries=6)
def _load(folder: str, exported: int, methods: tuple[str, ...]) -> Predictor:
    predictor = import_kapps().load(folder)
    from kapps.explaining import attribute

    # The first call of a graph takes long; a visitor shall not wait for it, nor read its time as the network's.
    # A dark bar on a light sheet, so that no step of the preprocessing is left out.
    picture = np.full((280, 280), 255, np.uint8)
    picture[60:220, 130:150] = 0
    predictor(picture)
    if predictor.card.features:
        predictor.features(picture)
    if predictor.steps_function is not None:
        import tensorflow as tf

        predictor.steps_function(image=tf.constant(np.repeat(picture[np.newaxis, ..., np.newaxis], 3, axis=-1)))
    for method in methods:
        attribute(predictor, predictor.preprocess(picture)[0], method=method)
    return predictor
