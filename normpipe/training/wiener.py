"""The split of what a face shows into expression and identity: covariances within and between people, and the estimate.

Observed = neutral + expression + identity + rest. With W the covariance within people, B between them and S the part of W that
varies with known signs of expression, the best linear estimate of the expression is S (W + B)^-1 (observed - neutral). What
tells people apart, and what neither expression nor person explains (light, a hand, a wrong landmark), is suppressed alike.

Source of W (W + B)^-1: the linear model of variation within and between classes behind probabilistic linear discriminant
analysis (Prince and Elder, ICCV 2007, https://doi.org/10.1109/ICCV.2007.4409052).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows grouped by person.

    Attributes:
        index: (n,) person of each row, 0 to p - 1.
        counts: (p,) rows of each person.
    """

    index: NDArray[np.intp]
    counts: NDArray[np.intp]

    @staticmethod
    def of(names: NDArray[np.str_]) -> "Groups":
        """Group equal names."""
        _, index, counts = np.unique(names, return_inverse=True, return_counts=True)
        return Groups(index, counts)

    def means(self, values: Doubles) -> Doubles:
        """(p, k) mean of each person's rows of (n, k) values."""
        sums = np.zeros((len(self.counts), values.shape[1]))
        np.add.at(sums, self.index, values)
        return np.asarray(sums / self.counts[:, None])

    def centred(self, values: Doubles) -> Doubles:
        """(n, k) values minus their person's mean."""
        return np.asarray(values - self.means(values)[self.index])


def within(values: Doubles, people: Groups) -> Doubles:
    """(k, k) covariance within people, from those with at least two rows."""
    centred = people.centred(values)[people.counts[people.index] > 1]
    freedom = (people.counts[people.counts > 1] - 1).sum()
    return np.asarray(centred.T @ centred / freedom)


def between(values: Doubles, people: Groups, inside: Doubles) -> Doubles:
    """(k, k) covariance between people: that of their means, less what `inside` adds to means of few rows."""
    several = people.counts > 1
    spread = np.cov(people.means(values)[several].T) - inside * float(np.mean(1 / people.counts[several]))
    roots, axes = np.linalg.eigh(spread)
    return np.asarray((axes * np.maximum(roots, 0)) @ axes.T)


def explained(values: Doubles, signs: Doubles, people: Groups, weights: Doubles, ridge: float) -> Doubles:
    """(k, k) part of the covariance within people that goes with (n, m) signs of expression.

    Args:
        values: (n, k).
        signs: (n, m), labels or measures.
        people: Groups of the rows.
        weights: (n,), so that rare expressions count.
        ridge: Share of each sign's variance added to it: signs are noisy.
    """
    inner, outer = people.centred(values), people.centred(signs)
    share = (weights / weights.sum())[:, None]
    cross = (inner * share).T @ outer
    own = (outer * share).T @ outer
    own += ridge * np.diag(np.diag(own) + 1e-9)
    return np.asarray(cross @ np.linalg.solve(own, cross.T))


def estimator(expression: Doubles, total: Doubles, floor: float) -> Doubles:
    """(k, k) matrix E with estimate = E @ observed; `floor` is added to `total` as a share of its mean variance."""
    size = len(total)
    stabilised = total + floor * np.trace(total) / size * np.eye(size)
    return np.linalg.solve(stabilised, expression.T).T


def thin(matrix: Doubles, rank: int) -> tuple[Doubles, Doubles]:
    """Factors (k, r) and (r, k) of the best rank-r approximation, in balance."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(values[:rank])
    return left[:, :rank] * root, root[:, None] * right[:rank]
