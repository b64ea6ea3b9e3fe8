"""Does the pose or the background of the input still show in the output, at the same expression?

Within people, so that who it is does not matter: deviations of the output's appearance code from the person's mean are
predicted, for people that the fit has not seen, from the measured expression alone, and from expression and nuisance together.
What the nuisance adds is its share. A null distribution comes from permuting the nuisance among each person's rows.
"""

from dataclasses import dataclass

import numpy as np

from normpipe.audit.crossfit import Folds
from normpipe.audit.figures import Measured, NotMeasurable, Why
from normpipe.audit.groups import UNKNOWN, Doubles, Floats, Groups, Names, finite_rows, sampled_rows
from normpipe.audit.intervals import Bootstrap, measured
from normpipe.audit.moments import within_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class DependenceLimits:
    """What bounds time.

    Attributes:
        rows: Rows used, equally many of each person.
        permutations: Of the null.
        folds: Of people.
    """

    rows: int = 10_000
    permutations: int = 200
    folds: int = 5


@dataclass(frozen=True, slots=True)
class Dependence:
    """Share of the output's within-person variance, cross-validated over people.

    Attributes:
        by_expression: Explained by the measured expression alone.
        by_nuisance: Added by the nuisance; about 0 or below where nothing shows.
        null: The 95th percentile of what a permuted nuisance adds.
        p: Of permutations, with the observed one counted; at least 1 / (permutations + 1).
        rows: Rows used.
        people: People used.
    """

    by_expression: Measured
    by_nuisance: Measured
    null: float
    p: float
    rows: int
    people: int


def dependence(
    codes: Floats,
    nuisance: Floats,
    expression: Floats,
    subjects: Names,
    bootstrap: Bootstrap,
    limits: DependenceLimits,
) -> Dependence | NotMeasurable:
    """Measure the dependence of one image set on one nuisance. Call it for originals too: that is what there was to remove.

    Args:
        codes: (n, c) appearance code of the output, columns in one unit (e.g. 32 principal components of its pixels).
        nuisance: (n, b) of the input, e.g. `expression.pose_terms`, or mean and spread of the background's colours.
        expression: (n, e) measured on the input, e.g. blendshapes and distances of landmarks.
        subjects: (n,).
        bootstrap: Draws of people; its seed also deals folds and permutes.
        limits: Bounds.

    Rows with a NaN anywhere, of unknown people, and people with one row take no part.
    """
    use = subjects != UNKNOWN
    for values in (codes, nuisance, expression):
        use &= finite_rows(values)
    known = np.flatnonzero(use)
    if not len(known):
        return NotMeasurable(Why.NO_SUBJECTS, "no row with a face names its subject")
    everyone = Groups.of(subjects[known])
    several = known[everyone.counts[everyone.index] > 1]
    if not len(several):
        return NotMeasurable(Why.ONE_IMAGE_PER_SUBJECT, f"{len(everyone)} people, one image of each")
    rows = several[sampled_rows(Groups.of(subjects[several]), limits.rows, bootstrap.seed)]
    people = Groups.of(subjects[rows])
    if len(people) < 2 * limits.folds:
        return NotMeasurable(Why.TOO_FEW_SUBJECTS, f"{len(people)} people with several images, {2 * limits.folds} are needed")
    weights = within_weights(people.index, people)
    outputs, disturbance, control = (
        people.centred(values[rows]).astype(np.float64) for values in (codes, nuisance, expression)
    )
    if not outputs.any():
        return NotMeasurable(Why.NO_VARIATION, "the outputs of a person are all equal: nothing of the input shows")
    split = Folds.of(people, weights, folds=limits.folds, seed=bootstrap.seed)
    base, alone, both = (
        split.errors(inputs, outputs) for inputs in (control[:, :0], control, np.concatenate([control, disturbance], axis=1))
    )
    null = np.array(
        [
            (alone.sum() - split.errors(np.concatenate([control, disturbance[order]], axis=1), outputs).sum()) / base.sum()
            for order in _permutations(people, limits.permutations, bootstrap.seed)
        ]
    )

    def statistic(drawn: Doubles) -> Doubles:
        """(2,)."""
        total = drawn @ base
        return np.array([1 - drawn @ alone / total, drawn @ (alone - both) / total])

    by_expression, by_nuisance = measured(statistic, len(people), bootstrap)
    observed = float((alone - both).sum() / base.sum())
    p = float((1 + (null >= observed).sum()) / (1 + len(null)))
    return Dependence(by_expression, by_nuisance, float(np.percentile(null, 95)), p, len(rows), len(people))


def _permutations(people: Groups, count: int, seed: int) -> list[np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """Orders of rows that move rows within their person only."""
    random = np.random.default_rng([seed, 1])
    home = np.argsort(people.index, kind="stable")
    orders = []
    for _ in range(count):
        shuffled = np.lexsort((random.random(len(home)), people.index))
        order = np.empty(len(home), np.intp)
        order[home] = shuffled
        orders.append(order)
    return orders
