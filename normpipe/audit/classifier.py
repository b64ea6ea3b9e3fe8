"""Of what use are the normalized images? The plain classifier on originals, normalized images, both, and the originals twice.

HOG features, PCA to 250 components fitted per image set on the training folds, standardized, multinomial logistic regression
with C = 0.003 and balanced class weights, subject-exclusive folds dealt anew by each seed: fixed, so that image sets compare
and nothing can be tuned to them. The originals twice are the control of capacity for both. A row without an image counts: its
features are the mean of the training rows, so that the arm must guess.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from normpipe.audit.components import fit_components
from normpipe.audit.crossfit import subject_folds
from normpipe.audit.figures import Measured, NotMeasurable, Why
from normpipe.audit.groups import UNKNOWN, Doubles, Floats, Groups, Indices, Mask, Names, finite_rows, sampled_rows
from normpipe.audit.intervals import Bootstrap, Statistic, measured

COMPONENTS = 250
ORIGINAL, NORMALIZED, BOTH, TWICE = "original", "normalized", "both", "original_twice"
_ARMS = {
    ORIGINAL: (ORIGINAL,),
    NORMALIZED: (NORMALIZED,),
    BOTH: (ORIGINAL, NORMALIZED),
    TWICE: (ORIGINAL, ORIGINAL),
}
_CONTRASTS = ((NORMALIZED, ORIGINAL), (BOTH, TWICE), (BOTH, ORIGINAL))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierLimits:
    """What bounds time.

    Attributes:
        rows: Rows used, equally many of each person.
        folds: Of people.
        seeds: Repetitions of the folds.
    """

    rows: int = 4000
    folds: int = 5
    seeds: int = 10


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over the repetitions, 0 to 1.

    Attributes:
        macro_f1: Mean of the classes' F1.
        balanced_accuracy: Mean of the classes' recall.
    """

    macro_f1: Measured
    balanced_accuracy: Measured


@dataclass(frozen=True, slots=True)
class Contrast:
    """One arm minus another, on the same draws of people."""

    arm: str
    minus: str
    scores: Scores


@dataclass(frozen=True, slots=True)
class Classification:
    """The arms and their differences.

    Attributes:
        arms: Scores by arm.
        contrasts: Paired differences.
        classes: Rows by class.
        left_out: Rows of classes with fewer people than folds.
        without_normalized: Rows without a normalized image; they count.
    """

    arms: dict[str, Scores]
    contrasts: list[Contrast]
    classes: dict[str, int]
    left_out: dict[str, int]
    without_normalized: int


def classification(
    originals: Floats, normalized: Floats, labels: Names, subjects: Names, bootstrap: Bootstrap, limits: ClassifierLimits
) -> Classification | NotMeasurable:
    """Run the four arms.

    Args:
        originals: (n, d) `hog_features` of the crops, NaN where there is none.
        normalized: (n, d) of the normalized images, cut to the face.
        labels: (n,); rows of unknown label or subject take no part.
        subjects: (n,).
        bootstrap: Draws of people; seeds of the folds are counted from its seed.
        limits: Bounds.
    """
    found = classified_rows(labels, subjects, bootstrap.seed, limits)
    if isinstance(found, NotMeasurable):
        return found
    use, left_out = found
    truth, people = labels[use], Groups.of(subjects[use])
    sets = {ORIGINAL: originals[use], NORMALIZED: normalized[use]}
    repeated = [
        predictions(sets, _ARMS, truth, subject_folds(people, limits.folds, bootstrap.seed + seed))
        for seed in range(limits.seeds)
    ]
    by_arm = {arm: [each[arm] for each in repeated] for arm in _ARMS}
    arms, contrasts = judged(truth, by_arm, _CONTRASTS, people, bootstrap)
    classes = {str(name): int(count) for name, count in zip(*np.unique(truth, return_counts=True), strict=True)}
    missing = int((~finite_rows(normalized[use])).sum())
    return Classification(arms, contrasts, classes, left_out, missing)


def classified_rows(
    labels: Names, subjects: Names, seed: int, limits: ClassifierLimits
) -> tuple[Indices, dict[str, int]] | NotMeasurable:
    """Numbers of the rows that are classified, and the rows left out by class: of classes with fewer people than folds.

    Args:
        labels: (n,); rows of unknown label or subject take no part.
        subjects: (n,).
        seed: Of the choice of rows where there are more than the limit.
        limits: Bounds.
    """
    known = np.flatnonzero((labels != UNKNOWN) & (subjects != UNKNOWN))
    if not len(known):
        return NotMeasurable(Why.NO_LABELS, "no row has a label and a subject")
    known = known[sampled_rows(Groups.of(subjects[known]), limits.rows, seed)]
    every = Groups.of(labels[known])
    people_of_class = np.array([len(np.unique(subjects[known][every.index == number])) for number in range(len(every))])
    enough = people_of_class >= limits.folds
    left_out = {str(name): int(count) for name, count in zip(every.names[~enough], every.counts[~enough], strict=True)}
    if enough.sum() < 2:
        kinds = f"{int(enough.sum())} of {len(every)} classes have {limits.folds} people or more, 2 are needed"
        return NotMeasurable(Why.ONE_CLASS, kinds)
    return known[enough[every.index]], left_out


def predictions(
    sets: Mapping[str, Floats], arms: Mapping[str, Sequence[str]], labels: Names, fold: Indices
) -> dict[str, Names]:
    """Out-of-fold predictions of each arm.

    Args:
        sets: (n, d) features by name of the image set, NaN rows where there is no image.
        arms: Names of the sets that an arm joins, by concatenating their components.
        labels: (n,) classes.
        fold: (n,) from `crossfit.subject_folds`.

    Returns:
        (n,) predicted classes by arm.
    """
    predicted = {arm: np.empty(len(labels), labels.dtype) for arm in arms}
    present = {name: finite_rows(values) for name, values in sets.items()}
    with threadpool_limits(1):
        for held_out in np.unique(fold):
            train = np.asarray(fold != held_out)
            reduced = {name: _components(values, present[name], train) for name, values in sets.items()}
            for arm, names in arms.items():
                joined = np.concatenate([reduced[name] for name in names], axis=1)
                joined = StandardScaler().fit(joined[train]).transform(joined)
                model = plain_model().fit(joined[train], labels[train])
                predicted[arm][~train] = model.predict(joined[~train])
    return predicted


def plain_model() -> LogisticRegression:
    """The linear part of the plain classifier, not fitted."""
    return LogisticRegression(C=0.003, class_weight="balanced", max_iter=500)


def judged(
    truth: Names,
    predicted: Mapping[str, Sequence[Names]],
    contrasts: Sequence[tuple[str, str]],
    people: Groups,
    bootstrap: Bootstrap,
) -> tuple[dict[str, Scores], list[Contrast]]:
    """Scores of arms and of their differences, each with its interval over people.

    Args:
        truth: (n,) classes.
        predicted: (n,) classes of each repetition, by arm.
        contrasts: (arm, minus) to compare.
        people: People of the rows.
        bootstrap: Draws; a class that a draw of people does not have is left out of its mean.
    """
    statistics = {arm: score_statistic(truth, each, people) for arm, each in predicted.items()}
    place = {arm: number for number, arm in enumerate(statistics)}

    def statistic(drawn: Doubles) -> Doubles:
        """Two values for each arm, then for each contrast."""
        values = np.stack([each(drawn) for each in statistics.values()])
        gaps = [values[place[arm]] - values[place[minus]] for arm, minus in contrasts]
        return np.concatenate([values, *(gap[None] for gap in gaps)]).ravel()

    found = measured(statistic, len(people), bootstrap)
    pairs = [Scores(*found[start : start + 2]) for start in range(0, len(found), 2)]
    arms = dict(zip(statistics, pairs[: len(statistics)], strict=True))
    return arms, [Contrast(*names, scores) for names, scores in zip(contrasts, pairs[len(statistics) :], strict=True)]


def score_statistic(truth: Names, predicted: Sequence[Names], people: Groups) -> Statistic:
    """Macro-F1 and balanced accuracy, (2,), means over the repetitions, of weights of people.

    Args:
        truth: (n,) classes.
        predicted: (n,) classes of each repetition.
        people: People of the rows.
    """
    table = _counts(truth, predicted, people)
    return lambda drawn: _scores(table, drawn)


def _components(values: Floats, present: Mask, train: Mask) -> Floats:
    """(n, c) components fitted on the training rows; 0, their mean, where there is no image."""
    seen = present & train
    if seen.sum() < 2:
        return np.zeros((len(values), 1), np.float32)
    pca = fit_components(values[seen], COMPONENTS)
    reduced = np.zeros((len(values), pca.n_components_), np.float32)
    reduced[present] = pca.transform(values[present])
    return reduced


def _counts(truth: Names, predicted: Sequence[Names], people: Groups) -> Doubles:
    """(people, repetitions, classes, 3): true positives, predicted, actual."""
    classes = np.unique(truth)
    table = np.zeros((len(people), len(predicted), len(classes), 3))
    for repetition, labels in enumerate(predicted):
        for number, name in enumerate(classes):
            for slot, hits in enumerate(((labels == name) & (truth == name), labels == name, truth == name)):
                table[:, repetition, number, slot] = np.bincount(people.index[hits], minlength=len(people))
    return table


def _scores(table: Doubles, drawn: Doubles) -> Doubles:
    """(2,) macro-F1 and balanced accuracy, means over repetitions, over the classes that the draw has."""
    total = np.tensordot(drawn, table, axes=1)
    total = total[:, total[0, :, 2] > 0]
    f1 = 2 * total[..., 0] / (total[..., 1] + total[..., 2])
    return np.array([f1.mean(), (total[..., 0] / total[..., 2]).mean()])
