"""Evaluations: intervals over people, means over folds and repetitions, paired differences, and what is not measured."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.audit.intervals import Bootstrap
from normpipe.classify.labels import LabelSpace, Targets, Task
from normpipe.classify.metrics import METRICS, Metric
from normpipe.classify.scores import Estimate, Judged, Score, differences, evaluate, exchange_test, holm, score_json
from normpipe.errors import NormpipeError
from tests.classify.factories import known_targets

UNITS = LabelSpace(Task.AU, ("AU01", "AU12"))
STRENGTHS = LabelSpace(Task.AU_INTENSITY, ("AU12",))
FEELINGS = LabelSpace(Task.EMOTION, ("neutral", "happiness"))
FEW = Bootstrap(draws=100, seed=0)


def people(count: int, rows: int) -> np.ndarray:
    """Names of so many people with so many rows each."""
    return np.char.add("p", np.repeat(np.arange(count), rows).astype(str))


def detected(count: int = 8, rows: int = 20, seed: int = 0) -> tuple[Judged, np.ndarray]:
    """Units that are found more often than not, and more easily on some people."""
    random = np.random.default_rng(seed)
    units = people(count, rows)
    values = (random.random((len(units), 2)) < 0.4).astype(np.float32)
    skill = np.repeat(random.random((count, 1)), rows, axis=0)
    scores = (0.5 * skill * values + 0.7 * random.random(values.shape)).astype(np.float32)
    return Judged(known_targets(values, np.ones_like(values, bool)), units), np.clip(scores, 0, 1)


def estimate(score: Score, label: str | None = None) -> Estimate:
    found = score.overall if label is None else score.by_label[label]
    assert found is not None
    return found


def test_every_metric_of_the_task_has_its_interval_around_it():
    judged, scores = detected()
    found = evaluate(UNITS, [scores], judged, bootstrap=FEW)
    assert tuple(found.scores) == METRICS[Task.AU]
    for score in found.scores.values():
        for each in (score.overall, *score.by_label.values()):
            assert each.low < each.value < each.high
        assert score.unmeasured == {}
    assert (found.rows, found.people, found.folds, found.threshold) == (160, 8, ("all",), 0.5)
    assert found.positive == {name: int(judged.truth.values[:, place].sum()) for place, name in enumerate(UNITS.names)}


def test_people_are_drawn_and_not_rows():
    """A person's rows are copies of each other: more of them say nothing new."""
    judged, scores = detected(rows=5)
    copies = np.repeat(np.arange(len(scores)), 20)
    often = Judged(judged.truth.taken(copies), judged.units[copies])
    one = estimate(evaluate(UNITS, [scores], judged, bootstrap=FEW).scores[Metric.F1])
    assert estimate(evaluate(UNITS, [scores[copies]], often, bootstrap=FEW).scores[Metric.F1]) == one
    alone = Judged(often.truth, np.arange(len(copies)).astype(str))
    narrow = estimate(evaluate(UNITS, [scores[copies]], alone, bootstrap=FEW).scores[Metric.F1])
    assert narrow.high - narrow.low < 0.5 * (one.high - one.low)


def test_more_people_than_are_drawn_one_by_one_have_the_same_values_and_an_interval():
    judged, scores = detected(count=1200, rows=2)
    found = evaluate(UNITS, [scores], judged, bootstrap=Bootstrap(draws=20))
    plain = evaluate(UNITS, [scores], judged)
    assert found.people == 1200
    for metric, score in found.scores.items():
        assert estimate(score).value == pytest.approx(estimate(plain.scores[metric]).value)
        assert estimate(score).low < estimate(score).value < estimate(score).high


@pytest.mark.parametrize(("count", "bootstrap"), [(4, FEW), (8, None), (8, Bootstrap(draws=0))])
def test_with_few_people_or_no_draws_there_is_a_value_without_an_interval(count, bootstrap):
    judged, scores = detected(count=count)
    found = estimate(evaluate(UNITS, [scores], judged, bootstrap=bootstrap).scores[Metric.F1])
    assert 0 < found.value < 1
    assert (found.low, found.high) == (None, None)


def test_folds_are_judged_one_by_one_and_averaged():
    judged, scores = detected()
    folds = np.where(np.arange(len(scores)) < 60, "fold1", "fold2")
    by_folds = evaluate(UNITS, [scores], Judged(judged.truth, judged.units, folds))
    assert by_folds.folds == ("fold1", "fold2")
    single = []
    for name in by_folds.folds:
        rows = folds == name
        single.append(evaluate(UNITS, [scores[rows]], Judged(judged.truth.taken(rows), judged.units[rows])))
    for metric, score in by_folds.scores.items():
        for label in UNITS.names:
            mean = np.mean([estimate(each.scores[metric], label).value for each in single])
            assert estimate(score, label).value == pytest.approx(mean)


def test_an_interval_is_that_of_rows_repeated_as_often_as_their_person_is_drawn():
    judged, scores = detected(count=6, rows=10)
    folds = np.where(np.arange(60) % 20 < 10, "fold1", "fold2")  # every other person
    draws = Bootstrap(draws=8, seed=3)
    drawn = []
    for weights in draws.weights(6):
        rows = np.repeat(np.arange(60), weights.astype(int)[np.arange(60) // 10])
        again = Judged(judged.truth.taken(rows), judged.units[rows], folds[rows])
        drawn.append(evaluate(UNITS, [scores[rows]], again).scores)
    for metric, score in evaluate(UNITS, [scores], Judged(judged.truth, judged.units, folds), bootstrap=draws).scores.items():
        values = [estimate(each[metric], "AU12").value for each in drawn]
        found = estimate(score, "AU12")
        assert (found.low, found.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))


def test_repetitions_are_averaged():
    judged, scores = detected()
    other = scores[::-1].copy()
    both = evaluate(UNITS, [scores, other], judged).scores[Metric.F1]
    values = [estimate(evaluate(UNITS, [each], judged).scores[Metric.F1]).value for each in (scores, other)]
    assert estimate(both).value == pytest.approx(np.mean(values))


def test_a_label_of_one_class_in_a_fold_is_left_out_there_and_named():
    values = np.array([[1, 0], [0, 0], [1, 1], [0, 0]], np.float32)
    known = np.array([[1, 1], [1, 1], [1, 1], [1, 1]], bool)
    judged = Judged(known_targets(values, known), people(4, 1), np.array(["a", "a", "b", "b"]))
    found = evaluate(UNITS, [values], judged).scores[Metric.F1]
    assert found.unmeasured == {"AU12": ("a",)}
    assert estimate(found, "AU12").value == 1
    wrong = values * np.array([[0], [0], [1], [1]], np.float32)
    partly = evaluate(UNITS, [wrong], judged).scores[Metric.F1]
    assert estimate(partly).value == ((0 + 1) / 2 + 1) / 2  # each label's mean over its folds, then the labels'
    whole = Judged(known_targets(values[:2], known[:2]), people(2, 1))
    nowhere = evaluate(UNITS, [values[:2]], whole).scores[Metric.F1]
    assert nowhere.unmeasured == {"AU12": ("all",)}
    assert nowhere.by_label["AU12"] is None
    assert nowhere.overall == nowhere.by_label["AU01"]


def test_an_error_needs_one_row_and_a_correlation_two_values():
    truth = known_targets(np.full((3, 1), 2.0), np.ones((3, 1), bool))
    found = evaluate(STRENGTHS, [np.ones((3, 1), np.float32)], Judged(truth, people(3, 1))).scores
    assert found[Metric.MSE].unmeasured == {}
    assert estimate(found[Metric.MSE], "AU12").value == 1
    assert found[Metric.ICC] == Score(None, {"AU12": None}, {"AU12": ("all",)})


def test_emotions_come_with_their_confusions():
    truth = known_targets(np.eye(2)[[0, 0, 1, 1, 1]], np.ones((5, 2), bool))
    said = np.eye(2, dtype=np.float32)[[0, 1, 1, 1, 0]]
    found = evaluate(FEELINGS, [said, said], Judged(truth, people(5, 1)))
    assert found.confusion == ((2, 2), (2, 4))
    assert estimate(found.scores[Metric.ACCURACY]).value == pytest.approx(3 / 5)
    assert found.scores[Metric.ACCURACY].by_label == {}
    assert estimate(found.scores[Metric.BALANCED_ACCURACY]).value == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found.threshold is None
    assert found.known == {"neutral": 5, "happiness": 5}
    assert found.positive == {"neutral": 2, "happiness": 3}


def test_a_classifier_has_nothing_over_itself():
    judged, scores = detected()
    for score in differences(UNITS, [scores], [scores], judged, bootstrap=FEW).values():
        assert score.overall == Estimate(0, 0, 0)


def test_differences_are_paired():
    """One is a little better on every person, though people differ much more than that."""
    judged, scores = detected(count=20)
    better = np.clip(scores + 0.03 * judged.truth.values, 0, 1)
    gap = estimate(differences(UNITS, [better], [scores], judged, bootstrap=FEW)[Metric.AUC])
    one, other = (estimate(evaluate(UNITS, [each], judged, bootstrap=FEW).scores[Metric.AUC]) for each in (better, scores))
    assert gap.value == pytest.approx(one.value - other.value)
    assert gap.low > 0
    assert one.low < other.high
    back = estimate(differences(UNITS, [scores], [better], judged, bootstrap=FEW)[Metric.AUC])
    assert (back.value, back.low, back.high) == pytest.approx((-gap.value, -gap.high, -gap.low))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_matter(seed):
    judged, scores = detected(count=5, rows=4, seed=seed)
    order = np.random.default_rng(seed).permutation(len(scores))
    shuffled = Judged(judged.truth.taken(order), judged.units[order])
    few = Bootstrap(draws=5, seed=1)
    one, other = evaluate(UNITS, [scores], judged, bootstrap=few), evaluate(UNITS, [scores[order]], shuffled, bootstrap=few)
    assert score_json(one) == score_json(other)


def test_json_has_null_for_what_is_not_measured_and_metrics_by_their_word():
    judged, scores = detected(count=3)
    judged = Judged(Targets(judged.truth.values * [1, 0], judged.truth.known, judged.truth.weights), judged.units)
    found = json.loads(json.dumps(score_json(evaluate(UNITS, [scores], judged)), allow_nan=False))
    assert found["scores"]["f1"]["by_label"]["AU12"] is None
    assert found["scores"]["f1"]["unmeasured"] == {"AU12": ["all"]}
    assert set(found["scores"]["auc"]["overall"]) == {"value", "low", "high"}
    assert found["task"] == "au"
    gaps = json.loads(json.dumps(score_json(differences(UNITS, [scores], [scores], judged)), allow_nan=False))
    assert gaps["f1"]["by_label"]["AU01"]["value"] == 0


def test_predictions_that_are_no_numbers_end_with_a_line():
    judged, scores = detected(count=3, rows=2)
    scores[[1, 4], 0] = np.nan
    with pytest.raises(NormpipeError, match="predictions of 2 rows are no finite numbers"):
        evaluate(UNITS, [scores], judged)


def test_classifiers_that_are_alike_could_be_exchanged():
    judged, scores = detected()
    assert exchange_test(UNITS, [scores], [scores], judged, bootstrap=FEW) == dict.fromkeys(METRICS[Task.AU], 1.0)


def test_a_difference_that_every_person_shows_is_no_chance():
    judged, scores = detected(count=20)
    truth = judged.truth.values
    chances = exchange_test(UNITS, [truth * 0.9 + 0.05], [scores], judged, bootstrap=FEW)
    assert chances[Metric.F1] == pytest.approx(1 / 101)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_which_of_two_classifiers_is_first_makes_no_difference(seed):
    judged, scores = detected(seed=seed, count=6, rows=6)
    other = np.random.default_rng(seed).permuted(scores, axis=0)
    first, second = (
        exchange_test(UNITS, [one], [two], judged, bootstrap=Bootstrap(draws=20))
        for one, two in ((scores, other), (other, scores))
    )
    assert first == second


def test_a_classifier_of_one_repetition_is_held_against_several():
    judged, scores = detected()
    other = np.random.default_rng(1).permuted(scores, axis=0)
    assert exchange_test(UNITS, [scores] * 3, [other], judged, bootstrap=FEW) == exchange_test(
        UNITS, [scores], [other], judged, bootstrap=FEW
    )


def test_chance_alone_is_seldom_found_surprising():
    """Of predictions that differ by noise alone, p is below 0.2 in about a fifth."""
    small = 0
    for seed in range(60):
        judged, scores = detected(seed=seed, count=10, rows=6)
        random = np.random.default_rng(seed)
        one, two = (np.clip(scores + random.normal(0, 0.2, scores.shape), 0, 1).astype(np.float32) for _ in range(2))
        chance = exchange_test(UNITS, [one], [two], judged, bootstrap=Bootstrap(draws=50, seed=seed))[Metric.F1]
        small += chance is not None and chance <= 0.2
    assert 3 <= small <= 24


def test_holm_corrects_the_smallest_most_and_keeps_the_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
