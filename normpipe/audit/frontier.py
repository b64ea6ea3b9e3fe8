"""Two normalizers at the same identity AUC: which one keeps more?

A normalizer at several strengths is a curve: what it keeps, over the AUC that it leaves. Strengths of two normalizers do not
mean the same, so for each of the baseline's AUCs the candidate is turned up as far as it shows no more of the person: to its
highest strength of no more AUC, and from there along a straight line towards the next one. A higher strength need not show more
of the person; which one counts never depends on what it keeps. Where even the highest shows less than the baseline, that one
stands for the candidate. Where all show more, there is nothing to compare, and that is said.

Pure functions of arrays: `arms` draws people and gives every draw's curves, and the reading is done anew in each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from normpipe.audit.figures import Measured, NotMeasurable, Why
from normpipe.audit.groups import Doubles
from normpipe.audit.intervals import interval


class Reach(StrEnum):
    """How the candidate comes to the baseline's AUC: between two strengths, with its highest below it, with none."""

    BETWEEN = "between"
    LESS_IDENTITY = "less_identity"
    NOT_REACHED = "not_reached"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure at one AUC.

    Attributes:
        baseline: Of the baseline.
        candidate: Of the candidate at the baseline's AUC; NotMeasurable where it is not reached.
        difference: Candidate minus baseline, on the same draws of people.
    """

    baseline: Measured
    candidate: Measured
    difference: Measured


@dataclass(frozen=True, slots=True)
class Match:
    """One strength of the baseline, and the candidate at its AUC.

    Attributes:
        auc: Of the baseline.
        reach: How the candidate comes to that.
        reached: Share of the draws of people in which the candidate reaches it, 0 to 1; intervals are over these draws.
        measures: Comparisons by name.
    """

    auc: Measured
    reach: Reach
    reached: float
    measures: dict[str, Comparison]


def matched(baseline: Doubles, candidate: Doubles, measures: Sequence[str]) -> list[Match]:
    """Compare at each of the baseline's strengths.

    Args:
        baseline: (1 + draws, s, 1 + m) AUC, then m measures, of s ascending strengths: on all people, then on each draw.
        candidate: (1 + draws, t, 1 + m) the same of t strengths, on the same draws.
        measures: m names.

    Returns:
        s comparisons, in the baseline's order.
    """
    ours = np.stack([at_auc(curve, curve[:, 0]) for curve in baseline])
    theirs = np.stack([at_auc(curve, aims) for curve, aims in zip(candidate, baseline[..., 0], strict=True)])
    reached = baseline[..., 0] >= candidate[..., 0].min(axis=1, keepdims=True)
    matches = []
    for number in range(baseline.shape[1]):
        reach = _reach(float(baseline[0, number, 0]), candidate[0, :, 0])
        compared = {
            name: _comparison(ours[:, number, place], theirs[:, number, place], reach) for place, name in enumerate(measures)
        }
        matches.append(Match(interval(baseline[:, number, 0]), reach, float(reached[1:, number].mean()), compared))
    return matches


def at_auc(curve: Doubles, aucs: Doubles) -> Doubles:
    """(a, m) measures of a normalizer at (a,) AUCs, from its (s, 1 + m) ascending strengths.

    Those of the highest strength of no more AUC, moved towards the next strength's until the AUC is met; NaN where every
    strength has more, and where the curve has no AUC.
    """
    found = np.full((len(aucs), curve.shape[1] - 1), np.nan)
    if not np.isfinite(curve[:, 0]).all():
        return found
    for place, auc in enumerate(aucs):
        below = np.flatnonzero(curve[:, 0] <= auc)
        if len(below):
            lower, upper = curve[below[-1]], curve[min(below[-1] + 1, len(curve) - 1)]
            share = (auc - lower[0]) / (upper[0] - lower[0]) if upper[0] > auc else 0.0
            found[place] = lower[1:] + share * (upper[1:] - lower[1:])
    return found


def _reach(auc: float, candidate: Doubles) -> Reach:
    if auc < candidate.min():
        return Reach.NOT_REACHED
    return Reach.LESS_IDENTITY if auc > candidate[-1] else Reach.BETWEEN


def _comparison(baseline: Doubles, candidate: Doubles, reach: Reach) -> Comparison:
    """Of (1 + draws,) values."""
    if reach is Reach.NOT_REACHED:
        missing = NotMeasurable(Why.NOT_REACHED, "every strength of the candidate shows more of the person")
        return Comparison(interval(baseline), missing, missing)
    return Comparison(interval(baseline), interval(candidate), interval(candidate - baseline))
