"""Random changes of the pictures that a classifier is trained on, drawn by the samples' keys.

**Alike for a pair** is only the mirror: the normalized image of a mirrored face is the mirrored normalized image, and a pair of
which one is mirrored would show two expressions. Labels do not name a side, so they stay. **Apart** is all else. Turn, scale
and shift imitate what alignment leaves over, and that is in the original alone: the normalized image is drawn in a fixed frame,
and no network holds pixels of one against those of the other. Light, colour and covers belong to one photo, too. The two
pictures of the arm `twice` are changed as those of `both` are, so that the arms differ in content only.

Random erasing: https://arxiv.org/abs/1708.04896.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from normpipe.audit.groups import Doubles, Floats, Mask
from normpipe.classify.networks.keyed import uniform
from normpipe.config import Section

_PLACE = 1 << 32  # of the draws, beyond all places in a network
_VIEWS = 2  # drawn for, however many an arm has
_LUMA = (0.299, 0.587, 0.114)
_MIDDLE, _WHITE = 127.5, 255.0
_SMALLEST_COVER = 0.02  # share of the picture
_LONGEST_COVER = 3.0  # its longer side over the shorter

_Share = Annotated[float, Field(ge=0, le=1)]


class Augmentation(Section):
    """How far the pictures of a training are changed; 0 leaves a thing as it is.

    `flip`, `grey` and `erase` are shares of the pictures that are mirrored, lose their colour, or have a rectangle covered, of
    at most `erase_area` of the picture. `turn` is the most degrees of rotation to either side, `scale` the most by which the
    logarithm of the size changes, `shift` the most by which the picture moves along each axis as a share of its side.
    `brightness` is the most that is added to all channels, in shares of white; `contrast` and `saturation` are the most by
    which these factors differ from 1.
    """

    flip: _Share = 0.5
    turn: Annotated[float, Field(ge=0, le=45)] = 8.0
    scale: Annotated[float, Field(ge=0, le=0.5)] = 0.08
    shift: Annotated[float, Field(ge=0, le=0.25)] = 0.03
    brightness: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.2
    saturation: Annotated[float, Field(ge=0, lt=1)] = 0.2
    grey: _Share = 0.1
    erase: _Share = 0.25
    erase_area: Annotated[float, Field(ge=_SMALLEST_COVER, le=0.5)] = 0.15


@dataclass(frozen=True, slots=True)
class Changes:
    """What is done to the V pictures of b samples.

    Attributes:
        placing: (b, V, 2, 3) float64, from a point of the new picture to that of the old one; both reach from -1 to 1 on each
            axis.
        colour: (b, V, 3, 4) float32, from the old RGB and 1 to the new RGB, in units of 0 to 255.
        cover: (b, V, 4) float64, x0, y0, x1, y1 of what is hidden, in sides of the picture; x0 = x1 where nothing is.
        fill: (b, V, 3) uint8, what is seen there.
    """

    placing: Doubles
    colour: Floats
    cover: Doubles
    fill: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.placing)


def drawn_changes(options: Augmentation, keys: Tensor, views: int) -> Changes:
    """Draw what is done to samples.

    Args:
        options: How far.
        keys: (b,) int64.
        views: V, 1 or 2.
    """
    draws = uniform(keys, _PLACE, (_VIEWS, 17)).numpy().astype(np.float64)
    signed = 2 * draws[..., 1:8] - 1
    mirrored = np.broadcast_to(draws[:, :1, 0] < options.flip, draws.shape[:2])
    placing = _placing(options, mirrored, signed[..., :4])
    colour = _colour(options, signed[..., 4:], draws[..., 8])
    cover = _cover(options, draws[..., 9:14])
    fill = (draws[..., 14:] * 256).astype(np.uint8)
    return Changes(placing[:, :views], colour[:, :views], cover[:, :views], fill[:, :views])


def _placing(options: Augmentation, mirrored: Mask, draws: Doubles) -> Doubles:
    """(b, V, 2, 3); mirrored first, then turned, scaled and moved."""
    angle = np.radians(options.turn) * draws[..., 0]
    size = np.exp(options.scale * draws[..., 1])
    across, down = np.cos(angle) / size, np.sin(angle) / size
    side = np.where(mirrored, -1, 1)
    moved = 2 * options.shift * draws[..., 2:]
    rows = [np.stack([side * across, side * down, moved[..., 0]], -1), np.stack([-down, across, moved[..., 1]], -1)]
    return np.stack(rows, -2)


def _colour(options: Augmentation, draws: Doubles, grey: Doubles) -> Floats:
    """(b, V, 3, 4); saturation, then contrast, then brightness."""
    added = _WHITE * options.brightness * draws[..., 0]
    contrast = 1 + options.contrast * draws[..., 1]
    saturation = np.where(grey < options.grey, 0, 1 + options.saturation * draws[..., 2])[..., None, None]
    mixed = saturation * np.eye(3) + (1 - saturation) * np.array(_LUMA)
    offset = np.broadcast_to((_MIDDLE * (1 - contrast) + added)[..., None, None], (*draws.shape[:2], 3, 1))
    return np.concatenate([contrast[..., None, None] * mixed, offset], -1).astype(np.float32)


def _cover(options: Augmentation, draws: Doubles) -> Doubles:
    """(b, V, 4)."""
    area = _SMALLEST_COVER + (options.erase_area - _SMALLEST_COVER) * draws[..., 1]
    shape = _LONGEST_COVER ** (draws[..., 2] - 0.5)
    extent = np.minimum(np.sqrt(area)[..., None] * np.stack([shape, 1 / shape], -1), 1)
    extent *= (draws[..., 0] < options.erase)[..., None]
    start = (1 - extent) * draws[..., 3:]
    return np.concatenate([start, start + extent], -1)
