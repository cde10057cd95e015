"""Selective search: boxes that may hold an object of any kind, from grouping pixels that look alike."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, Literal, get_args

import numpy as np

from kapps.errors import DataError, MissingExtraError, UnknownNameError

Mode = Literal["fast", "quality"]

# Of the numbers that the ranking multiplies places with; any other would do.
_SEED = 0


def selective_search(
    image: np.ndarray, mode: Mode = "fast", limit: int = 2000, *, longest_side: int | None = None
) -> np.ndarray:
    """The boxes of regions that grow by merging the two most alike neighbours until the image is one region.

    Uijlings, van de Sande, Gevers, Smeulders: "Selective Search for Object Recognition", IJCV 2013, sections 3.1 and
    3.2, by OpenCV's contributed modules: pip install 'kapps[detect]'. The same image always gives the same boxes.

    Regions start from several segmentations in several colour spaces and are compared by colour, texture, size and how
    well they fill each other; section 3.3 ranks all of them by (place in the hierarchy from the top) x (a random number
    from 0 to 1), so that no kind of region is left out where only the first `limit` are wanted.

    Deviations: OpenCV draws its ranks by the C library's `rand`, which no seed of its own reaches, and prefers small
    regions. So only its set of boxes is used, and the place of a box is that among all boxes from the largest to the
    smallest. Duplicates are gone before the ranking, not behind it.

    Args:
        image: uint8 [H, W, 3], RGB.
        mode: `"fast"` (two colour spaces, three segmentations) or `"quality"` (five and five: three times as long).
        limit: the most boxes.
        longest_side: an image with a longer one is searched in a smaller copy: the time grows faster than the number of
            pixels, and so does the number of boxes (Girshick et al., CVPR 2014, section 4.2, resize to a width of 500).
            None = as it is.

    Returns:
        float32 [N, 4], `"xyxy"` in pixels of the image, best first, N at most `limit`.

    Raises:
        MissingExtraError: the extra `detect` is not installed.
        UnknownNameError: no mode has this name.
        DataError: not such an image, or a limit or side below 1.
    """
    if mode not in get_args(Mode):
        raise UnknownNameError("mode of selective search", mode, get_args(Mode))
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(
            f"expected an image uint8 [H, W, 3] for selective search, got {image.dtype} {list(image.shape)}: "
            "read it by kapps.data.read_image"
        )
    if limit < 1 or (longest_side is not None and longest_side < 1):
        raise DataError(f"expected a limit and a longest_side of at least 1, got {limit} and {longest_side}")
    cv2, segmentation = _opencv()
    height, width = image.shape[:2]
    bgr = np.ascontiguousarray(image[..., ::-1])
    if longest_side is not None and max(height, width) > longest_side:
        sides = [max(1, round(side * longest_side / max(height, width))) for side in (width, height)]
        bgr = cv2.resize(bgr, sides, interpolation=cv2.INTER_AREA)
    search = segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(bgr)
    if mode == "fast":
        search.switchToSelectiveSearchFast()
    else:
        search.switchToSelectiveSearchQuality()
    found = np.asarray(search.process(), np.int64).reshape(-1, 4)  # left, top, width, height
    left, top = found[:, 0], found[:, 1]
    areas = found[:, 2] * found[:, 3]
    found = found[np.lexsort((found[:, 2], left, top, -areas))]
    ranks = np.random.default_rng(_SEED).random(len(found)) * np.arange(1, len(found) + 1)
    found = found[np.argsort(ranks, kind="stable")[:limit]]
    corners = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)
    scale = np.array([width / bgr.shape[1], height / bgr.shape[0]])
    return (corners * np.tile(scale, 2)).astype(np.float32)


def _opencv() -> tuple[ModuleType, Any]:
    """OpenCV and the part of its contributed modules that is wanted here."""
    try:
        cv2 = importlib.import_module("cv2")
        return cv2, cv2.ximgproc.segmentation
    except (ImportError, AttributeError) as error:  # the latter: OpenCV without the contributed modules
        raise MissingExtraError("opencv-contrib-python-headless", "detect") from error
