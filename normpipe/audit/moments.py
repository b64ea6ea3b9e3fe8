"""Agreement of two measurements of the same rows: sums per person, from which every draw of people gets its figures at once.

The first measurement is of the original, the second of the normalized image. Columns are either different quantities, each with
a correlation of its own, whose mean is the figure (blendshapes), or coordinates in one unit, pooled to one (landmarks).
"""

from dataclasses import dataclass

import numpy as np

from normpipe.audit.figures import Measured, NotMeasurable, Why
from normpipe.audit.groups import Doubles, Floats, Groups, Indices
from normpipe.audit.intervals import Bootstrap, Statistic, measured

_COLUMNS = 64
_NO_VARIANCE = 1e-10


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the second measurement follows the first, people weighted equally.

    Attributes:
        correlation: Pearson; 0 where the second does not vary at all.
        slope: Of the second on the first; 1 keeps the amplitude.
        residual: Root mean square of the difference of deviations, in the unit of the measurements.
        size: Root mean square of the first's deviations, to hold the residual against.
        kept: Variance of the second over that of the first.
        rows: Rows behind the figures.
        people: People behind the figures.
    """

    correlation: Measured
    slope: Measured
    residual: Measured
    size: Measured
    kept: Measured
    rows: int
    people: int


@dataclass(frozen=True, slots=True)
class Moments:
    """Weighted sums per person, which are that person's means.

    Attributes:
        sums: (p, 5, k) of first, second, first^2, first * second, second^2.
        weights: (p,) 1, or 0 for a person whose rows weigh nothing.
        rows: Rows summed.
    """

    sums: Doubles
    weights: Doubles
    rows: int

    @staticmethod
    def of(first: Floats, second: Floats, weights: Doubles, people: Groups) -> "Moments":
        """Sum (n, k) measurements without NaN; (n,) weights are `Groups.share` or, of deviations, `within_weights`."""
        share = weights / (weights.sum() or 1.0)
        sums = np.empty((len(people), 5, first.shape[1]))
        for start in range(0, first.shape[1], _COLUMNS):
            part = slice(start, start + _COLUMNS)
            one, two = (each[:, part].astype(np.float64) for each in (first, second))
            one -= share @ one  # sums of squares stay small
            two -= share @ two
            for slot, product in enumerate((one, two, one * one, one * two, two * two)):
                sums[:, slot, part] = people.sums(product * weights[:, None])
        return Moments(sums, _counted(weights, people), len(first))

    @staticmethod
    def pooled(first: Floats, second: Floats, weights: Doubles, people: Groups, *, dimensions: int) -> "Moments":
        """Sum (n, k) deviations, whose mean over each person's rows is 0, over columns too: one column of mean squares.

        `dimensions` columns make one point, so that the root of a mean square is a length.
        """
        sums = np.zeros((len(people), 5, 1))
        for slot, (one, two) in enumerate(((first, first), (first, second), (second, second)), start=2):
            products = np.einsum("nk,nk->n", one, two, dtype=np.float64) * (weights * dimensions / first.shape[1])
            sums[:, slot] = people.sums(products[:, None])
        return Moments(sums, _counted(weights, people), len(first))

    def covariances(self, drawn: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        """(k,) variance of the first, covariance, variance of the second, for (p,) weights of people."""
        total = drawn @ self.weights
        if total <= 0:
            return (np.full(self.sums.shape[2], np.nan),) * 3
        first, second, squares, products, other = np.tensordot(drawn, self.sums, axes=1) / total
        return squares - first**2, products - first * second, other - second**2

    def by_column(self) -> tuple[Doubles, Doubles]:
        """(k,) correlation and slope of each column on all people; NaN where the first does not vary."""
        return _ratios(*self.covariances(np.ones(len(self.weights))))

    def statistic(self) -> Statistic | NotMeasurable:
        """The figures of an Agreement, in its order, each the mean over the columns in which the first measurement varies."""
        variance, _, _ = self.covariances(np.ones(len(self.weights)))
        varies = variance > _NO_VARIANCE
        if not varies.any():
            return NotMeasurable(Why.NO_VARIATION, "the measurement of the originals does not vary")

        def statistic(drawn: Doubles) -> Doubles:
            """(5,)."""
            first, joint, second = (each[varies] for each in self.covariances(drawn))
            difference = first - 2 * joint + second
            correlation, slope = _ratios(first, joint, second)
            return np.array(
                [
                    correlation.mean(),
                    slope.mean(),
                    np.sqrt(np.maximum(difference, 0)).mean(),
                    np.sqrt(np.maximum(first, 0)).mean(),
                    (second / np.maximum(first, _NO_VARIANCE)).mean(),
                ]
            )

        return statistic

    def agreement(self, bootstrap: Bootstrap) -> Agreement | NotMeasurable:
        """The figures with their intervals."""
        statistic = self.statistic()
        if isinstance(statistic, NotMeasurable):
            return statistic
        correlation, slope, residual, size, kept = measured(statistic, len(self.weights), bootstrap)
        return Agreement(correlation, slope, residual, size, kept, self.rows, len(self.weights))


def within_weights(cells: Indices, people: Groups) -> Doubles:
    """(n,) weights of deviations from the mean of a cell: a person's variance is unbiased, and each person counts once.

    Args:
        cells: (n,) cell of each row; a cell lies within one person. Rows alone in their cell weigh 0.
        people: People of the rows.
    """
    counts = np.bincount(cells)[cells]
    freedom = np.bincount(people.index, 1 - 1 / counts, len(people))[people.index]
    weights = np.where(counts > 1, 1 / np.where(freedom > 0, freedom, 1), 0)
    return np.asarray(weights, np.float64)


def _counted(weights: Doubles, people: Groups) -> Doubles:
    return (np.bincount(people.index, weights, len(people)) > 0).astype(np.float64)


def _ratios(first: Doubles, joint: Doubles, second: Doubles) -> tuple[Doubles, Doubles]:
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = joint / np.sqrt(np.maximum(first * second, 1e-12 * _NO_VARIANCE))
        slope = joint / first
    still = first <= _NO_VARIANCE
    return np.where(still, np.nan, correlation), np.where(still, np.nan, slope)
