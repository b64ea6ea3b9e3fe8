"""Is the normalized image a face, or a code of its label?

A normalizer that draws one fixed face per class has no person in it and is classified without error: AUC 0.5 and F1 1.0. What
gives it away is that nothing moves within a class. A milder form adds label knowledge to what the source shows; then the label
explains more of the normalized image than of the source, given what another instrument saw of the source.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from normpipe.audit.crossfit import Folds, standardized
from normpipe.audit.expression import own_names
from normpipe.audit.figures import Figure, Measured, NotMeasurable, Why
from normpipe.audit.groups import UNKNOWN, Doubles, Floats, Groups, Mask, Names, finite_rows
from normpipe.audit.intervals import Bootstrap, measured
from normpipe.audit.moments import Agreement, Moments, within_weights

FOLLOWS = 0.2
"""Correlation within classes above which the expression is taken to be followed."""

SHOWS = 0.05
"""Share of variance explained by the label above which the classes are taken to differ."""

FOLDS = 5

SURPLUS = 0.1
"""Share of variance that a label may add beyond the source: an honest renderer averages noise away, which adds some."""


class Verdict(StrEnum):
    """What the within-class figures say."""

    EXPRESSION_KEPT = "expression_kept"
    LABEL_ONLY_CODE = "label_only_code"
    EXPRESSION_LOST = "expression_lost"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class LabelCode:
    """Expression within and between classes.

    Attributes:
        within_class: Agreement of deviations from the mean of the class.
        within_person_and_class: Of deviations from the person's own mean in the class: no trait of the person can help.
        label_share_original: Share of the variance of the originals' measurements that the label explains, cross-validated
            over people.
        label_share: The same of the normalized images; near 1 for a code of the label.
        verdict: Label-only code: the label shows, and nothing is kept within a class.
        rows: Rows with label and both measurements.
    """

    within_class: Agreement | NotMeasurable
    within_person_and_class: Agreement | NotMeasurable
    label_share_original: Measured
    label_share: Measured
    verdict: Verdict
    rows: int


@dataclass(frozen=True, slots=True)
class LabelSurplus:
    """Label knowledge beyond what the source shows.

    Attributes:
        of_source: Share of the variance of the source's measurement that the label adds to the evidence.
        of_normalized: The same of the normalized image's.
        surplus: The second minus the first.
        suspected: Whether the surplus is above SURPLUS with its whole interval.
        rows: Rows with label and all measurements.
    """

    of_source: Measured
    of_normalized: Measured
    surplus: Measured
    suspected: bool
    rows: int


def label_code(
    original: Floats, normalized: Floats, labels: Names, subjects: Names, bootstrap: Bootstrap
) -> LabelCode | NotMeasurable:
    """Tell a code of the label from expression.

    Args:
        original: (n, k) measured expression, about 10 to 50 columns (blendshapes, distances of landmarks); NaN: no face.
        normalized: (n, k) the same of the normalized images.
        labels: (n,).
        subjects: (n,); rows of unknown people are people of their own.
        bootstrap: Draws of people.
    """
    use = _usable(labels, original, normalized)
    classes = Groups.of(labels[use])
    if len(classes) < 2:
        return _no_classes(len(classes))
    first, second = original[use], normalized[use]
    people = Groups.of(own_names(subjects)[use])
    if len(people) < 2 * FOLDS:
        return _few_people(len(people))
    within = Moments.of(classes.centred(first), classes.centred(second), people.share, people)
    cells = Groups.of(np.char.add(np.char.add(people.names[people.index], "\0"), labels[use]))
    own = Moments.of(cells.centred(first), cells.centred(second), within_weights(cells.index, people), people)
    kept = within.agreement(bootstrap)
    alone = own.weights.sum() <= 0
    kept_own = (
        NotMeasurable(Why.ONE_IMAGE_PER_SUBJECT, "no person has two images of a class")
        if alone
        else _of_weighed_people(own).agreement(bootstrap)
    )
    split = Folds.of(people, people.share, folds=FOLDS, seed=bootstrap.seed)
    before, after = (_label_share(values, classes, split, bootstrap) for values in (first, second))
    return LabelCode(kept, kept_own, before, after, _verdict(kept, after), int(use.sum()))


def label_surplus(
    evidence: Floats,
    original: Floats,
    normalized: Floats,
    labels: Names,
    subjects: Names,
    bootstrap: Bootstrap,
) -> LabelSurplus | NotMeasurable:
    """Whether the normalized image knows more of the label than its source shows.

    Args:
        evidence: (n, a) what one instrument saw of the source, e.g. distances of landmarks.
        original: (n, k) what another instrument saw of the source, e.g. blendshapes.
        normalized: (n, k) the same of the normalized image.
        labels: (n,).
        subjects: (n,); rows of unknown people are people of their own.
        bootstrap: Draws of people; its seed deals people into folds.
    """
    use = _usable(labels, evidence, original, normalized)
    classes = Groups.of(labels[use])
    if len(classes) < 2:
        return _no_classes(len(classes))
    people = Groups.of(own_names(subjects)[use])
    if len(people) < 2 * FOLDS:
        return _few_people(len(people))
    split = Folds.of(people, people.share, folds=FOLDS, seed=bootstrap.seed)
    seen = evidence[use].astype(np.float64)
    told = np.concatenate([seen, np.eye(len(classes))[classes.index]], axis=1)
    errors = []
    for values in (original, normalized):
        targets = standardized(values[use].astype(np.float64), people.share)
        if not targets.shape[1]:
            return NotMeasurable(Why.NO_VARIATION, "a measurement does not vary")
        errors.append([split.errors(inputs, targets) for inputs in (seen[:, :0], seen, told)])

    def statistic(drawn: Doubles) -> Doubles:
        """(3,)."""
        source, after = ((drawn @ without - drawn @ with_label) / (drawn @ base) for base, without, with_label in errors)
        return np.array([source, after, after - source])

    source, after, surplus = measured(statistic, len(people), bootstrap)
    suspected = isinstance(surplus, Figure) and surplus.low > SURPLUS
    return LabelSurplus(source, after, surplus, suspected, int(use.sum()))


def _usable(labels: Names, *measurements: Floats) -> Mask:
    mask = np.asarray(labels != UNKNOWN)
    for values in measurements:
        mask &= finite_rows(values)
    return mask


def _no_classes(found: int) -> NotMeasurable:
    if not found:
        return NotMeasurable(Why.NO_LABELS, "no row with a face has a label")
    return NotMeasurable(Why.ONE_CLASS, "all rows with a face have one label")


def _few_people(found: int) -> NotMeasurable:
    return NotMeasurable(Why.TOO_FEW_SUBJECTS, f"{found} people, {2 * FOLDS} are needed for {FOLDS} folds")


def _of_weighed_people(sums: Moments) -> Moments:
    """Without the people whose rows weigh nothing."""
    there = sums.weights > 0
    return Moments(sums.sums[there], sums.weights[there], sums.rows)


def _label_share(values: Floats, classes: Groups, split: Folds, bootstrap: Bootstrap) -> Measured:
    """Share of the variance of (n, k) measurements that the class explains about people the fit has not seen."""
    targets = standardized(values.astype(np.float64), split.weights)
    if not targets.shape[1]:
        return NotMeasurable(Why.NO_VARIATION, "the measurement does not vary")
    told = np.eye(len(classes))[classes.index]
    base, left = (split.errors(inputs, targets) for inputs in (told[:, :0], told))
    (share,) = measured(lambda drawn: np.array([1 - drawn @ left / (drawn @ base)]), len(base), bootstrap)
    return share


def _verdict(within: Agreement | NotMeasurable, share: Measured) -> Verdict:
    if isinstance(within, NotMeasurable) or not isinstance(within.correlation, Figure):
        return Verdict.UNDECIDED
    if within.correlation.low > FOLLOWS:
        return Verdict.EXPRESSION_KEPT
    if within.correlation.high > FOLLOWS:
        return Verdict.UNDECIDED
    shows = isinstance(share, Figure) and share.low > SHOWS
    return Verdict.LABEL_ONLY_CODE if shows else Verdict.EXPRESSION_LOST
