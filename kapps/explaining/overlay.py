"""An explanation as a picture: the image in pale grey, and over it a colour, the stronger the more a pixel mattered."""

from __future__ import annotations

import matplotlib
import numpy as np

from kapps.errors import DataError
from kapps.explaining.attribution import Attribution


def to_image(
    attribution: Attribution, image: np.ndarray, *, shortest_side: int = 280, percentile: float = 99.5
) -> np.ndarray:
    """Draw an attribution over its image.

    Signed maps: red is for the class, blue against it. Unsigned maps: from yellow to dark red.

    Args:
        attribution: of any method.
        image: the image it explains, [h, w] or [h, w, c], uint8 or float; it is stretched to its own range.
        shortest_side: small images are enlarged by a whole factor, without blurring, to at least this many pixels.
        percentile: of the map's absolute values: what lies above gets the full colour, so that one pixel does not
            make all others pale.

    Returns:
        uint8 RGB [H, W, 3], where H and W are h and w times that factor.

    Raises:
        DataError: the image has another size than the map.
    """
    grey = np.asarray(image, np.float64)
    grey = grey.mean(axis=-1) if grey.ndim == 3 else grey
    if grey.shape != attribution.map.shape:
        raise DataError(f"expected the image that was explained, {list(attribution.map.shape)}, got {list(grey.shape)}")
    span = grey.max() - grey.min()
    grey = (grey - grey.min()) / span if span else np.zeros_like(grey)

    strength = np.abs(attribution.map)
    limit = np.percentile(strength, percentile) or strength.max() or 1.0
    strength = np.clip(strength / limit, 0, 1)
    if attribution.signed:
        value = 0.5 + 0.5 * np.sign(attribution.map) * (0.45 + 0.55 * strength)  # its pale middle would not be seen
        colour = matplotlib.colormaps["RdBu_r"](value)[..., :3]
        opacity = np.sqrt(strength)
    else:
        colour = matplotlib.colormaps["YlOrRd"](0.25 + 0.75 * strength)[..., :3]
        opacity = strength  # every pixel has some gradient; its root would lie over the image like a haze
    paper = np.repeat((0.97 - 0.35 * (1 - grey))[..., np.newaxis], 3, axis=-1)
    opacity = opacity[..., np.newaxis]
    picture = np.round(255 * (paper * (1 - opacity) + colour * opacity)).astype(np.uint8)
    factor = max(1, -(-shortest_side // min(picture.shape[:2])))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)
