"""How mean_face reads a face, as the few numbers that its renderer draws from, and looking at a face more than once.

One look of the landmarker is noisy, and it errs otherwise on the mirrored picture. Over several looks the errors average out;
a network that is taught with the averages reads steadier than its teacher does.
"""

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from normpipe.batches import AlignedFace, Detection, Floats
from normpipe.faces.geometry import extent, five_points, mean_shape
from normpipe.faces.protocols import Landmarker
from normpipe.faces.regions import Border, warp
from normpipe.normalizers.mean_face.detail import extract_detail
from normpipe.normalizers.mean_face.expression import measured_shape
from normpipe.normalizers.mean_face.model import MeanFaceModel
from normpipe.training.mesh import mirror_points

_LOOKS = 8  # every second one mirrored
_ANGLE = 8.0  # degrees, either way
_SCALE = 0.06  # of the logarithm, either way
_SHIFT = 0.02  # sides, either way
_OUTSIDE = (127, 127, 127)

_INNER_LIPS = (13, 14)
_EYE_CORNERS = (33, 263)


@dataclass(frozen=True, slots=True)
class Coefficients:
    """The expression of a face before it is drawn.

    Attributes:
        shape: (40,) float32, of which `model.shape_out` makes offsets of the landmarks.
        detail: (24,) float32, of which `model.detail_out` makes wrinkles.
    """

    shape: Floats
    detail: Floats


def read_face(face: AlignedFace, model: MeanFaceModel) -> Coefficients:
    """What `expression_of` finds, in its own coordinates; measured from the common neutral face."""
    deviation = shape_deviation(face.landmarks[None], model)[0]
    detail = extract_detail(face, model.atlas_points, model.skin_triangles, model.detail_mask).deviation(model.detail_offset)
    return Coefficients(
        (deviation @ model.shape_in).astype(np.float32),
        (deviation @ model.detail_from_shape + detail @ model.detail_from_detail).astype(np.float32),
    )


def shape_deviation(landmarks: Floats, model: MeanFaceModel) -> Floats:
    """(n, 936) float32, what the shapes of (n, 468, 3) landmarks in any pixels have beyond pose and the common neutral face."""
    shape, pose = measured_shape(landmarks)
    deviation: Floats = shape - pose @ model.pose_effect - model.shape_offset
    return deviation


def mouth_opening(landmarks: Floats) -> Floats:
    """(n,) distances between the inner lips of (n, 468, 3) landmarks, in distances of the eyes' outer corners."""
    lips, eyes = (
        np.linalg.norm(landmarks[:, first, :2] - landmarks[:, second, :2], axis=1)
        for first, second in (_INNER_LIPS, _EYE_CORNERS)
    )
    return np.asarray(lips / np.maximum(eyes, 1e-6), np.float32)


def steadied(face: AlignedFace, landmarker: Landmarker, random: np.random.Generator) -> AlignedFace:
    """The face on the mean landmarks of several looks at its crop, turned, scaled, shifted and mirrored a little.

    Where no look shows a face, its landmarks stay as they are.
    """
    found = [points for look in range(_LOOKS) if (points := _look(face, landmarker, random, look % 2 == 1)) is not None]
    if not found:
        return face
    return replace(face, landmarks=np.asarray(np.mean(found, axis=0, dtype=np.float64), np.float32))


def _look(face: AlignedFace, landmarker: Landmarker, random: np.random.Generator, mirrored: bool) -> Floats | None:
    """(468, 3) landmarks of the crop as one look finds them."""
    side = face.image.shape[0]
    matrix = _random_similarity(side, random)
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
