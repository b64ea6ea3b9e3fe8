"""Stored bytes to pictures of the training's size: decoding, and one warp that mirrors, turns, scales and moves.

A JPEG is decoded at a half, a quarter or an eighth of its size where that is enough: the transform in which it is stored gives
means of 2, 4 or 8 pixels at once, and whole pictures cost more. Other formats are averaged after decoding. So a warp never
shrinks by two or more, where it would pass over pixels. Training and evaluation sample alike: a warp that only changes the size
gives what `resized` gives, but for rounding.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from normpipe.audit.groups import Doubles, Floats
from normpipe.batches import Image

Planes = NDArray[np.uint8]
"""RGB, uint8, shape (3, size, size)."""

_JPEG = b"\xff\xd8"
_FLAGS = {
    1: cv2.IMREAD_COLOR_BGR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_HOW = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_BORDER = 16


def side_of(content: NDArray[np.uint8]) -> int | None:
    """Side of a square picture; None for any other, and for bytes that are none."""
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR_BGR) if len(content) else None
    return None if picture is None or picture.shape[0] != picture.shape[1] else int(picture.shape[0])


def reduction(side: int, size: int) -> int:
    """By how much pictures of `side` pixels are shrunk when they are decoded, to be `size` pixels or more: 1, 2, 4 or 8."""
    return max(factor for factor in _FLAGS if factor == 1 or factor * size <= side)


def decoded(content: NDArray[np.uint8], side: int, factor: int = 1) -> Image | str:
    """Decode a picture that should be square.

    Args:
        content: (bytes,) of a JPEG, PNG or WebP file.
        side: That it should have in the file.
        factor: By which it is shrunk, see `reduction`.

    Returns:
        (s, s, 3) uint8, BGR, where s is side / factor, rounded up; or what is wrong with it.
    """
    scaled = content[:2].tobytes() == _JPEG
    picture = cv2.imdecode(content, _FLAGS[factor if scaled else 1]) if len(content) else None
    if picture is None:
        return "cannot be decoded"
    height, width = picture.shape[:2]
    wanted = -(-side // factor) if scaled else side
    if (height, width) != (wanted, wanted):
        found = f"{width * factor} x {height * factor}" if scaled else f"{width} x {height}"
        return f"has {found} pixels, not {side} x {side}"
    if not scaled and factor > 1:
        picture = cv2.resize(picture, (-(-side // factor),) * 2, interpolation=cv2.INTER_AREA)
    return np.asarray(picture, np.uint8)


def warp_matrices(placing: Doubles, sides: NDArray[np.int64], size: int) -> Doubles:
    """Placing in pixels.

    Args:
        placing: (b, V, 2, 3), see Changes.
        sides: (b,) of the decoded pictures.
        size: Of the result.

    Returns:
        (b, V, 2, 3) float64, from a pixel of the result to a point of the picture, both counted from centres of pixels.
    """
    half = sides[:, None, None] / 2
    linear = placing[..., :2]
    corner = linear.sum(axis=-1) * (1 / size - 1) + placing[..., 2] + 1
    return np.concatenate([linear * (2 * half / size)[..., None], (corner * half - 0.5)[..., None]], -1)


class Warp:
    """Places pictures of one side anew; what comes in at their border repeats it.

    OpenCV warps fast where all it needs lies within the picture, and slowly beyond. So the picture gets a border of a sixteenth
    of its side, in memory that is kept: more takes longer than it spares with a training's usual turns and shifts.

    Args:
        side: Of the pictures.
        size: Of the results.
    """

    def __init__(self, side: int, size: int) -> None:
        border = -(-side // _BORDER)
        self._wide = np.empty((side + 2 * border, side + 2 * border, 4), np.uint8)  # four channels are faster than three
        self._inner = self._wide[border:-border, border:-border]
        self._border = border
        self._moved = np.array([[0, 0, border], [0, 0, border]], np.float64)
        self._size = size, size

    def placed(self, picture: Image, matrix: Doubles) -> Image:
        """A (side, side, 3) uint8 BGR picture as (size, size, 3) uint8 RGB, by a (2, 3) matrix, see `warp_matrices`."""
        cv2.cvtColor(picture, cv2.COLOR_BGR2RGBA, self._inner)
        each = (self._border,) * 4
        cv2.copyMakeBorder(self._inner, *each, cv2.BORDER_REPLICATE | cv2.BORDER_ISOLATED, self._wide)  # the rim alone
        matrix = matrix + self._moved
        result = cv2.warpAffine(self._wide, matrix, self._size, flags=_HOW, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.cvtColor(result, cv2.COLOR_RGBA2RGB), np.uint8)


def resized(picture: Image, size: int) -> Image:
    """A (s, s, 3) uint8 picture as (size, size, 3)."""
    if len(picture) == size:
        return picture
    return np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def in_planes(picture: Image, target: Planes) -> None:
    """Write a (size, size, 3) picture into planes, its channels in their order."""
    cv2.split(picture, [*target])


def recoloured(picture: Image, colour: Floats) -> Image:
    """A (s, s, 3) RGB picture in the colour of one of `Changes`."""
    return np.asarray(cv2.transform(picture, colour), np.uint8)
