"""Is the person gone? Verification of pairs and closed-set identification, from vectors of faces.

People count equally, whatever the number of their images. Intervals are over people: a pair of two people counts as often as
the product of how often each was drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from normpipe.audit.figures import Measured, NotMeasurable, Why
from normpipe.audit.groups import UNKNOWN, Doubles, Floats, Groups, Mask, sampled_rows
from normpipe.audit.intervals import Bootstrap, measured
from normpipe.audit.pairs import Pairs, Rows, comparable_people

_CHUNK = 4096
_PROBES = 2000
_PROBE_CHUNK = 64
_TIE = 1e-6
"""Cosines this close are one: they are sums of float32 products."""


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
    statistic = _roc_statistic(scores, pairs)
    auc, error = measured(statistic, pairs.people, bootstrap)
    same = int(pairs.same.sum())
    return Verification(auc, error, same, len(pairs.same) - same, pairs.people, pairs.drawn)


def cosines(left: Floats, right: Floats, pairs: Pairs) -> Doubles:
    """(m,) cosine between `left[first]` and `right[second]`; 0 where a vector is zero."""
    scores = np.empty(len(pairs.first))
    for start in range(0, len(scores), _CHUNK):
        part = slice(start, start + _CHUNK)
        one, two = left[pairs.first[part]].astype(np.float64), right[pairs.second[part]].astype(np.float64)
        length = np.sqrt(np.einsum("nk,nk->n", one, one) * np.einsum("nk,nk->n", two, two))
        scores[part] = np.einsum("nk,nk->n", one, two) / np.where(length > 0, length, 1)
    return scores


def finite_rows(vectors: Floats) -> Mask:
    """(n,) rows without a NaN: the others had no face to measure."""
    return np.concatenate([np.isfinite(part).all(axis=1) for part in np.array_split(vectors, len(vectors) // _CHUNK + 1)])


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
        similarity = unit[chunk] @ unit.T
        similarity[~allowed] = -np.inf
        nearest = similarity >= similarity.max(axis=1, keepdims=True) - _TIE
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


def _roc_statistic(scores: Doubles, pairs: Pairs) -> Callable[[Doubles], Doubles]:
    """AUC and equal error rate as a function of how often each person was drawn."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    same, base, owners = pairs.same[order], pairs.weights[order], pairs.owners[order]
    ends = np.flatnonzero(np.concatenate([ordered[1:] != ordered[:-1], [True]]))
    one, two = owners[:, 0], owners[:, 1]

    def statistic(drawn: Doubles) -> Doubles:
        """(2,)."""
        weight = base * drawn[one]
        accepted = np.concatenate([[0.0], np.cumsum(np.where(same, 0.0, weight * drawn[two]))[ends]])
        rejected = np.concatenate([[0.0], np.cumsum(np.where(same, weight, 0.0))[ends]])
        if rejected[-1] <= 0 or accepted[-1] <= 0:
            return np.full(2, np.nan)
        # From a threshold below all scores to one above: same pairs rejected, different pairs accepted.
        misses, alarms = rejected / rejected[-1], 1 - accepted / accepted[-1]
        auc = float(np.diff(misses) @ (1 - (alarms[1:] + alarms[:-1]) / 2))
        gap = misses - alarms
        above = int(np.argmax(gap >= 0))
        step = -gap[above - 1] / (gap[above] - gap[above - 1])
        return np.array([auc, misses[above - 1] + step * (misses[above] - misses[above - 1])])

    return statistic
