"""What a classifier's predictions are worth: metrics with intervals over people, and what one classifier has over another.

People are drawn with replacement, their rows move together, and two classifiers are compared on the same draws. Where rows are
tested by several folds, each fold is judged for itself and the folds' mean is the figure, as in the published protocols.
Predictions of several trainings (seeds) of the same folds count as one classifier: the figure is the mean over them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from normpipe.audit.document import rounded
from normpipe.audit.figures import Json, document
from normpipe.audit.groups import Doubles, Floats, Groups, Indices, Mask, Names
from normpipe.audit.intervals import FEWEST_PEOPLE, Bootstrap, Statistic, percentiles, resampled
from normpipe.classify.labels import LabelSpace, Targets, Task
from normpipe.classify.metrics import METRICS, THRESHOLD, Metric, confusion, mean_of_known, metric_statistic
from normpipe.errors import NormpipeError

WHOLE = "all"
"""Name of the fold where rows are not judged by folds."""

_SAME = 1e-12
"""Differences apart by less are the same: the order of sums differs."""

_MOST_PEOPLE = 500
"""More are drawn in so many random groups, which are as independent as they are; it bounds memory, not what is measured."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure.

    Attributes:
        value: As observed.
        low: Lower end of its 95 % interval over people; None with fewer than FEWEST_PEOPLE, or if most draws have no value.
        high: Upper end.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """One metric.

    Attributes:
        overall: Mean over the labels that have a value; of emotions' accuracy, the share of right rows. None if there is none.
        by_label: Each label's, None where it cannot be measured in any fold; empty for the accuracy of emotions.
        unmeasured: Names of labels, with the folds in which they are not measured: of one class there, or without a known row.
    """

    overall: Estimate | None
    by_label: dict[str, Estimate | None]
    unmeasured: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What predictions are worth.

    Attributes:
        task: What was predicted.
        threshold: From which an action unit counts as found; None for other tasks.
        rows: Rows with a known label.
        people: Whose they are.
        folds: Names of the folds averaged over.
        known: Annotated rows of each label.
        positive: Of these, how many have the action unit or emotion; empty for other tasks.
        scores: By metric.
        confusion: Of emotions: rows as labelled, columns as predicted, in the order of `known`; each repetition counts.
    """

    task: Task
    threshold: float | None
    rows: int
    people: int
    folds: tuple[str, ...]
    known: dict[str, int]
    positive: dict[str, int]
    scores: dict[Metric, Score]
    confusion: tuple[tuple[int, ...], ...] | None


@dataclass(frozen=True, slots=True)
class Judged:
    """The rows that predictions are judged on.

    Attributes:
        truth: Labels of the n rows.
        units: (n,) names of who or what is independent: people, or single rows where no person is known.
        folds: (n,) name of the fold that tests each row; None to judge all rows at once.
    """

    truth: Targets
    units: Names
    folds: Names | None = None


def evaluate(
    space: LabelSpace,
    predictions: Sequence[Floats],
    judged: Judged,
    *,
    threshold: float = THRESHOLD,
    bootstrap: Bootstrap | None = None,
) -> Evaluation:
    """Judge predictions.

    Args:
        space: Task and labels.
        predictions: (n, C) of each repetition, see `metric_statistic`.
        judged: n rows, at least one.
        threshold: For action units.
        bootstrap: Draws of people; None for no intervals.

    Raises:
        NormpipeError: a prediction is not a finite number.
    """
    people, truth = _people(judged.units, bootstrap), judged.truth
    statistic = _statistic(space, predictions, judged, people, threshold)
    known = {name: int(count) for name, count in zip(space.names, truth.known.sum(axis=0), strict=True)}
    sums = (truth.values > 0).sum(axis=0, where=truth.known)
    emotions, units = space.task is Task.EMOTION, space.task is Task.AU
    counts = sum(confusion(space, each, truth) for each in predictions) if emotions else None
    rows = truth.known.any(axis=1)
    return Evaluation(
        task=space.task,
        threshold=threshold if units else None,
        rows=int(rows.sum()),
        people=len(np.unique(judged.units[rows])),
        folds=_fold_names(judged),
        known=known,
        positive={name: int(count) for name, count in zip(space.names, sums, strict=True)} if emotions or units else {},
        scores=_scores(space, statistic, judged, people, bootstrap),
        confusion=tuple(tuple(row) for row in counts.tolist()) if isinstance(counts, np.ndarray) else None,
    )


def differences(
    space: LabelSpace,
    predictions: Sequence[Floats],
    minus: Sequence[Floats],
    judged: Judged,
    *,
    threshold: float = THRESHOLD,
    bootstrap: Bootstrap | None = None,
) -> dict[Metric, Score]:
    """What one classifier has over another, in every metric: values and intervals of the difference on the same draws.

    Args:
        space: Task and labels.
        predictions: (n, C) of each repetition of the one.
        minus: (n, C) of each repetition of the other, as many or not.
        judged: n rows, at least one.
        threshold: For action units.
        bootstrap: Draws of people; None for no intervals.

    Raises:
        NormpipeError: a prediction is not a finite number.
    """
    people = _people(judged.units, bootstrap)
    one, other = (_statistic(space, each, judged, people, threshold) for each in (predictions, minus))
    return _scores(space, lambda drawn: one(drawn) - other(drawn), judged, people, bootstrap)


def exchange_test(
    space: LabelSpace,
    predictions: Sequence[Floats],
    minus: Sequence[Floats],
    judged: Judged,
    *,
    threshold: float = THRESHOLD,
    bootstrap: Bootstrap,
) -> dict[Metric, float | None]:
    """How often chance alone makes a difference as large as that of two classifiers, in the mean over labels of each metric.

    If it made no difference which of the two said what, then it would make none to exchange them for some people: the share of
    random exchanges that make a difference as large, to either side, is the p value. Unlike an interval it does not ask how
    another sample of people would come out, but whether these could come out so.

    Args:
        space: Task and labels.
        predictions: (n, C) of each repetition of the one.
        minus: (n, C) of each repetition of the other; where one has a single repetition, that stands for all.
        judged: n rows, at least one.
        threshold: For action units.
        bootstrap: How many exchanges, and their seed.

    Returns:
        0 to 1, at least 1 / (draws + 1); None where the metric cannot be measured.

    Raises:
        NormpipeError: a prediction is not a finite number.

    Source: Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005, section 3.7 (matched pairs).
    """
    people = _people(judged.units, None)
    doubled = Judged(
        Targets(*(np.concatenate([each, each]) for each in (judged.truth.values, judged.truth.known, judged.truth.weights))),
        np.concatenate([np.char.add(side, people.index.astype(np.str_)) for side in ("a", "b")]),
        None if judged.folds is None else np.concatenate([judged.folds, judged.folds]),
    )
    repetitions = max(len(predictions), len(minus))
    one, other = (list(each) * (repetitions if len(each) == 1 else 1) for each in (predictions, minus))
    stacked = [np.concatenate([first, second]) for first, second in zip(one, other, strict=True)]
    groups = Groups.of(doubled.units)
    statistic = _statistic(space, stacked, doubled, groups, threshold)
    side = np.array([name[0] == "b" for name in groups.names])
    person = np.array([int(name[1:]) for name in groups.names])

    def difference(exchanged: Mask) -> Doubles:
        ours = side == exchanged[person]
        return (statistic(ours.astype(np.float64)) - statistic((~ours).astype(np.float64)))[:, -1]

    random = np.random.default_rng(bootstrap.seed)
    with threadpool_limits(1):
        observed = difference(np.zeros(len(people), np.bool_))
        drawn = np.stack([difference(random.random(len(people)) < 0.5) for _ in range(bootstrap.draws)])
    as_large = (np.abs(drawn) >= np.abs(observed) - _SAME).sum(axis=0)
    return {
        metric: float((count + 1) / (bootstrap.draws + 1)) if np.isfinite(value) else None
        for metric, value, count in zip(METRICS[space.task], observed, as_large, strict=True)
    }


def holm(values: Sequence[float]) -> list[float]:
    """Chances (p values) of several comparisons at once, in their order: in 19 of 20 such sets none is below 0.05 by chance.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.
    """
    found, highest = [0.0] * len(values), 0.0
    for place, number in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - place) * values[number]))
        found[number] = highest
    return found


def score_json(found: Evaluation | dict[Metric, Score]) -> Json:
    """An evaluation or differences as JSON, numbers rounded to six decimals; what cannot be measured is null."""
    return rounded(document(found))


def _people(units: Names, bootstrap: Bootstrap | None) -> Groups:
    """Whom draws take: the units, or random groups of them."""
    people = Groups.of(units)
    if len(people) <= _MOST_PEOPLE:
        return people
    dealt = np.random.default_rng(bootstrap.seed if bootstrap else 0).permutation(len(people)) % _MOST_PEOPLE
    return Groups.of(dealt[people.index].astype(np.str_))


def _fold_names(judged: Judged) -> tuple[str, ...]:
    return (WHOLE,) if judged.folds is None else tuple(str(name) for name in np.unique(judged.folds))


def _fold_rows(judged: Judged) -> list[Indices]:
    """Rows of each fold, in the order of `_fold_names`."""
    if judged.folds is None:
        return [np.arange(len(judged.truth))]
    return [np.flatnonzero(judged.folds == name) for name in np.unique(judged.folds)]


def _statistic(space: LabelSpace, predictions: Sequence[Floats], judged: Judged, people: Groups, threshold: float) -> Statistic:
    """As `metric_statistic`, the mean over repetitions and folds; the mean over labels is taken last."""
    for each in predictions:
        assert each.shape == judged.truth.values.shape, "predictions are (n, C)"
        wrong = int((~np.isfinite(each)).any(axis=1).sum())
        if wrong:
            raise NormpipeError(f"predictions of {wrong} rows are no finite numbers: the training has diverged; lower its rate")
    parts = []
    for rows in _fold_rows(judged):
        own = Groups.of(people.names[people.index[rows]])
        truth = judged.truth.taken(rows)
        found = [metric_statistic(space, each[rows], truth, own, threshold) for each in predictions]
        parts.append((np.flatnonzero(np.isin(people.names, own.names)), found))

    def statistic(drawn: Doubles) -> Doubles:
        repeated = [np.stack([each(drawn[drawn_from]) for each in found]) for drawn_from, found in parts]
        values = mean_of_known(np.stack([mean_of_known(each, axis=0) for each in repeated]), axis=0)
        mean = mean_of_known(values[:, :-1], axis=1)
        values[:, -1] = np.where(np.isfinite(mean), mean, values[:, -1])
        return values

    return statistic


def _scores(
    space: LabelSpace, statistic: Statistic, judged: Judged, people: Groups, bootstrap: Bootstrap | None
) -> dict[Metric, Score]:
    if bootstrap is None or len(people) < FEWEST_PEOPLE:
        values = statistic(np.ones(len(people)))[None]
    else:
        values = resampled(statistic, len(people), bootstrap)
    scores: dict[Metric, Score] = {}
    for number, metric in enumerate(METRICS[space.task]):
        *labels, overall = (_estimate(column) for column in values[:, number].T)
        if space.task is Task.EMOTION and metric is Metric.ACCURACY:
            scores[metric] = Score(overall, {}, {})
        else:
            scores[metric] = Score(overall, dict(zip(space.names, labels, strict=True)), _unmeasured(space, metric, judged))
    return scores


def _estimate(values: Doubles) -> Estimate | None:
    """The figure of (1 + draws,) values, the first as observed."""
    value, drawn = float(values[0]), values[1:]
    if not np.isfinite(value):
        return None
    if not len(drawn) or np.isfinite(drawn).mean() < 0.5:
        return Estimate(value, None, None)
    return Estimate(value, *percentiles(drawn))


def _unmeasured(space: LabelSpace, metric: Metric, judged: Judged) -> dict[str, tuple[str, ...]]:
    """Folds in which a label has no row, or of an error's size apart, one value only; by label."""
    found: dict[str, list[str]] = {}
    for fold, rows in zip(_fold_names(judged), _fold_rows(judged), strict=True):
        truth = judged.truth.taken(rows)
        for name, values, known in zip(space.names, truth.values.T, truth.known.T, strict=True):
            rated = values[known]
            measured = len(rated) > 0 and (metric in {Metric.MSE, Metric.MAE} or rated.min() < rated.max())
            if not measured:
                found.setdefault(name, []).append(fold)
    return {name: tuple(folds) for name, folds in found.items()}
