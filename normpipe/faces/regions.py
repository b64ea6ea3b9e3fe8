"""Square regions of an image: the one way every face network gets its input.

A whole picture with room around it, a tile of it, the picture turned upside down and the upright square around a face are all
the same thing, a turned square that is resampled to the network's input side. What a network answers in that square is mapped
back by the same region. Points have their origin at the outer corner of the first pixel, as in `records`.
"""

import math
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from normpipe.batches import Floats, Image
from normpipe.faces.geometry import five_points

cv2.setNumThreads(1)


class Border(IntEnum):
    """What stands outside the image."""

    CONSTANT = cv2.BORDER_CONSTANT
    REPLICATE = cv2.BORDER_REPLICATE


@dataclass(frozen=True, slots=True)
class Region:
    """A square in the image.

    Attributes:
        x: Centre, pixels.
        y: Centre, pixels.
        side: Side length, pixels.
        angle: Turn in radians, positive clockwise in the image; a face with that roll is upright in the region.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0

    @staticmethod
    def around(box: Floats, eyes: Floats | None, scale: float) -> "Region":
        """The square around a box (4,), turned until the line of the eyes (2, 2) is level, `scale` times the longer side."""
        x0, y0, x1, y1 = (float(value) for value in box)
        angle = 0.0 if eyes is None else math.atan2(float(eyes[1, 1] - eyes[0, 1]), float(eyes[1, 0] - eyes[0, 0]))
        return Region((x0 + x1) / 2, (y0 + y1) / 2, scale * max(x1 - x0, y1 - y0, 1.0), angle)

    @staticmethod
    def of_face(landmarks: Floats, scale: float) -> "Region":
        """The square around (468, 3) landmarks, turned until the eyes are level, `scale` times the longer side."""
        left, right = five_points(landmarks)[:2]
        angle = math.atan2(float(right[1] - left[1]), float(right[0] - left[0]))
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        upright = landmarks[:, :2] @ turn
        x, y = turn @ ((upright.min(axis=0) + upright.max(axis=0)) / 2)
        return Region(float(x), float(y), scale * max(float(np.ptp(upright, axis=0).max()), 1.0), angle)

    def matrix(self) -> NDArray[np.float64]:
        """(2, 3) affine map from unit square coordinates (0 to 1) to image points."""
        cos, sin = math.cos(self.angle) * self.side, math.sin(self.angle) * self.side
        return np.array([[cos, -sin, self.x - (cos - sin) / 2], [sin, cos, self.y - (sin + cos) / 2]])

    def to_image(self, points: NDArray[np.floating]) -> Floats:
        """Map (..., 2) or (..., 3) points from unit square coordinates to image pixels; z is scaled alike."""
        matrix = self.matrix()
        mapped = points * self.side
        mapped[..., :2] = points[..., :2] @ matrix[:, :2].T + matrix[:, 2]
        return mapped.astype(np.float32)

    def cut(self, image: Image, size: int, border: Border) -> Image:
        """Resample the region to (size, size, 3) uint8; averaged when shrunk, bilinear else."""
        matrix = self.matrix()
        matrix[:, :2] /= size
        return warp(image, _inverse(matrix), size, border)


def warp(
    image: Image, matrix: NDArray[np.float64], size: int, border: Border, colour: tuple[int, int, int] = (0, 0, 0)
) -> Image:
    """Resample an image by a similarity, without aliasing however much it shrinks.

    Args:
        image: (height, width, 3) uint8.
        matrix: (2, 3) similarity from image points to output points, both with the origin at the outer pixel corner.
        size: Side of the square output.
        border: What stands outside the image.
        colour: Of the border, if that is constant.

    Returns:
        (size, size, 3) uint8.
    """
    shrink = 1.0 / math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    to_output = matrix.copy()
    if shrink >= 2:
        image, scale, offset = _halved_part(image, _inverse(matrix), size, int(math.log2(shrink)))
        to_output[:, 2] += matrix[:, :2] @ offset
        to_output[:, :2] = matrix[:, :2] * scale
    # OpenCV counts from pixel centres.
    to_output[:, 2] += to_output[:, :2] @ (0.5, 0.5) - 0.5
    side = (size, size)
    warped = cv2.warpAffine(image, to_output, side, flags=cv2.INTER_LINEAR, borderMode=int(border), borderValue=colour)
    return warped.astype(np.uint8, copy=False)


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.invertAffineTransform(matrix), np.float64)


def _halved_part(
    image: Image, to_image: NDArray[np.float64], size: int, times: int
) -> tuple[Image, NDArray[np.float64], NDArray[np.float64]]:
    """The part of the image that the output sees, halved several times by pixel averaging, with its scale and offset.

    Halving is several times faster than averaging by any other factor; bilinear sampling does the rest, which is less than 2.
    """
    factor = 2**times
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) @ to_image[:, :2].T + to_image[:, 2]
    limit = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - factor, 0, limit - 1)
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + factor, low + 1, limit)
    high = np.minimum(low + np.maximum((high - low) // factor, 1) * factor, limit)
    part = image[low[1] : high[1], low[0] : high[0]]
    for _ in range(times):
        half = (max(part.shape[1] // 2, 1), max(part.shape[0] // 2, 1))
        part = cv2.resize(part, half, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return part, (high - low) / np.array([part.shape[1], part.shape[0]]), low.astype(np.float64)
