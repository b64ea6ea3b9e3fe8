"""Which columns of a shape belong to which part of the face: points of MediaPipe's face mesh."""

import numpy as np

from normpipe.audit.groups import Indices
from normpipe.faces.geometry import mean_shape

_BROWS = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46, 300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
_EYES = (
    *(33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    *(263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
)
_MOUTH = (
    *(61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146),
    *(78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95),
)
_NOSE_BASE = 2


def shape_regions() -> dict[str, Indices]:
    """Columns x, y of the brows, the eyes, the mouth, and the cheeks and jaw (below the nose, without the mouth)."""
    points = mean_shape().points
    low = np.flatnonzero(points[:, 1] > points[_NOSE_BASE, 1])
    jaw = np.setdiff1d(low, _MOUTH)
    named = {"brows": _BROWS, "eyes": _EYES, "mouth": _MOUTH, "cheeks and jaw": jaw}
    return {name: _columns(np.array(members, np.intp)) for name, members in named.items()}


def _columns(members: Indices) -> Indices:
    return np.sort(np.concatenate([2 * members, 2 * members + 1]))
