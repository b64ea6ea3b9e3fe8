"""The figures of several normalized runs of the same rows, on one and the same draws of people, so that they can be compared.

An arm is one normalizer at one strength. All arms are measured on the rows that each of them has a picture of, and each figure
is computed as the audit computes it: the AUC of the plain comparison of embeddings at the same emotion, the blendshapes'
agreement with the originals, and the plain classifier's macro-F1. `frontier` compares what comes out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from normpipe.audit.classifier import ORIGINAL, TWICE, ClassifierLimits, classified_rows, predictions, score_statistic
from normpipe.audit.crossfit import subject_folds
from normpipe.audit.features import BLENDSHAPE, HOG, SIDES, column
from normpipe.audit.figures import NotMeasurable, Why
from normpipe.audit.groups import Doubles, Floats, Groups, Indices, Names, finite_rows
from normpipe.audit.identity import cosines, roc_statistic
from normpipe.audit.intervals import FEWEST_PEOPLE, Bootstrap, Statistic, resampled
from normpipe.audit.moments import Moments
from normpipe.audit.pairs import PAIRS, Rows, sample_pairs

FIGURES = ("auc", "correlation", "slope", "macro_f1", "macro_f1_with_originals")
"""Of an arm."""
ORIGINAL_FIGURES = ("auc", "macro_f1", "macro_f1_twice")
"""Of the originals; the last is the control for having twice the features."""

_ORIGINAL, _NORMALIZED = SIDES

Load = Callable[[str], Floats]
"""From a whole column name of the features to its (n, k) values for the shared rows, NaN rows where nothing was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmLimits:
    """What bounds time and memory.

    Attributes:
        pairs: Of each kind.
        repetitions: Of the classifier's folds.
    """

    pairs: int = PAIRS
    repetitions: int = 10


@dataclass(frozen=True, slots=True)
class DrawnArms:
    """The figures as observed, then on each draw of people.

    Attributes:
        originals: (1 + draws, 3), ORIGINAL_FIGURES.
        arms: (1 + draws, arms, 5), FIGURES.
        people: People drawn from.
        classes: Rows by class, of the classifier.
        left_out: Rows that the classifier leaves out, by class.
        without_face: Of each arm, rows in whose normalized image the blendshapes' network sees no face.
    """

    originals: Doubles
    arms: Doubles
    people: int
    classes: dict[str, int]
    left_out: dict[str, int]
    without_face: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Kept:
    """Agreement of the blendshapes."""

    statistic: Statistic
    without_face: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Used:
    """Scores of the classifier."""

    statistic: Statistic
    classes: dict[str, int]
    left_out: dict[str, int]


def drawn_arms(
    rows: Rows,
    arms: Sequence[Load],
    embedding: str,
    bootstrap: Bootstrap,
    limits: ArmLimits,
    announce: Callable[[str], None] = lambda _: None,
) -> DrawnArms | NotMeasurable:
    """Measure arms side by side.

    Args:
        rows: n rows of known people and labels.
        arms: Features of each; those of the originals are taken from the first.
        embedding: Column of the embedding, without its side.
        bootstrap: Draws of people; its seed draws pairs and folds too.
        limits: Bounds.
        announce: Told what is being done.

    A row without an embedding counts for no arm's AUC, and one in which an arm shows the blendshapes' network no face for no
    arm's agreement: all arms are held against each other on the same rows.
    """
    people = Groups.of(rows.subjects)
    if len(people) < FEWEST_PEOPLE:
        return NotMeasurable(Why.TOO_FEW_SUBJECTS, f"{len(people)} people, {FEWEST_PEOPLE} are needed for an interval")
    announce("statistics: identity")
    aucs = _aucs(rows, arms, embedding, people, bootstrap, limits.pairs)
    if isinstance(aucs, NotMeasurable):
        return aucs
    announce("statistics: expression")
    kept = _kept(rows.subjects, arms, people)
    if isinstance(kept, NotMeasurable):
        return kept
    used = _used(rows, arms, people, bootstrap.seed, ClassifierLimits(seeds=limits.repetitions), announce)
    if isinstance(used, NotMeasurable):
        return used
    announce("statistics: intervals")

    def statistic(drawn: Doubles) -> Doubles:
        """((1 + arms) * 5,) rows of FIGURES, the originals first, which agree with nothing but themselves."""
        agreement = np.concatenate([np.full((1, 2), np.nan), kept.statistic(drawn).reshape(-1, 2)])
        return np.column_stack([aucs(drawn), agreement, used.statistic(drawn).reshape(-1, 2)]).ravel()

    values = resampled(statistic, len(people), bootstrap).reshape(-1, 1 + len(arms), len(FIGURES))
    return DrawnArms(values[:, 0, [0, 3, 4]], values[:, 1:], len(people), used.classes, used.left_out, kept.without_face)


def _aucs(
    rows: Rows, arms: Sequence[Load], embedding: str, people: Groups, bootstrap: Bootstrap, limit: int
) -> Statistic | NotMeasurable:
    """(1 + arms,) AUCs, of the originals first, all over the same pairs."""

    def vectors() -> Iterator[Floats]:
        """One after the other: together they would be large."""
        yield arms[0](column(embedding, _ORIGINAL))
        for load in arms:
            yield load(column(embedding, _NORMALIZED))

    usable = np.logical_and.reduce([finite_rows(each) for each in vectors()])
    pairs = sample_pairs(rows, usable, seed=bootstrap.seed, limit=limit)
    if isinstance(pairs, NotMeasurable):
        return pairs
    drawn_from = _places(people, rows.subjects[usable & rows.known])
    curves = [roc_statistic(cosines(each, each, pairs), pairs) for each in vectors()]
    return lambda drawn: np.array([curve(drawn[drawn_from])[0] for curve in curves])


def _kept(subjects: Names, arms: Sequence[Load], people: Groups) -> _Kept | NotMeasurable:
    """(arms * 2,) correlation and slope of each arm."""
    original = arms[0](column(BLENDSHAPE, _ORIGINAL))
    normalized = [load(column(BLENDSHAPE, _NORMALIZED)) for load in arms]
    faces = [finite_rows(each) for each in normalized]
    usable = np.logical_and.reduce([finite_rows(original), *faces])
    if not usable.any():
        return NotMeasurable(Why.NO_ROWS, "no row has a face in the original and in every arm's image")
    seen = Groups.of(subjects[usable])
    statistics = []
    for each in normalized:
        found = Moments.of(original[usable], each[usable], seen.share, seen).statistic()
        if isinstance(found, NotMeasurable):
            return found
        statistics.append(found)
    drawn_from = _places(people, seen.names)
    return _Kept(
        lambda drawn: np.concatenate([each(drawn[drawn_from])[:2] for each in statistics]),
        tuple(int((~each).sum()) for each in faces),
    )


def _used(
    rows: Rows, arms: Sequence[Load], people: Groups, seed: int, limits: ClassifierLimits, announce: Callable[[str], None]
) -> _Used | NotMeasurable:
    """((1 + arms) * 2,) macro-F1 of the originals and of them twice, then of each arm alone and with the originals."""
    assert rows.labels is not None
    found = classified_rows(rows.labels, rows.subjects, seed, limits)
    if isinstance(found, NotMeasurable):
        return found
    use, left_out = found
    truth, seen = rows.labels[use], Groups.of(rows.subjects[use])
    names = [str(number) for number in range(len(arms))]
    sets = {ORIGINAL: arms[0](column(HOG, _ORIGINAL))[use]}
    sets |= {name: load(column(HOG, _NORMALIZED))[use] for name, load in zip(names, arms, strict=True)}
    joined = {ORIGINAL: (ORIGINAL,), TWICE: (ORIGINAL, ORIGINAL)}
    for name in names:
        joined |= {name: (name,), f"{name} {ORIGINAL}": (ORIGINAL, name)}
    repeated = []
    for repetition in range(limits.seeds):
        announce(f"statistics: classifier, {repetition + 1} of {limits.seeds}")
        repeated.append(predictions(sets, joined, truth, subject_folds(seen, limits.folds, seed + repetition)))
    statistics = [score_statistic(truth, [each[arm] for each in repeated], seen) for arm in joined]
    drawn_from = _places(people, seen.names)
    return _Used(
        lambda drawn: np.array([each(drawn[drawn_from])[0] for each in statistics]),
        {str(name): int(count) for name, count in zip(*np.unique(truth, return_counts=True), strict=True)},
        left_out,
    )


def _places(people: Groups, names: Names) -> Indices:
    """Places among all people of those that some rows are of, in the order of their names."""
    return np.flatnonzero(np.isin(people.names, names))
