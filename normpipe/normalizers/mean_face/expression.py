"""How the source deforms the common face: the expression part of its measured shape.

A rigid fit takes the pose away; what pose does to the measured shape beyond that (the landmarker is not perfect) is subtracted
by a small regression. Of what is left, shape = expression + identity, the Wiener estimate of the expression part is
`S (W + B)^-1 shape` with W and B the covariance within and between people and S the part of W that goes with expression; fitted
in normpipe.training.mean_face, stored as a product of two thin matrices.
"""

import numpy as np

from normpipe.batches import Floats
from normpipe.faces.geometry import fit_head, mean_shape
from normpipe.faces.pose import angles
from normpipe.normalizers.mean_face.model import MeanFaceModel

_ANGLE_UNIT = 30.0
"""Degrees; keeps the terms of the pose regression near 1."""


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


def expression_offsets(landmarks: Floats, model: MeanFaceModel) -> Floats:
    """How far each landmark of the common face moves: (468, 2) float32 face units, from (468, 3) landmarks."""
    shape, pose = measured_shape(landmarks[None])
    pose_free = shape - pose @ model.pose_effect - model.shape_offset
    return (pose_free @ model.shape_in @ model.shape_out).reshape(-1, 2).astype(np.float32)
