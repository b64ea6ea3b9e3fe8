"""Expression in a dozen plain measures of the landmarks: heights of brows, lids, lip corners, openings.

They say in which directions of shape expression happens, so that the fit of mean_face need not guess. Each is a difference of
mean coordinates, linear in the shape; each side of the face has its own, the other side's by mirroring.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from normpipe.batches import Floats


class Region(IntEnum):
    """Part of the face that a measure is about."""

    BROW = 0
    EYE = 1
    MOUTH = 2


@dataclass(frozen=True, slots=True)
class Measure:
    """Mean coordinate of some landmarks minus that of others. `axis` is 0 for x, 1 for y."""

    region: Region
    axis: int
    of: tuple[int, ...]
    minus: tuple[int, ...]


_EYE = (33, 133)
_ONE_SIDED = (
    Measure(Region.BROW, 1, (55, 107, 65, 66), _EYE),  # inner brow
    Measure(Region.BROW, 1, (70, 46, 63, 53), _EYE),  # outer brow
    Measure(Region.BROW, 1, (105, 52), _EYE),  # middle of the brow
    Measure(Region.EYE, 1, (158, 159, 160), _EYE),  # upper lid
    Measure(Region.EYE, 1, (144, 145, 153), _EYE),  # lower lid
    Measure(Region.MOUTH, 1, (50, 101, 118), _EYE),  # cheek
    Measure(Region.MOUTH, 1, (61,), (2,)),  # lip corner, height
    Measure(Region.MOUTH, 0, (61,), (2,)),  # lip corner, stretch
    Measure(Region.MOUTH, 1, (40, 39), (2,)),  # upper lip beside its middle
    Measure(Region.MOUTH, 1, (181, 91), (2,)),  # lower lip beside its middle
    Measure(Region.MOUTH, 1, (98,), _EYE),  # wing of the nose, height
    Measure(Region.MOUTH, 0, (98,), (2,)),  # wing of the nose, width
)
_MIDDLE = (
    Measure(Region.BROW, 0, (107,), (336,)),  # gap between the brows
    Measure(Region.MOUTH, 1, (13,), (2,)),  # upper lip
    Measure(Region.MOUTH, 1, (14,), (13,)),  # opening of the lips
    Measure(Region.MOUTH, 1, (0,), (13,)),  # red of the upper lip
    Measure(Region.MOUTH, 1, (17,), (14,)),  # red of the lower lip
    Measure(Region.MOUTH, 1, (152,), (2,)),  # jaw
    Measure(Region.MOUTH, 1, (17,), (152,)),  # chin
    Measure(Region.MOUTH, 0, (84,), (314,)),  # pucker
)


def expression_measures(shapes: Floats, mirror: NDArray[np.intp]) -> Floats:
    """(n, 32) float32 in face units, from (n, 936) shapes; `mirror` as in `geometry.mirror_points`."""
    points = shapes.reshape(len(shapes), shapes.shape[1] // 2, 2)
    columns = []
    for measure in _all_measures(mirror):
        coordinate = points[:, :, measure.axis]
        columns.append(coordinate[:, measure.of].mean(axis=1) - coordinate[:, measure.minus].mean(axis=1))
    return np.stack(columns, axis=1).astype(np.float32)


def measure_regions(mirror: NDArray[np.intp]) -> NDArray[np.intp]:
    """(32,) Region of each measure."""
    return np.array([measure.region for measure in _all_measures(mirror)])


def _all_measures(mirror: NDArray[np.intp]) -> tuple[Measure, ...]:
    return (*_ONE_SIDED, *(_mirrored(measure, mirror) for measure in _ONE_SIDED), *_MIDDLE)


def _mirrored(measure: Measure, mirror: NDArray[np.intp]) -> Measure:
    return replace(
        measure,
        of=tuple(int(mirror[point]) for point in measure.of),
        minus=tuple(int(mirror[point]) for point in measure.minus),
    )
