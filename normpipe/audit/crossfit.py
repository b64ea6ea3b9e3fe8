"""How much of a target some inputs explain about people that the fit has not seen, and how much more with further inputs.

Ridge regression, fitted on the other folds of people. Errors are kept per person, so that intervals over people need no refit.
The penalty grows with the number of inputs per person: a fit on few people would else explain less than nothing.
"""

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from normpipe.audit.groups import Doubles, Groups, Indices

_RIDGE = 0.5
"""Penalty on standardized inputs, times inputs per training person."""
_NO_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Folds:
    """People in folds.

    Attributes:
        people: People of the rows.
        fold: (n,) fold of each row; a person's rows share one.
        weights: (n,) of the rows.
    """

    people: Groups
    fold: Indices
    weights: Doubles

    @staticmethod
    def of(people: Groups, weights: Doubles, *, folds: int, seed: int) -> "Folds":
        """Deal people into folds at random."""
        return Folds(people, subject_folds(people, folds, seed), weights)

    def errors(self, inputs: Doubles, targets: Doubles) -> Doubles:
        """(p,) weighted squared error of each person's rows, held out, summed over the columns of the targets.

        Args:
            inputs: (n, a); no columns predict the mean of the training people.
            targets: (n, t), comparable columns, see `standardized`.
        """
        squared = np.empty(len(targets))
        with threadpool_limits(1):
            for held_out in np.unique(self.fold):
                test = self.fold == held_out
                share = self.weights[~test] / self.weights[~test].sum()
                seen, aim = inputs[~test], targets[~test]
                mean_in, mean_out = share @ seen, share @ aim
                seen, aim = seen - mean_in, aim - mean_out
                scale = np.sqrt(np.maximum(share @ seen**2, _NO_VARIANCE))
                seen = seen / scale
                penalty = _RIDGE * inputs.shape[1] / len(np.unique(self.people.index[~test]))
                normal = (seen * share[:, None]).T @ seen + penalty * np.eye(seen.shape[1])
                effect = np.linalg.solve(normal, (seen * share[:, None]).T @ aim)
                wrong = targets[test] - mean_out - (inputs[test] - mean_in) / scale @ effect
                squared[test] = np.einsum("nt,nt->n", wrong, wrong)
        return np.asarray(np.bincount(self.people.index, squared * self.weights, len(self.people)), np.float64)


def subject_folds(people: Groups, folds: int, seed: int) -> Indices:
    """(n,) fold of each row; the rows of a person share one."""
    order = np.random.default_rng(seed).permutation(len(people))
    return np.asarray(order[people.index] % folds, np.intp)


def standardized(values: Doubles, weights: Doubles) -> Doubles:
    """(n, t) columns with weighted mean 0 and variance 1; columns that do not vary are left out."""
    share = weights / weights.sum()
    centred = values - share @ values
    variance = share @ centred**2
    varies = variance > _NO_VARIANCE
    return np.asarray(centred[:, varies] / np.sqrt(variance[varies]))
