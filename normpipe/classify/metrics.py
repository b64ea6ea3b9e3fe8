"""The metrics of each task, as functions of how often each person is drawn: sums per person are taken once, before the draws.

Labels are judged one by one over the rows that are annotated with them. A label whose rows are all of one class cannot be
judged and is NaN, never 0: a mean over labels would else depend on which labels a fold happens to have. Row weights are of the
training and play no part here.

F1 at a fixed threshold moves with how often a label occurs; AUC and the F1 of equally many rows with and without it do not.
Sources: Shrout and Fleiss, Intraclass correlations, Psychological Bulletin 86, 1979 (ICC(3,1)); Lin, A concordance correlation
coefficient, Biometrics 45, 1989; Jeni, Cohn, De la Torre, Facing imbalanced data, ACII 2013 (F1 of balanced classes).
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from normpipe.audit.groups import Doubles, Floats, Groups, Mask
from normpipe.audit.intervals import Statistic
from normpipe.classify.labels import LabelSpace, Targets, Task

THRESHOLD = 0.5
"""Of the probability from which an action unit counts as found. Chosen on nothing, so it flatters no one."""

_NO_VARIANCE = 1e-10


class Metric(StrEnum):
    """What is measured of a label.

    Attributes:
        F1: Harmonic mean of precision and recall, 0 to 1; over emotions its mean is the macro-F1.
        BALANCED_F1: F1 as it were if the label stood in half of the rows.
        AUC: Area under the ROC curve, 0.5 is chance; ties count half.
        ACCURACY: Share of rows that are right; of emotions over all classes at once.
        BALANCED_ACCURACY: Mean recall of presence and absence; of an emotion its recall, whose mean is the balanced accuracy.
        ICC: ICC(3,1) of label and prediction as two raters, at most 1.
        PCC: Pearson correlation; 0 where the prediction does not vary.
        CCC: Lin's concordance correlation.
        MSE: Mean squared error, in squared units of the label.
        MAE: Mean absolute error, in units of the label.
    """

    F1 = "f1"
    BALANCED_F1 = "balanced_f1"
    AUC = "auc"
    ACCURACY = "accuracy"
    BALANCED_ACCURACY = "balanced_accuracy"
    ICC = "icc"
    PCC = "pcc"
    CCC = "ccc"
    MSE = "mse"
    MAE = "mae"


_AGREEMENT = (Metric.ICC, Metric.PCC, Metric.CCC, Metric.MSE, Metric.MAE)
METRICS = {
    Task.EMOTION: (Metric.F1, Metric.ACCURACY, Metric.BALANCED_ACCURACY),
    Task.AU: (Metric.F1, Metric.BALANCED_F1, Metric.AUC, Metric.ACCURACY, Metric.BALANCED_ACCURACY),
    Task.AU_INTENSITY: _AGREEMENT,
    Task.VALENCE_AROUSAL: _AGREEMENT,
}
"""Metrics of each task, in the order of the statistic's rows."""


def metric_statistic(space: LabelSpace, predicted: Floats, truth: Targets, people: Groups, threshold: float) -> Statistic:
    """All metrics of a task.

    Args:
        space: Task and names of the C labels.
        predicted: (n, C) probabilities of action units; scores of emotions, the highest is said; else in units of the label.
        truth: n rows.
        people: Whose the rows are.
        threshold: Of probabilities: from it on, a unit is found.

    Returns:
        From (people,) weights to (metrics, C + 1): METRICS of each label, then what they are over all labels, their mean or,
        of emotions, the accuracy. NaN without a row, where a label is of one class, and in the accuracy of single emotions.
    """
    match space.task:
        case Task.EMOTION:
            return _emotions(space, predicted, truth, people)
        case Task.AU:
            return _detection(predicted, truth, people, threshold)
        case Task.AU_INTENSITY | Task.VALENCE_AROUSAL:
            return _agreement(predicted, truth, people)


def confusion(space: LabelSpace, predicted: Floats, truth: Targets) -> NDArray[np.int64]:
    """(C, C) annotated rows by emotion as labelled (rows) and as predicted (columns)."""
    everyone = Groups.of(np.zeros(len(truth), np.str_))
    table = _confusions(space, predicted, truth, everyone)
    return np.asarray(table.sum(axis=0), np.int64)


def mean_of_known(values: Doubles, axis: int) -> Doubles:
    """Mean of what is not NaN; NaN where nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis=axis) / known.sum(axis=axis))


def _detection(predicted: Floats, truth: Targets, people: Groups, threshold: float) -> Statistic:
    found, present = predicted >= threshold, truth.values > 0
    counts = [found & present, found & ~present, ~found & present, ~found & ~present]
    table = np.stack([people.sums((each & truth.known).astype(np.float64)) for each in counts])
    with_label, without = present & truth.known, ~present & truth.known
    wins = [_wins(*label, people) for label in zip(predicted.T, with_label.T, without.T, strict=True)]

    def statistic(drawn: Doubles) -> Doubles:
        true, false, missed, rest = drawn @ table
        with np.errstate(invalid="ignore"):
            recall, alarms = true / (true + missed), false / (false + rest)
            pairs = (true + missed) * (false + rest)
            labels = np.stack(
                [
                    2 * true / (2 * true + false + missed),
                    2 * recall / (1 + recall + alarms),
                    np.array([drawn @ each @ drawn for each in wins]) / pairs,
                    (true + rest) / (true + false + missed + rest),
                    (recall + 1 - alarms) / 2,
                ]
            )
        return _with_mean(np.where(pairs > 0, labels, np.nan))

    return statistic


def _wins(scores: Floats, with_label: Mask, without: Mask, people: Groups) -> Doubles:
    """(p, p) pairs of a row with the label, of one person, and a row without it, of another, in which the first scores higher.

    Ties count half. Weights of people times this times weights of people is the numerator of the AUC of every draw.
    """
    heights, place = np.unique(scores, return_inverse=True)
    wins = np.zeros((len(people), len(people)))
    for number in range(len(people)):
        own = np.bincount(place[without & (people.index == number)], minlength=len(heights))
        below = np.cumsum(own) - own / 2
        wins[:, number] = np.bincount(people.index[with_label], below[place[with_label]], len(people))
    return wins


def _emotions(space: LabelSpace, predicted: Floats, truth: Targets, people: Groups) -> Statistic:
    table = _confusions(space, predicted, truth, people)

    def statistic(drawn: Doubles) -> Doubles:
        counts = np.tensordot(drawn, table, axes=1)
        right, labelled, said = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
        total = labelled.sum()
        with np.errstate(invalid="ignore", divide="ignore"):
            f1, recall, accuracy = 2 * right / (labelled + said), right / labelled, right.sum() / total
        judged = (labelled > 0) & (labelled < total)
        values = _with_mean(np.where(judged, np.stack([f1, np.full_like(f1, np.nan), recall]), np.nan))
        values[1, -1] = accuracy
        return values

    return statistic


def _confusions(space: LabelSpace, predicted: Floats, truth: Targets, people: Groups) -> Doubles:
    """(p, C, C) rows by person, emotion as labelled and emotion as predicted."""
    rows, size = truth.known.all(axis=1), len(space)
    cell = (people.index * size + truth.values.argmax(axis=1)) * size + predicted.argmax(axis=1)
    return np.bincount(cell[rows], minlength=len(people) * size**2).reshape(-1, size, size).astype(np.float64)


def _agreement(predicted: Floats, truth: Targets, people: Groups) -> Statistic:
    one, two = (np.where(truth.known, each, 0).astype(np.float64) for each in (predicted, truth.values))
    products = (truth.known.astype(np.float64), one, two, one * one, one * two, two * two, np.abs(one - two))
    table = np.stack([people.sums(each) for each in products])

    def statistic(drawn: Doubles) -> Doubles:
        rows, *sums = drawn @ table
        with np.errstate(invalid="ignore", divide="ignore"):
            mean_one, mean_two, square_one, product, square_two, gap = (each / rows for each in sums)
            variance_one = np.maximum(square_one - mean_one**2, 0)
            variance_two = np.maximum(square_two - mean_two**2, 0)
            joint, total = product - mean_one * mean_two, variance_one + variance_two
            # With two raters, MS_subjects and MS_error are half the variances of sum and difference: ICC(3,1) is this quotient.
            icc = 2 * joint / total
            pcc = np.where(variance_one > _NO_VARIANCE, joint / np.sqrt(variance_one * variance_two), 0)
            ccc = 2 * joint / (total + (mean_one - mean_two) ** 2)
        relations = np.where(variance_two > _NO_VARIANCE, np.stack([icc, pcc, ccc]), np.nan)
        errors = np.stack([np.maximum(square_one - 2 * product + square_two, 0), gap])
        return _with_mean(np.concatenate([relations, errors]))

    return statistic


def _with_mean(labels: Doubles) -> Doubles:
    """(metrics, C + 1): the labels and the mean of those that have a value."""
    return np.concatenate([labels, mean_of_known(labels, axis=1)[:, None]], axis=1)
