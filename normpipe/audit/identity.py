"""Is the person gone? Verification of pairs and closed-set identification, from vectors of faces.

People count equally, whatever the number of their images. Intervals are over people: a pair of two people counts as often as
the product of how often each was drawn.
"""

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from normpipe.audit.figures import Measured, NotMeasurable, Why
from normpipe.audit.groups import UNKNOWN, Doubles, Floats, Groups, finite_rows, sampled_rows
from normpipe.audit.intervals import Bootstrap, Statistic, measured
from normpipe.audit.pairs import Pairs, Rows, comparable_people

_CHUNK = 2048
_PROBES = 2000
_PROBE_CHUNK = 64
_DECIMALS = 6
"""Of cosines: below it is the rounding of float32, by which equal images would not tie."""


@dataclass(frozen=True, slots=True)
class Verification:
    """How well one person's images are told from other people's.

    Attributes:
        auc: Area under the ROC curve, 0.5 is chance; ties count half.
        equal_error_rate: Where as many same pairs are rejected as different pairs accepted; 0.5 is chance.
        same_pairs: Number of pairs of one person.
        different_pairs: Number of pairs of two people.
        people: People compared.
        drawn: Whether the pairs are a random sample.
    """

    auc: Measured
    equal_error_rate: Measured
    same_pairs: int
    different_pairs: int
    people: int
    drawn: bool


@dataclass(frozen=True, slots=True)
class Identification:
    """How often the nearest other image is of the same person.

    Attributes:
        rank_one: Share of probes, people weighted equally; ties count in part.
        chance: The same of a random other image.
        probes: Images looked up.
        gallery: Images looked up in.
        people: People among the probes.
    """

    rank_one: Measured
    chance: float
    probes: int
    gallery: int
    people: int


def verification(scores: Doubles, pairs: Pairs, bootstrap: Bootstrap) -> Verification:
    """AUC and equal error rate.

    Args:
        scores: (m,) similarity of each pair, higher for more alike; finite.
        pairs: m pairs.
        bootstrap: Draws of people.

    Source: Bolle, Ratha, Pankanti, Error analysis of pattern recognition systems: the subsets bootstrap, CVIU 2004 (people are
    drawn, not pairs).
    """
    statistic = roc_statistic(scores, pairs)
    area, error = measured(statistic, pairs.people, bootstrap)
    same = int(pairs.same.sum())
    return Verification(area, error, same, len(pairs.same) - same, pairs.people, pairs.drawn)


def auc(scores: Doubles, pairs: Pairs) -> float:
    """The AUC alone, without an interval."""
    return float(roc_statistic(scores, pairs)(np.ones(pairs.people))[0])


def cosines(left: Floats, right: Floats, pairs: Pairs) -> Doubles:
    """(m,) cosine between `left[first]` and `right[second]`; 0 where a vector is zero."""
    scores = np.empty(len(pairs.first))
    lengths = [np.sqrt(np.einsum("nk,nk->n", side, side)).astype(np.float64) for side in (left, right)]
    scale = np.maximum(lengths[0][pairs.first] * lengths[1][pairs.second], np.finfo(np.float32).tiny)
    for start in range(0, len(scores), _CHUNK):
        part = slice(start, start + _CHUNK)
        scores[part] = np.einsum("nk,nk->n", left[pairs.first[part]], right[pairs.second[part]])
    return np.asarray(np.round(scores / scale, _DECIMALS))


def rank_one(vectors: Floats, rows: Rows, bootstrap: Bootstrap, *, probes: int = _PROBES) -> Identification | NotMeasurable:
    """Closed-set identification by cosine: every other image of the set is the gallery, whatever its emotion.

    Args:
        vectors: (n, k); rows with NaN and rows of unknown people are left out.
        rows: n rows; images of the probe's own clip are left out of its gallery.
        bootstrap: Draws of people; its seed also chooses the probes.
        probes: Most images looked up, equally many of each person.
    """
    use = np.flatnonzero(finite_rows(vectors) & (rows.subjects != UNKNOWN))
    people = comparable_people(rows.subjects[use])
    if isinstance(people, NotMeasurable):
        return people
    clips = None if rows.sequences is None else rows.sequences[use]
    several = np.flatnonzero(people.counts[people.index] > 1)
    asked = several[sampled_rows(Groups.of(people.names[people.index[several]]), probes, bootstrap.seed)]
    hits, chances = np.empty(len(asked)), np.empty(len(asked))
    unit = vectors[use]
    length = np.sqrt(np.einsum("nk,nk->n", unit, unit, dtype=np.float64))
    unit /= np.where(length > 0, length, 1).astype(np.float32)[:, None]
    for start in range(0, len(asked), _PROBE_CHUNK):
        chunk = asked[start : start + _PROBE_CHUNK]
        allowed = chunk[:, None] != np.arange(len(use))
        if clips is not None:
            allowed &= (clips[chunk, None] != clips) | (clips[chunk, None] == UNKNOWN)
        own = people.index[chunk, None] == people.index
        with threadpool_limits(1):
            similarity = unit[chunk] @ unit.T
        similarity[~allowed] = -np.inf
        nearest = similarity >= similarity.max(axis=1, keepdims=True) - 10.0**-_DECIMALS
        nearest &= allowed
        part = slice(start, start + len(chunk))
        hits[part] = (nearest & own).sum(axis=1) / np.maximum(nearest.sum(axis=1), 1)
        chances[part] = (allowed & own).sum(axis=1) / np.maximum(allowed.sum(axis=1), 1)
    possible = chances > 0
    if not possible.any():
        return NotMeasurable(Why.ONE_IMAGE_PER_SUBJECT, "no person has images of two clips")
    found = Groups.of(people.names[people.index[asked[possible]]])
    mean_hit, mean_chance = ((found.sums(each[possible, None])[:, 0] / found.counts) for each in (hits, chances))
    (rate,) = measured(lambda weights: np.array([weights @ mean_hit / weights.sum()]), len(found), bootstrap)
    return Identification(rate, float(mean_chance.mean()), int(possible.sum()), len(use), len(found))


def roc_statistic(scores: Doubles, pairs: Pairs) -> Statistic:
    """AUC and equal error rate, (2,), of weights of the pairs' people: sorted once, summed in every draw."""
    thresholds = np.unique(scores)
    same, different = (np.flatnonzero(kind)[np.argsort(scores[kind], kind="stable")] for kind in (pairs.same, ~pairs.same))
    # Pairs up to and with each threshold, after a threshold below all scores; how many different pairs each same pair beats.
    rejected_at, accepted_at = (
        np.concatenate([[0], np.searchsorted(scores[kind], thresholds, side="right")]) for kind in (same, different)
    )
    below, beaten = (np.searchsorted(scores[different], scores[same], side=side) for side in ("left", "right"))
    same_weights, different_weights = pairs.weights[same], pairs.weights[different]
    owner, (one, two) = pairs.owners[same, 0], pairs.owners[different].T

    def statistic(drawn: Doubles) -> Doubles:
        """(2,)."""
        hits = same_weights * drawn[owner]
        rejected = np.concatenate([[0.0], np.cumsum(hits)])
        accepted = np.concatenate([[0.0], np.cumsum(different_weights * drawn[one] * drawn[two])])
        if rejected[-1] <= 0 or accepted[-1] <= 0:
            return np.full(2, np.nan)
        area = hits @ (accepted[below] + accepted[beaten]) / (2 * rejected[-1] * accepted[-1])

        def rates(place: int) -> tuple[float, float]:
            """Same pairs rejected and different pairs accepted at a threshold."""
            return (
                float(rejected[rejected_at[place]] / rejected[-1]),
                float(1 - accepted[accepted_at[place]] / accepted[-1]),
            )

        low, high = 0, len(thresholds)
        while high - low > 1:  # misses rise and alarms fall with the threshold: bisect for where they meet
            middle = (low + high) // 2
            misses, alarms = rates(middle)
            low, high = (low, middle) if misses >= alarms else (middle, high)
        (misses, alarms), (more, fewer) = rates(low), rates(high)
        step = (alarms - misses) / ((more - misses) + (alarms - fewer))
        area = min(float(area), 1.0)  # sums round
        return np.array([area, misses + step * (more - misses)])

    return statistic
