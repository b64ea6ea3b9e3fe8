"""The split of what a face shows into expression and identity: the linear estimate of the expression.

Observed = neutral + expression + identity + rest. With W and B the covariances within and between people and S the covariance
of what is observed with its expression part, the best linear estimate of the expression is S (W + B)^-1 (observed - neutral).
What tells people apart, and what neither expression nor person explains (light, a hand, a wrong landmark), is suppressed alike.

S is what goes with signs of expression. A label is a sign as it stands, since people do not differ in what it means; a measure
is one only by its change within a person, whose face it also describes. W + B is the covariance of all observations: estimating
both parts from the few images that most people have, only to add them, loses more than it gains.

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


def explained(targets: Doubles, values: Doubles, signs: Doubles, weights: Doubles, ridge: float) -> Doubles:
    """(t, k) covariance of targets with values, as far as both go with signs of expression.

    Args:
        targets: (n, t), what is to be estimated.
        values: (n, k), what is observed.
        signs: (n, m), labels, and measures as their difference from the person's mean.
        weights: (n,), so that rare expressions count.
        ridge: Share of each sign's variance added to it: signs are noisy.
    """
    share = (weights / weights.sum())[:, None]
    centred = signs - (share * signs).sum(axis=0)
    own = (centred * share).T @ centred
    own += ridge * np.diag(np.diag(own) + 1e-9)
    to_targets = (targets * share).T @ centred
    to_values = (values * share).T @ centred
    return np.asarray(to_targets @ np.linalg.solve(own, to_values.T))


def estimator(expression: Doubles, values: Doubles, floor: Doubles) -> Doubles:
    """(t, k) matrix E with estimate = E @ observed.

    Args:
        expression: (t, k) from `explained`.
        values: (n, k), what is observed.
        floor: (k, k) added to its covariance: variance of what is known to mislead, and of components too weak to be known.
    """
    total = np.cov(values.T) + floor
    return np.asarray(np.linalg.solve(total, expression.T).T)


def thin(matrix: Doubles, rank: int) -> tuple[Doubles, Doubles]:
    """Factors (k, r) and (r, k) of the best rank-r approximation, in balance."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(values[:rank])
    return left[:, :rank] * root, root[:, None] * right[:rank]
