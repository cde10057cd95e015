"""The features that a frozen network gives of photos: computed once, as a stream, and remembered.

The next photos are read and decoded while the network works on the last ones, so the slower of the two sets the pace.
What was computed lies in the cache under the photo's content, the network's weights and the preprocessing: a second
look at the same folder, or at one that has grown, computes only what is new.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kapps.data.decoding import decode_image
from kapps.data.preprocessing import Preprocessing
from kapps.errors import DataError
from kapps.streams import untuned
from kapps.tasks.transfer.photos import Photo
from kapps.weights.download import cache_dir

BATCH = 16


def pooled(trunk: keras.Model) -> keras.Model:
    """The trunk with its last feature averaged over the positions: image [B, h, w, c] -> float32 [B, D].

    Args:
        trunk: gives `{feature name: tensor}` in reading order (`kapps.create_backbone`).
    """
    last = list(trunk.output.values())[-1]
    if len(last.shape) == 4:
        last = keras.layers.GlobalAveragePooling2D(name="global_pool", dtype="float32")(last)
    return keras.Model(trunk.input, last, name=trunk.name)


def extract(
    network: keras.Model,
    photos: Sequence[Photo],
    preprocessing: Preprocessing,
    *,
    mirrored: bool = True,
    remember: bool = True,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """What the network gives of each photo.

    Args:
        network: image float32 [B, h, w, c] -> [B, D]; see `pooled`.
        photos: which.
        preprocessing: what the network's weights were trained with.
        mirrored: also of the photo's mirror image.
        remember: look into the cache, and leave what is new there.
        progress: called with the number of photos that are done since the last call.

    Returns:
        float32 [N, V, D]; V is 2 with `mirrored`, else 1.

    Raises:
        DataError: a photo that could be read before has gone or cannot be decoded.
    """
    views = 2 if mirrored else 1
    size = network.output_shape[-1]
    store = _store(network, preprocessing, views) if remember else None
    known = _load(store, views, size) if store else {}
    missing = [photo for photo in dict.fromkeys(photos) if photo.digest not in known]
    if progress is not None and len(photos) > len(missing):
        progress(len(photos) - len(missing))
    if missing:
        known |= zip(
            (photo.digest for photo in missing),
            _compute(network, missing, preprocessing, mirrored=mirrored, progress=progress),
            strict=True,
        )
        if store:
            _save(store, known)
    if not photos:
        return np.zeros((0, views, size), np.float32)
    return np.stack([known[photo.digest] for photo in photos])


def stream(photos: Sequence[Photo], preprocessing: Preprocessing, batch_size: int) -> tf.data.Dataset:
    """Batches of preprocessed photos, float32 [B, h, w, c], in their order, read ahead on all processors."""

    def read(path: tf.Tensor) -> tf.Tensor:
        return preprocessing(decode_image(tf.io.read_file(path)))

    paths = tf.data.Dataset.from_tensor_slices([os.fsencode(photo.path) for photo in photos])
    return untuned(paths.map(read, tf.data.AUTOTUNE).batch(batch_size).prefetch(2))


def views_of(network: keras.Model, preprocessing: Preprocessing, *, mirrored: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    """The network as a graph: preprocessed photos float32 [B, h, w, c] -> [B, V, D], also of their mirror images."""

    @tf.function(
        input_signature=[tf.TensorSpec([None, *preprocessing.size, preprocessing.channels], tf.float32)],
        autograph=False,
    )
    def views(images: tf.Tensor) -> tf.Tensor:
        seen = [images, images[:, :, ::-1]] if mirrored else [images]
        return tf.stack([tf.cast(network(view, training=False), tf.float32) for view in seen], axis=1)

    return views


def _compute(
    network: keras.Model,
    photos: Sequence[Photo],
    preprocessing: Preprocessing,
    *,
    mirrored: bool,
    progress: Callable[[int], None] | None,
) -> list[np.ndarray]:
    views = views_of(network, preprocessing, mirrored=mirrored)
    rows: list[np.ndarray] = []
    try:
        for images in stream(photos, preprocessing, BATCH):
            rows.extend(views(images).numpy())
            if progress is not None:
                progress(len(images))
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"one of {len(photos)} photos, after {len(rows)} that were read, has gone or cannot be decoded ({reason}): "
            "the folder changed meanwhile, begin again"
        ) from error
    return rows


def _store(network: keras.Model, preprocessing: Preprocessing, views: int) -> Path:
    """The file for all features that this network gives; it has another name with other weights."""
    digest = hashlib.sha256(json.dumps([preprocessing.to_dict(), views, network.output_shape[-1]]).encode())
    for variable in network.weights:
        digest.update(variable.path.encode())
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
    return cache_dir() / "features" / f"{network.name}-{digest.hexdigest()[:20]}.npz"


def _load(store: Path, views: int, size: int) -> dict[str, np.ndarray]:
    """What is there; nothing if it is damaged: it is computed anew."""
    try:
        with np.load(store, allow_pickle=False) as file:
            digests, features = file["digests"], file["features"]
    except Exception:  # not there, cut off, or no such archive
        return {}
    if features.shape != (len(digests), views, size) or features.dtype != np.float32:
        return {}
    return dict(zip(digests.tolist(), features, strict=True))


def _save(store: Path, known: dict[str, np.ndarray]) -> None:
    """What cannot be remembered is computed again next time: no reason to stop."""
    part = store.with_name(f".{os.getpid()}.npz")
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        np.savez(part, digests=np.array(list(known)), features=np.stack(list(known.values())))
        os.replace(part, store)
    except OSError:
        part.unlink(missing_ok=True)
