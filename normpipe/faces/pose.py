"""Head pose: the rotation of the rigid fit as the three angles that people read.

A rotation is roll @ yaw @ pitch: undoing the roll in the image plane leaves a face whose eyes are level, which is what
alignment does. Zero is frontal; positive yaw turns the face to the image's right, positive pitch up, positive roll clockwise.
"""

import numpy as np
from numpy.typing import NDArray

from normpipe.batches import Floats
from normpipe.faces.geometry import fit_head


def pose(landmarks: Floats) -> Floats:
    """Yaw, pitch and roll in degrees, (n, 3) float32, of (n, 468, 3) landmarks."""
    return angles(fit_head(landmarks).rotation)


def angles(rotation: NDArray[np.float64]) -> Floats:
    """Yaw (-90 to 90), pitch and roll (-180 to 180) in degrees, (n, 3) float32, of (n, 3, 3) rotations."""
    yaw = np.arcsin(np.clip(rotation[:, 2, 0], -1, 1))
    pitch = -np.arctan2(rotation[:, 2, 1], rotation[:, 2, 2])
    roll = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
    degrees: Floats = np.degrees(np.stack([yaw, pitch, roll], axis=-1)).astype(np.float32)
    return degrees


def rotation(degrees: Floats) -> NDArray[np.float64]:
    """The (n, 3, 3) rotations that have the given (n, 3) yaw, pitch and roll: inverse of `angles`."""
    yaw, pitch, roll = np.radians(degrees.astype(np.float64)).T
    return _about(2, roll) @ _about(1, -yaw) @ _about(0, -pitch)


def _about(axis: int, radians: NDArray[np.float64]) -> NDArray[np.float64]:
    """Right-handed turn about one axis."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    turn = np.zeros((len(radians), 3, 3))
    turn[:, axis, axis] = 1
    turn[:, first, first] = turn[:, second, second] = np.cos(radians)
    turn[:, second, first] = np.sin(radians)
    turn[:, first, second] = -np.sin(radians)
    return turn
