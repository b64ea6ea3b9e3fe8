"""Shape of a face: the mean shape, its rigid fit to landmarks, and the points and boxes derived from landmarks.

Pure functions on arrays. Landmarks follow MediaPipe's face mesh: 468 points, x to the right, y down, z smaller towards the
camera, all in one unit.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from normpipe.batches import Floats

_SHAPE_FILE = Path(__file__).parents[1] / "assets" / "embedded" / "face_shape.npz"

# Corner pairs whose midpoint is the eye, then nose tip and mouth corners; left and right as seen in the image.
_LEFT_EYE = (33, 133)
_RIGHT_EYE = (362, 263)
_NOSE_TIP = 4
_MOUTH = (61, 291)


@dataclass(frozen=True, slots=True)
class FaceShape:
    """The mean face, frontal; the distance of its eyes is 1 and the middle between them is the origin.

    Attributes:
        points: (468, 3) float32.
        weights: (468,) float32, how much a point counts in a rigid fit: 0 for what expression moves.
    """

    points: Floats
    weights: Floats


@dataclass(frozen=True, slots=True)
class Similarity:
    """Batched map x -> scale * rotation @ x + translation.

    Attributes:
        scale: (n,) float64.
        rotation: (n, 3, 3) float64, determinant 1.
        translation: (n, 3) float64.
    """

    scale: NDArray[np.float64]
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def apply(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map (p, 3) points by every member: (n, p, 3)."""
        turned = np.einsum("nij,pj->npi", self.rotation, points)
        moved: NDArray[np.float64] = self.scale[:, None, None] * turned + self.translation[:, None]
        return moved


@cache
def mean_shape() -> FaceShape:
    """The mean face that ships with the package: generalized Procrustes over real faces."""
    with np.load(_SHAPE_FILE) as arrays:
        return FaceShape(arrays["points"].astype(np.float32), arrays["weights"].astype(np.float32))


def mirror_points(points: Floats) -> NDArray[np.intp]:
    """(468,) index of each point's mirror image in the symmetric frontal (468, 3) mean shape."""
    reflected = points * np.array([-1, 1, 1], np.float32)
    return np.asarray(np.linalg.norm(reflected[:, None] - points[None], axis=-1).argmin(axis=1))


def fit_similarity(source: Floats, targets: Floats, weights: Floats) -> Similarity:
    """Least-squares similarity from one shape onto many, by weighted orthogonal Procrustes.

    Args:
        source: (p, 3).
        targets: (n, p, 3).
        weights: (p,), not negative, positive for at least three points that are not in line.

    Raises:
        ValueError: shapes disagree.

    Source: Umeyama, Least-squares estimation of transformation parameters between two point patterns, PAMI 1991.
    """
    if targets.ndim != 3 or source.shape != targets.shape[1:] or weights.shape != source.shape[:1]:
        raise ValueError(f"source {source.shape}, targets {targets.shape} and weights {weights.shape} do not belong together")
    share = weights.astype(np.float64) / float(weights.sum())
    source_mean = share @ source
    target_means = np.einsum("p,npi->ni", share, targets.astype(np.float64))
    centred = source - source_mean
    covariance = np.einsum("p,npi,pj->nij", share, targets - target_means[:, None], centred)
    left, values, right = np.linalg.svd(covariance)
    # No mirror images: the least important axis is flipped where the best orthogonal map has determinant -1.
    values[:, 2] *= np.sign(np.linalg.det(left @ right))
    left[:, :, 2] *= np.sign(np.linalg.det(left @ right))[:, None]
    rotation = left @ right
    scale = values.sum(axis=1) / float(share @ (centred**2).sum(axis=1))
    translation = target_means - scale[:, None] * (rotation @ source_mean)
    return Similarity(scale, rotation, translation)


def fit_head(landmarks: Floats) -> Similarity:
    """The rigid fit of the mean face to (n, 468, 3) landmarks: head pose, size and place without expression."""
    shape = mean_shape()
    return fit_similarity(shape.points, landmarks, shape.weights)


def five_points(landmarks: Floats) -> Floats:
    """The (..., 5, 2) points of batches.Face from (..., 468, 3) landmarks; an eye is the middle of its corners."""
    flat = landmarks[..., :2]
    left, right = (flat[..., corners, :].mean(axis=-2) for corners in (_LEFT_EYE, _RIGHT_EYE))
    return np.stack([left, right, flat[..., _NOSE_TIP, :], flat[..., _MOUTH[0], :], flat[..., _MOUTH[1], :]], axis=-2)


def extent(landmarks: Floats) -> Floats:
    """Box x0 y0 x1 y1 around (..., 468, 3) landmarks: (..., 4)."""
    flat = landmarks[..., :2]
    return np.concatenate([flat.min(axis=-2), flat.max(axis=-2)], axis=-1)
