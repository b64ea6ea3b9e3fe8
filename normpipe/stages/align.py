"""Third stage: the face is cut out upright, centred and at one size.

The template is the mean face seen from the front, the middle of its extent in the middle of the crop, with `margin` of the side
left free above the forehead and below the chin. Size and place come from the rigid fit of the head, not from the outline in the
picture, so that a face keeps its size when it turns and its place when the mouth opens. Only rotation by the roll, uniform
scale and translation: nothing about the face is distorted.
"""

import math

import numpy as np
from numpy.typing import NDArray

from normpipe.batches import AlignedFace, Detection, FaceRow, Floats
from normpipe.config import Align
from normpipe.faces.geometry import extent, fit_head, five_points, mean_shape
from normpipe.faces.pose import angles
from normpipe.faces.regions import Border, warp
from normpipe.records import Failure

ALGORITHM_VERSION = 1

_OUTSIDE = (127, 127, 127)
"""Colour of what lies outside the image."""


def align(row: FaceRow, size: int, options: Align) -> AlignedFace | Failure:
    """Cut one face out.

    Args:
        row: A row of the detect stage; its failure is handed on.
        size: Side of the crop in pixels.
        options: Margin.

    Returns:
        The crop with the landmarks in its pixels and the pose in the source image, or the row's failure.
    """
    if isinstance(row.face, Failure):
        return row.face
    if isinstance(row.frame.image, Failure):
        return row.frame.image
    matrix = alignment_matrix(row.face.landmarks, size, options.margin)
    crop = warp(row.frame.image, matrix, size, Border.CONSTANT, _OUTSIDE)
    height, width = row.frame.image.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) @ matrix[:, :2].T + matrix[:, 2]
    return AlignedFace(crop, transform(row.face.landmarks, matrix), row.face.pose, corners.astype(np.float32))


def alignment_matrix(landmarks: Floats, size: int, margin: float) -> NDArray[np.float64]:
    """The (2, 3) similarity from image points to crop points that `align` uses, for (468, 3) landmarks.

    Points have their origin at the outer corner of the first pixel, in the image and in the crop.
    """
    head = fit_head(landmarks[None])
    roll = math.radians(float(angles(head.rotation)[0, 2]))
    scale = _template_scale(size, margin) / float(head.scale[0])
    cos, sin = scale * math.cos(roll), scale * math.sin(roll)
    turn = np.array([[cos, sin], [-sin, cos]])
    centre = head.apply(_template_centre()[None])[0, 0, :2]
    return np.column_stack([turn, size / 2 - turn @ centre])


def transform(landmarks: Floats, matrix: NDArray[np.float64]) -> Floats:
    """Apply a (2, 3) similarity to (..., 3) landmarks: x and y are mapped, z is scaled alike."""
    moved = landmarks * math.sqrt(float(np.linalg.det(matrix[:, :2])))
    moved[..., :2] = landmarks[..., :2] @ matrix[:, :2].T + matrix[:, 2]
    return moved.astype(np.float32)


def template(size: int, margin: float) -> Floats:
    """The mean face in crop pixels, (468, 3) float32: where an average frontal face lies after `align`."""
    scale, shift = template_map(size, margin)
    points = mean_shape().points * scale
    points[:, :2] += shift
    return points.astype(np.float32)


def template_map(size: int, margin: float) -> tuple[float, Floats]:
    """Scale and shift (2,) from face units to crop pixels, for a frontal face that `align` has cut out."""
    scale = _template_scale(size, margin)
    return scale, size / 2 - scale * _template_centre()[:2]


def template_detection(size: int, margin: float) -> Detection:
    """Where to look for the face in a crop or a normalized image: spares a detector, since the place is known."""
    points = template(size, margin)
    return Detection(extent(points), 1.0, five_points(points)[:2])


def _template_centre() -> Floats:
    """Middle of the mean face's extent, in depth too, so that a turning head stays in the frame on both sides."""
    points = mean_shape().points
    middle: Floats = (points.min(axis=0) + points.max(axis=0)) / 2
    return middle


def _template_scale(size: int, margin: float) -> float:
    """Crop pixels per eye distance of the mean face."""
    points = mean_shape().points[:, :2]
    return size * (1 - 2 * margin) / float(np.ptp(points, axis=0).max())
