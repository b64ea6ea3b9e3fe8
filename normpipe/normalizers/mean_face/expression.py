"""What of a face is expression: the deformation and the wrinkles that the common face gets.

A rigid fit takes the pose away; what pose does to the measured shape beyond that (the landmarker is not perfect) is subtracted
by a small regression. What is left of shape and of detail is expression + identity, and the Wiener estimate of the expression
is `S (W + B)^-1 (observed - neutral)`, with W and B the covariances within and between people and S the part that goes with
expression. Wrinkles are estimated from shape and detail together, since a brow that is up says where to look for them.
Fitted in normpipe.training.mean_face, stored as products of thin matrices.
"""

from dataclasses import dataclass

import numpy as np

from normpipe.batches import AlignedFace, Floats
from normpipe.faces.geometry import fit_head, mean_shape
from normpipe.faces.pose import angles
from normpipe.normalizers.mean_face.detail import extract_detail
from normpipe.normalizers.mean_face.model import MeanFaceModel

UNMEASURABLE = "landmarks are not finite, far outside the crop or without extent"
"""Why a face is not measurable, for its row."""

_ANGLE_UNIT = 30.0
"""Degrees; keeps the terms of the pose regression near 1."""

_REACH = 10.0  # crop sides: landmarks farther from the crop's corner are a failure of the landmarker, not a face
_LEAST_EYE_DISTANCE = 2.0  # pixels of the crop; aligned faces have several times as much at the smallest size


@dataclass(frozen=True, slots=True)
class Expression:
    """The expression part of a face.

    Attributes:
        offsets: (468, 2) float32, how far each landmark of the common face moves, face units.
        detail: (d, d) float32, log luminance to be added in the detail atlas at full strength.
    """

    offsets: Floats
    detail: Floats


@dataclass(frozen=True, slots=True)
class Coefficients:
    """The expression of a face before it is drawn.

    Attributes:
        shape: (r,) float32, of which `model.shape_out` makes offsets of the landmarks.
        detail: (s,) float32, of which `model.detail_out` makes wrinkles.
    """

    shape: Floats
    detail: Floats


def measurable(face: AlignedFace) -> bool:
    """Whether its landmarks can be those of a face in its crop.

    They cannot if they are not finite, more than 10 crop sides away, or of a head whose eyes are less than 2 pixels apart. All
    others keep the arithmetic of measuring and drawing within its range.
    """
    near = bool((np.abs(face.landmarks) <= _REACH * face.image.shape[0]).all())  # false for what is no number, too
    return near and float(fit_head(face.landmarks[None]).scale[0]) >= _LEAST_EYE_DISTANCE


def expression_of(face: AlignedFace, model: MeanFaceModel) -> Expression:
    """Estimate the expression of one face."""
    found = read_face(face, model)
    offsets = compressed((found.shape @ model.shape_out).reshape(-1, 2), float(model.offset_limit[0]))
    atlas = np.zeros(model.detail_mask.shape, np.float32)
    atlas[model.detail_mask] = found.detail @ model.detail_out
    return Expression(offsets.astype(np.float32), atlas)


def read_face(face: AlignedFace, model: MeanFaceModel) -> Coefficients:
    """The estimate of one face in its own few numbers."""
    shape, pose = measured_shape(face.landmarks[None])
    shape_seen = (shape - pose @ model.pose_effect)[0] - neutral_shape(face, model)
    detail = extract_detail(face, model.atlas_points, model.skin_triangles, model.detail_mask)
    detail_seen = detail.deviation(model.detail_offset)
    return Coefficients(
        shape_seen @ model.shape_in, shape_seen @ model.detail_from_shape + detail_seen @ model.detail_from_detail
    )


def shape_deviation(landmarks: Floats, model: MeanFaceModel) -> Floats:
    """(n, 936) float32, what the shapes of (n, 468, 3) landmarks in any pixels have beyond pose and the common neutral face."""
    shape, pose = measured_shape(landmarks)
    deviation: Floats = shape - pose @ model.pose_effect - model.shape_offset
    return deviation


def neutral_shape(face: AlignedFace, model: MeanFaceModel) -> Floats:
    """The point of zero expression (936,): the common one, moved to the subject's own as far as that is known."""
    if face.neutral is None:
        return model.shape_offset
    own = (face.neutral.shape - mean_shape().points)[:, :2].reshape(-1)
    moved: Floats = model.shape_offset + np.float32(face.neutral.weight) * (own - model.shape_offset)
    return moved


def compressed(offsets: Floats, limit: float) -> Floats:
    """Offsets (468, 2) scaled down the more the larger they are: amplified extremes would leave what faces can do."""
    amount = float(np.sqrt((offsets**2).mean()))
    return offsets / np.float32(np.sqrt(1 + (amount / limit) ** 2))


def measured_shape(landmarks: Floats) -> tuple[Floats, Floats]:
    """Frontal view of measured faces, and their pose terms.

    Args:
        landmarks: (n, 468, 3) in any pixels.

    Returns:
        (n, 936) float32, deviation of x and y from the mean shape in face units; (n, 6) float32, see `pose_terms`.
    """
    head = fit_head(landmarks)
    centred = landmarks - head.translation[:, None]
    frontal = np.einsum("npi,nij->npj", centred, head.rotation) / head.scale[:, None, None]
    deviation = (frontal - mean_shape().points)[..., :2].reshape(len(landmarks), -1)
    return deviation.astype(np.float32), pose_terms(angles(head.rotation))


def pose_terms(pose: Floats) -> Floats:
    """Regressors of the landmarker's pose error: (n, 6) float32 from (n, 3) yaw, pitch, roll in degrees."""
    yaw, pitch = pose[:, 0] / _ANGLE_UNIT, pose[:, 1] / _ANGLE_UNIT
    terms: Floats = np.stack([yaw, pitch, yaw**2, pitch**2, yaw * pitch, yaw**3], axis=1).astype(np.float32)
    return terms
