"""Looking at a face more than once: one look of the landmarker is noisy, and errs otherwise on the mirrored picture.

The normalizer takes two looks, of which the second is at the mirror image. What the network learns from was looked at still
more often.
"""

import math
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from normpipe.batches import AlignedFace, Detection, Floats
from normpipe.faces.geometry import extent, five_points, mean_shape, mirror_points
from normpipe.faces.protocols import Landmarker
from normpipe.faces.regions import Border, warp

_LOOKS = 8  # every second one mirrored
_ANGLE = 8.0  # degrees, either way
_SCALE = 0.06  # of the logarithm, either way
_SHIFT = 0.02  # sides, either way
_OUTSIDE = (127, 127, 127)
_UPRIGHT = np.eye(2, 3)


def seen_twice(face: AlignedFace, landmarker: Landmarker) -> AlignedFace:
    """The face on the mean of its landmarks and its mirror image's; on its own alone where no face is seen in that."""
    other = _look(face, landmarker, _UPRIGHT, mirrored=True)
    return face if other is None else replace(face, landmarks=(face.landmarks + other) / np.float32(2))


def steadied(face: AlignedFace, landmarker: Landmarker, random: np.random.Generator) -> AlignedFace:
    """The face on the mean landmarks of several looks at its crop, turned, scaled, shifted and mirrored a little.

    Where no look shows a face, its landmarks stay as they are.
    """
    side = face.image.shape[0]
    looks = [_look(face, landmarker, _random_similarity(side, random), mirrored=look % 2 == 1) for look in range(_LOOKS)]
    found = [points for points in looks if points is not None]
    if not found:
        return face
    return replace(face, landmarks=np.asarray(np.mean(found, axis=0, dtype=np.float64), np.float32))


def _look(face: AlignedFace, landmarker: Landmarker, matrix: NDArray[np.float64], *, mirrored: bool) -> Floats | None:
    """(468, 3) landmarks of the crop as one look at it under a (2, 3) similarity finds them."""
    side = face.image.shape[0]
    image, expected = face.image, face.landmarks
    if mirrored:
        image, expected = np.ascontiguousarray(image[:, ::-1]), _mirrored(expected, side)
    expected = np.asarray(expected[:, :2] @ matrix[:, :2].T + matrix[:, 2], np.float32)
    seen = Detection(extent(expected), 1.0, five_points(expected)[:2])
    found = landmarker.landmarks(warp(image, matrix, side, Border.CONSTANT, _OUTSIDE), [seen])[0]
    if found is None:
        return None
    points = found.points / math.sqrt(float(np.linalg.det(matrix[:, :2])))
    points[:, :2] = (found.points[:, :2] - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    return _mirrored(points, side) if mirrored else points


def _random_similarity(side: int, random: np.random.Generator) -> NDArray[np.float64]:
    """(2, 3), about the middle of a crop."""
    angle = math.radians(random.uniform(-_ANGLE, _ANGLE))
    scale = math.exp(random.uniform(-_SCALE, _SCALE))
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    middle = np.full(2, side / 2)
    return np.column_stack([turn, middle - turn @ middle + side * random.uniform(-_SHIFT, _SHIFT, 2)])


def _mirrored(landmarks: Floats, side: int) -> Floats:
    """(468, 3) landmarks of the mirrored crop."""
    points = landmarks[_mirror()]
    points[:, 0] = side - points[:, 0]
    return points


@cache
def _mirror() -> NDArray[np.intp]:
    return mirror_points(mean_shape().points)
