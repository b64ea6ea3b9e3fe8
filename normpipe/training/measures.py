"""Expression in a dozen plain measures of the landmarks: heights of brows, lids, lip corners, openings.

They say in which directions of shape expression happens, so that the fit of mean_face need not guess. Each is a difference of
mean coordinates, linear in the shape; each side of the face has its own, the other side's by mirroring.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normpipe.batches import Floats


@dataclass(frozen=True, slots=True)
class Measure:
    """Mean coordinate of some landmarks minus that of others. `axis` is 0 for x, 1 for y."""

    axis: int
    of: tuple[int, ...]
    minus: tuple[int, ...]


_EYE = (33, 133)
_ONE_SIDED = (
    Measure(1, (55, 107, 65, 66), _EYE),  # inner brow
    Measure(1, (70, 46, 63, 53), _EYE),  # outer brow
    Measure(1, (105, 52), _EYE),  # middle of the brow
    Measure(1, (158, 159, 160), _EYE),  # upper lid
    Measure(1, (144, 145, 153), _EYE),  # lower lid
    Measure(1, (50, 101, 118), _EYE),  # cheek
    Measure(1, (61,), (2,)),  # lip corner, height
    Measure(0, (61,), (2,)),  # lip corner, stretch
    Measure(1, (40, 39), (2,)),  # upper lip beside its middle
    Measure(1, (181, 91), (2,)),  # lower lip beside its middle
    Measure(1, (98,), _EYE),  # wing of the nose, height
    Measure(0, (98,), (2,)),  # wing of the nose, width
)
_MIDDLE = (
    Measure(0, (107,), (336,)),  # gap between the brows
    Measure(1, (13,), (2,)),  # upper lip
    Measure(1, (14,), (13,)),  # opening of the lips
    Measure(1, (0,), (13,)),  # red of the upper lip
    Measure(1, (17,), (14,)),  # red of the lower lip
    Measure(1, (152,), (2,)),  # jaw
    Measure(1, (17,), (152,)),  # chin
    Measure(0, (84,), (314,)),  # pucker
)


def expression_measures(shapes: Floats, mirror: NDArray[np.intp]) -> Floats:
    """(n, 32) float32 in face units, from (n, 936) shapes; `mirror` as in `mesh.mirror_points`."""
    points = shapes.reshape(len(shapes), -1, 2)
    columns = []
    for measure in (*_ONE_SIDED, *(_mirrored(measure, mirror) for measure in _ONE_SIDED), *_MIDDLE):
        coordinate = points[:, :, measure.axis]
        columns.append(coordinate[:, measure.of].mean(axis=1) - coordinate[:, measure.minus].mean(axis=1))
    return np.stack(columns, axis=1).astype(np.float32)


def _mirrored(measure: Measure, mirror: NDArray[np.intp]) -> Measure:
    return Measure(
        measure.axis, tuple(int(mirror[point]) for point in measure.of), tuple(int(mirror[point]) for point in measure.minus)
    )
