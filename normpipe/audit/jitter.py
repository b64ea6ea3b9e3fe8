"""Does a clip tremble more after normalization? Second differences of landmarks over time, normalized against original.

Movement itself has second differences too, in both: the ratio says what normalization adds. 1 is as smooth as the original.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normpipe.audit.figures import Measured, NotMeasurable, Why
from normpipe.audit.groups import UNKNOWN, Doubles, Floats, Groups, Indices, Names, finite_rows
from normpipe.audit.intervals import Bootstrap, measured

_CHUNK = 2048


@dataclass(frozen=True, slots=True)
class Jitter:
    """Root mean square second difference of a landmark, in eye distances per frame squared; people weighted equally.

    Attributes:
        original: Of the originals.
        normalized: Of the normalized images.
        ratio: The second over the first.
        clips: Clips with at least three successive frames.
        frames: Triples of frames.
    """

    original: Measured
    normalized: Measured
    ratio: Measured
    clips: int
    frames: int


def jitter(
    original: Floats,
    normalized: Floats,
    sequences: Names,
    frames: NDArray[np.int64],
    subjects: Names,
    bootstrap: Bootstrap,
    *,
    dimensions: int = 2,
) -> Jitter | NotMeasurable:
    """Measure clips.

    Args:
        original: (n, k) landmarks of the originals in frontal view, eye distances; NaN where no face was found.
        normalized: (n, k) the same of the normalized images.
        sequences: (n,) clip and person of the clip (track); `UNKNOWN` for stills.
        frames: (n,) number of the frame in its clip; any for stills. Triples are three frames at equal steps.
        subjects: (n,); clips of unknown people are people of their own.
        bootstrap: Draws of people.
        dimensions: Columns per landmark.
    """
    triples = _triples(original, normalized, sequences, frames)
    if not len(triples):
        return NotMeasurable(Why.NO_CLIPS, "no clip has three frames at equal steps with a face in both images")
    squares = np.empty((len(triples), 2))
    for start in range(0, len(triples), _CHUNK):
        chunk = triples[start : start + _CHUNK]
        for side, values in enumerate((original, normalized)):
            first, second, third = (values[chunk[:, place]] for place in range(3))
            bend = first - 2 * second + third
            squares[start : start + len(chunk), side] = np.einsum("nk,nk->n", bend, bend, dtype=np.float64)
    squares *= dimensions / original.shape[1]
    clip = sequences[triples[:, 1]]
    people = Groups.of(np.where(subjects[triples[:, 1]] == UNKNOWN, np.char.add("\0", clip), subjects[triples[:, 1]]))
    means = people.sums(squares) / people.counts[:, None]

    def statistic(drawn: Doubles) -> Doubles:
        """(3,)."""
        before, after = np.sqrt(drawn @ means / drawn.sum())
        return np.array([before, after, after / before if before > 0 else np.nan])

    before, after, ratio = measured(statistic, len(people), bootstrap)
    return Jitter(before, after, ratio, len(np.unique(clip)), len(triples))


def _triples(original: Floats, normalized: Floats, sequences: Names, frames: NDArray[np.int64]) -> Indices:
    """(t, 3) row numbers of three frames of a clip at equal steps, all with both faces."""
    face = finite_rows(original) & finite_rows(normalized)
    rows = np.flatnonzero(face & (sequences != UNKNOWN))
    rows = rows[np.lexsort((frames[rows], sequences[rows]))]
    found = np.stack([rows[:-2], rows[1:-1], rows[2:]], axis=1) if len(rows) > 2 else np.empty((0, 3), np.intp)
    steps = np.diff(frames[found], axis=1)
    clip = sequences[found]
    even = (steps[:, 0] == steps[:, 1]) & (steps[:, 0] > 0) & (clip[:, 0] == clip[:, 1]) & (clip[:, 1] == clip[:, 2])
    return np.asarray(found[even])
