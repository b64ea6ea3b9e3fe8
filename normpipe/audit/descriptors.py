"""What is noted of one picture of a pair, besides what networks say: shape, ground, appearance. Pure functions."""

import cv2
import numpy as np

from normpipe.batches import Floats, Image
from normpipe.faces.geometry import mean_shape
from normpipe.stages.neutrals import frontal_shape

ALGORITHM_VERSION = 1

SHAPE_COLUMNS = 2 * 468
GROUND_COLUMNS = 6
THUMBNAIL_SIDE = 32

_GROUND_SIDE = 64
_ROOM = 1.15
"""Of the landmarks' hull, which ends at the skin's edge: hair, ears and rim belong to the face."""


def shape_deviations(landmarks: Floats) -> Floats:
    """(936,) float32 x, y of (468, 3) landmarks seen from the front, minus the mean face, in eye distances."""
    return np.asarray((frontal_shape(landmarks) - mean_shape().points)[:, :2].reshape(-1), np.float32)


def ground(image: Image, landmarks: Floats) -> Floats:
    """(6,) float32 mean and spread of red, green, blue outside the face, 0 to 1; NaN where the face fills the picture.

    Args:
        image: (size, size, 3) uint8 RGB.
        landmarks: (468, 3) float32 in its pixels.
    """
    small = cv2.resize(image, (_GROUND_SIDE, _GROUND_SIDE), interpolation=cv2.INTER_AREA)
    points = landmarks[:, :2] * np.float32(_GROUND_SIDE / image.shape[0])
    middle = points.mean(axis=0)
    hull = cv2.convexHull(((points - middle) * np.float32(_ROOM) + middle).astype(np.int32))
    face = np.zeros((_GROUND_SIDE, _GROUND_SIDE), np.uint8)
    cv2.fillConvexPoly(face, hull, 1)
    outside = small[face == 0].astype(np.float64) / 255
    if len(outside) < _GROUND_SIDE:
        return np.full(GROUND_COLUMNS, np.nan, np.float32)
    return np.concatenate([outside.mean(axis=0), outside.std(axis=0)]).astype(np.float32)


def thumbnail(image: Image) -> Floats:
    """(1024,) float32 luminance of the picture at 32 px, 0 to 255 in whole numbers: the raw look of it."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).reshape(-1)
