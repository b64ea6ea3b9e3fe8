"""Attackers of identity, from the one who compares pictures to the one who trains on other people's pairs. The worst counts.

Four per feature: cosine of two normalized images; a probe trained on other people's normalized images; and the cross attack,
original against normalized image of the same person, by cosine and by a bridge trained on other people's pairs. The two images
of a cross pair come from different rows, as an attacker's photo would. A probe is trained on half of the people and tried on
the other half, and the other way round; its pairs lie within a half.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from normpipe.audit.figures import Figure, NotMeasurable, Why
from normpipe.audit.groups import UNKNOWN, Doubles, Floats, Groups, Indices, Mask, finite_rows, sampled_rows
from normpipe.audit.identity import Identification, Verification, cosines, rank_one, verification
from normpipe.audit.intervals import Bootstrap
from normpipe.audit.pairs import PAIRS, Pairs, Rows, sample_pairs
from normpipe.audit.probes import FEWEST_PEOPLE, Bridge, PersonSpace, halves

_CHUNK = 4096


class Method(StrEnum):
    """How pairs are scored."""

    COSINE = "cosine"
    PROBE = "probe"
    CROSS_COSINE = "cross_cosine"
    CROSS_PROBE = "cross_probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackLimits:
    """What bounds time and memory.

    Attributes:
        pairs: Of each kind and attack.
        training_rows: That a probe learns from, equally many of each person.
    """

    pairs: int = PAIRS
    training_rows: int = 10_000


@dataclass(frozen=True, slots=True)
class Attack:
    """One attacker's result; `feature` is the name that the caller gave."""

    feature: str
    method: Method
    result: Verification | NotMeasurable


@dataclass(frozen=True, slots=True)
class Identity:
    """Is the person gone?

    Attributes:
        before: The same cosine and probe on original against original: what there was to lose.
        attacks: All attackers of the normalized images.
        worst: The one with the highest AUC, None where nothing could be measured.
        identification_before: Rank 1 by feature, originals.
        identification: Rank 1 by feature, normalized images.
    """

    before: list[Attack]
    attacks: list[Attack]
    worst: Attack | None
    identification_before: dict[str, Identification | NotMeasurable]
    identification: dict[str, Identification | NotMeasurable]


def identity(
    originals: Mapping[str, Floats],
    normalized: Mapping[str, Floats],
    rows: Rows,
    bootstrap: Bootstrap,
    limits: AttackLimits,
) -> Identity:
    """Run every attacker.

    Args:
        originals: (n, k) feature of the originals by name, e.g. of an embedding or HOG; NaN rows where there was no face.
        normalized: The same of the normalized images; a feature with the same name has the same k.
        rows: n rows.
        bootstrap: Its seed draws pairs and halves too.
        limits: Bounds.

    Rows with NaN take no part in that feature's attacks: an image that is not there tells nothing about a person.
    """
    before = [Attack(name, Method.COSINE, _cosine(each, each, rows, bootstrap, limits)) for name, each in originals.items()]
    before += [Attack(name, Method.PROBE, _probe(each, rows, bootstrap, limits)) for name, each in originals.items()]
    attacks = list(_attacks(originals, normalized, rows, bootstrap, limits))
    return Identity(
        before,
        attacks,
        worst(attacks),
        {name: rank_one(each, rows, bootstrap) for name, each in originals.items()},
        {name: rank_one(each, rows, bootstrap) for name, each in normalized.items()},
    )


def worst(attacks: list[Attack]) -> Attack | None:
    """The measured attack with the highest AUC; of equals the first."""
    found = [
        (attack.result.auc.value, -number, attack)
        for number, attack in enumerate(attacks)
        if isinstance(attack.result, Verification) and isinstance(attack.result.auc, Figure)
    ]
    return max(found, key=lambda each: each[:2])[2] if found else None


def _attacks(
    originals: Mapping[str, Floats],
    normalized: Mapping[str, Floats],
    rows: Rows,
    bootstrap: Bootstrap,
    limits: AttackLimits,
) -> Iterator[Attack]:
    for name, after in normalized.items():
        yield Attack(name, Method.COSINE, _cosine(after, after, rows, bootstrap, limits))
        yield Attack(name, Method.PROBE, _probe(after, rows, bootstrap, limits))
        if name in originals:
            yield Attack(name, Method.CROSS_COSINE, _cosine(originals[name], after, rows, bootstrap, limits))
            yield Attack(name, Method.CROSS_PROBE, _cross_probe(originals[name], after, rows, bootstrap, limits))


def _cosine(
    left: Floats, right: Floats, rows: Rows, bootstrap: Bootstrap, limits: AttackLimits
) -> Verification | NotMeasurable:
    usable = finite_rows(left) & finite_rows(right)
    pairs = sample_pairs(rows, usable, seed=bootstrap.seed, limit=limits.pairs)
    if isinstance(pairs, NotMeasurable):
        return pairs
    if left is not right:
        pairs = pairs.both_ways()
    return verification(cosines(left, right, pairs), pairs, bootstrap)


def _probe(values: Floats, rows: Rows, bootstrap: Bootstrap, limits: AttackLimits) -> Verification | NotMeasurable:
    prepared = _prepare(finite_rows(values), rows, bootstrap, limits)
    if isinstance(prepared, NotMeasurable):
        return prepared
    pairs, half, usable = prepared
    scores = np.empty(len(pairs.first))
    for held in (0, 1):
        train, people = _training(rows, np.flatnonzero(usable & (half != held)), bootstrap, limits)
        space = PersonSpace.fit(values[train], people, bootstrap.seed)
        places = _applied(space.coordinates, values, half == held)
        for chunk in _chunks(half[pairs.first] == held):
            scores[chunk] = space.scores(places[pairs.first[chunk]], places[pairs.second[chunk]])
    return verification(scores, pairs, bootstrap)


def _cross_probe(
    originals: Floats, normalized: Floats, rows: Rows, bootstrap: Bootstrap, limits: AttackLimits
) -> Verification | NotMeasurable:
    prepared = _prepare(finite_rows(originals) & finite_rows(normalized), rows, bootstrap, limits)
    if isinstance(prepared, NotMeasurable):
        return prepared
    pairs, half, usable = prepared
    pairs = pairs.both_ways()
    scores = np.empty(len(pairs.first))
    for held in (0, 1):
        train, people = _training(rows, np.flatnonzero(usable & (half != held)), bootstrap, limits)
        bridge = Bridge.fit(originals[train], normalized[train], people, bootstrap.seed)
        coordinates = _applied(bridge.originals.coordinates, originals, half == held)
        places = _applied(bridge.places, normalized, half == held)
        for chunk in _chunks(half[pairs.first] == held):
            scores[chunk] = bridge.scores(coordinates[pairs.first[chunk]], places[pairs.second[chunk]])
    return verification(scores, pairs, bootstrap)


def _prepare(
    usable: Mask, rows: Rows, bootstrap: Bootstrap, limits: AttackLimits
) -> tuple[Pairs, Indices, Mask] | NotMeasurable:
    """Pairs within halves of the people, the half of each row, and the rows that can be learnt from."""
    usable = usable & (rows.subjects != UNKNOWN)
    use = np.flatnonzero(usable)
    people = Groups.of(rows.subjects[use])
    half = np.full(len(rows), -1, np.intp)
    half[use] = halves(people, bootstrap.seed)
    pairs = sample_pairs(rows, usable, within=half, seed=bootstrap.seed, limit=limits.pairs)
    if isinstance(pairs, NotMeasurable):
        return pairs
    several = [len(np.unique(people.index[(half[use] == side) & (people.counts[people.index] > 1)])) for side in (0, 1)]
    if min(several) < FEWEST_PEOPLE:
        detail = f"{sum(several)} people with several images, a probe needs {FEWEST_PEOPLE} in either half"
        return NotMeasurable(Why.TOO_FEW_SUBJECTS, detail)
    return pairs, half, usable


def _training(rows: Rows, use: Indices, bootstrap: Bootstrap, limits: AttackLimits) -> tuple[Indices, Groups]:
    """Rows to learn from, and their people."""
    chosen = use[sampled_rows(Groups.of(rows.subjects[use]), limits.training_rows, bootstrap.seed)]
    return chosen, Groups.of(rows.subjects[chosen])


def _applied(space: Callable[[Floats], Doubles], values: Floats, mask: Mask) -> Doubles:
    """(n, k) coordinates of the masked rows, zero elsewhere; rows are read in chunks."""
    found = [(chunk, space(values[chunk])) for chunk in _chunks(mask)]
    coordinates = np.zeros((len(values), found[0][1].shape[1]))
    for chunk, places in found:
        coordinates[chunk] = places
    return coordinates


def _chunks(mask: Mask) -> Iterator[Indices]:
    members = np.flatnonzero(mask)
    for start in range(0, len(members), _CHUNK):
        yield members[start : start + _CHUNK]
