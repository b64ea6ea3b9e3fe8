"""The metrics: scikit-learn's and the textbooks', whatever the order of rows, over what is annotated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    mean_absolute_error,
    mean_squared_error,
    roc_auc_score,
)

from normpipe.audit.groups import Groups
from normpipe.classify.labels import LabelSpace, Targets, Task
from normpipe.classify.metrics import METRICS, Metric, confusion, metric_statistic
from tests.classify.factories import known_targets

UNITS = LabelSpace(Task.AU, ("AU01", "AU12", "AU25"))
STRENGTHS = LabelSpace(Task.AU_INTENSITY, ("AU06", "AU12"))
FEELINGS = LabelSpace(Task.EMOTION, ("neutral", "happiness", "surprise"))


def labels_of(space: LabelSpace, rows: int, random: np.random.Generator) -> Targets:
    """Random labels of a space, a fifth of them masked."""
    match space.task:
        case Task.EMOTION:
            values = np.eye(len(space))[random.integers(0, len(space), rows)]
            known = np.repeat(random.random((rows, 1)) < 0.8, len(space), axis=1)
        case Task.AU:
            values = (random.random((rows, len(space))) < 0.3).astype(float)
            known = random.random((rows, len(space))) < 0.8
        case _:
            values = random.integers(0, 6, (rows, len(space))).astype(float)
            known = random.random((rows, len(space))) < 0.8
    return known_targets(np.where(known, values, 0), known)


def measured(space: LabelSpace, predicted, truth: Targets, drawn=None, people=None, threshold=0.5):
    """(C + 1,) of each metric by name, every row of one person unless told."""
    people = people or Groups.of(np.full(len(truth), "p"))
    values = metric_statistic(space, np.asarray(predicted, np.float32), truth, people, threshold)(
        np.ones(len(people)) if drawn is None else drawn
    )
    return dict(zip(METRICS[space.task], values, strict=True))


def icc_by_analysis_of_variance(first, second) -> float:
    """ICC(3,1) from its mean squares, two raters of the same targets."""
    ratings = np.stack([first, second], axis=1)
    targets, raters = ratings.mean(axis=1, keepdims=True), ratings.mean(axis=0, keepdims=True)
    freedom = len(ratings) - 1
    between = 2 * ((targets - ratings.mean()) ** 2).sum() / freedom
    error = ((ratings - targets - raters + ratings.mean()) ** 2).sum() / freedom
    return (between - error) / (between + error)


def test_of_action_units_each_is_scikit_learns_over_the_annotated_rows():
    random = np.random.default_rng(0)
    truth = labels_of(UNITS, 300, random)
    scores = np.round(random.random((300, 3)) * 0.8 + 0.2 * truth.values, 2)  # with ties
    found = measured(UNITS, scores, truth)
    for label in range(3):
        rows = truth.known[:, label]
        actual, score = truth.values[rows, label], scores[rows, label].astype(np.float32)
        said = score >= 0.5
        assert found[Metric.F1][label] == pytest.approx(f1_score(actual, said))
        assert found[Metric.AUC][label] == pytest.approx(roc_auc_score(actual, score))
        assert found[Metric.ACCURACY][label] == pytest.approx(accuracy_score(actual, said))
        assert found[Metric.BALANCED_ACCURACY][label] == pytest.approx(balanced_accuracy_score(actual, said))
        even = np.where(actual > 0, 0.5 / (actual > 0).sum(), 0.5 / (actual == 0).sum())
        assert found[Metric.BALANCED_F1][label] == pytest.approx(f1_score(actual, said, sample_weight=even))
    for values in found.values():
        assert values[3] == pytest.approx(values[:3].mean())


def test_of_emotions_they_are_scikit_learns_and_the_mean_recall_is_the_balanced_accuracy():
    random = np.random.default_rng(1)
    truth = labels_of(FEELINGS, 200, random)
    scores = random.random((200, 3)) + 0.5 * truth.values
    rows = truth.known.all(axis=1)
    actual, said = truth.values[rows].argmax(axis=1), scores[rows].astype(np.float32).argmax(axis=1)
    found = measured(FEELINGS, scores, truth)
    assert found[Metric.F1][:3] == pytest.approx(f1_score(actual, said, average=None))
    assert found[Metric.F1][3] == pytest.approx(f1_score(actual, said, average="macro"))
    assert found[Metric.BALANCED_ACCURACY][3] == pytest.approx(balanced_accuracy_score(actual, said))
    assert found[Metric.ACCURACY][3] == pytest.approx(accuracy_score(actual, said))
    table = confusion(FEELINGS, scores.astype(np.float32), truth)
    assert table.dtype == np.int64
    assert table.tolist() == confusion_matrix(actual, said).tolist()


def test_of_intensities_they_are_the_textbooks():
    random = np.random.default_rng(2)
    truth = labels_of(STRENGTHS, 200, random)
    predicted = (0.6 * truth.values + random.normal(1, 1, (200, 2))).astype(np.float32)
    found = measured(STRENGTHS, predicted, truth)
    for label in range(2):
        rows = truth.known[:, label]
        actual, said = (each[rows, label].astype(np.float64) for each in (truth.values, predicted))
        assert found[Metric.MSE][label] == pytest.approx(mean_squared_error(actual, said))
        assert found[Metric.MAE][label] == pytest.approx(mean_absolute_error(actual, said))
        assert found[Metric.PCC][label] == pytest.approx(np.corrcoef(actual, said)[0, 1])
        assert found[Metric.ICC][label] == pytest.approx(icc_by_analysis_of_variance(actual, said))
        gap = actual.var() + said.var() + (actual.mean() - said.mean()) ** 2
        assert found[Metric.CCC][label] == pytest.approx(2 * np.cov(actual, said, bias=True)[0, 1] / gap)


@pytest.mark.parametrize(("said", "icc"), [([1, 2, 3], 1), ([3, 4, 5], 1), ([1, 3, 2], 0.5), ([3, 2, 1], -1), ([2, 4, 6], 0.8)])
def test_icc_by_hand(said, icc):
    truth = known_targets(np.array([[1.0], [2.0], [3.0]]), np.ones((3, 1), bool))
    found = measured(LabelSpace(Task.AU_INTENSITY, ("AU12",)), np.array(said)[:, None], truth)
    assert found[Metric.ICC][0] == pytest.approx(icc)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_label_of_one_class_has_no_value_and_the_mean_leaves_it_out(value):
    values = np.array([[1, value], [0, value], [1, value]])
    truth = known_targets(values, np.ones((3, 2), bool))
    found = measured(LabelSpace(Task.AU, ("AU01", "AU12")), [[0.9, 0.9], [0.2, 0.1], [0.3, 0.4]], truth)
    for each in found.values():
        assert np.isnan(each[1])
        assert each[2] == each[0]
    assert found[Metric.F1][0] == pytest.approx(2 / 3)


def test_emotions_of_one_class_have_an_accuracy_and_nothing_else():
    truth = known_targets(np.eye(3)[[1, 1]], np.ones((2, 3), bool))
    found = measured(FEELINGS, np.eye(3)[[1, 2]], truth)
    assert np.isnan(found[Metric.F1]).all()
    assert np.isnan(found[Metric.BALANCED_ACCURACY]).all()
    assert found[Metric.ACCURACY][3] == 0.5


def test_without_an_annotated_row_there_is_no_value():
    for space in (UNITS, STRENGTHS, FEELINGS):
        nothing = known_targets(np.zeros((4, len(space))), np.zeros((4, len(space)), bool))
        for values in measured(space, np.zeros((4, len(space))), nothing).values():
            assert np.isnan(values).all()


def test_an_intensity_that_never_changes_has_errors_but_no_correlation():
    truth = known_targets(np.full((3, 1), 2.0), np.ones((3, 1), bool))
    found = measured(LabelSpace(Task.AU_INTENSITY, ("AU12",)), [[1.0], [2.0], [3.0]], truth)
    assert np.isnan([found[metric][0] for metric in (Metric.ICC, Metric.PCC, Metric.CCC)]).all()
    assert found[Metric.MAE][0] == pytest.approx(2 / 3)


def test_a_constant_prediction_is_worth_nothing_and_is_not_left_out():
    truth = known_targets(np.array([[0.0], [5.0]]), np.ones((2, 1), bool))
    found = measured(LabelSpace(Task.AU_INTENSITY, ("AU12",)), [[2.0], [2.0]], truth)
    assert [found[metric][0] for metric in (Metric.ICC, Metric.PCC, Metric.CCC)] == [0, 0, 0]
    never = known_targets(np.array([[1.0], [0.0]]), np.ones((2, 1), bool))
    silent = measured(LabelSpace(Task.AU, ("AU12",)), [[0.1], [0.1]], never)
    assert silent[Metric.F1][0] == 0
    assert silent[Metric.AUC][0] == 0.5


@pytest.mark.parametrize("space", [UNITS, STRENGTHS, FEELINGS])
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 40))
def test_the_order_of_rows_and_what_stands_in_masked_cells_do_not_matter(space, seed, rows):
    random = np.random.default_rng(seed)
    truth = labels_of(space, rows, random)
    scores = random.random((rows, len(space))).astype(np.float32)
    order = random.permutation(rows)
    blind = np.where(truth.known, scores, 7).astype(np.float32) if space.task is not Task.EMOTION else scores
    masked = known_targets(np.where(truth.known, truth.values, 1), truth.known)
    one = measured(space, scores, truth)
    other = measured(space, blind[order], masked.taken(order))
    for metric in METRICS[space.task]:
        assert other[metric] == pytest.approx(one[metric], nan_ok=True, abs=1e-9)


@pytest.mark.parametrize("space", [UNITS, STRENGTHS, FEELINGS])
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), people=st.integers(1, 5))
def test_to_draw_a_person_twice_is_to_have_the_rows_twice(space, seed, people):
    random = np.random.default_rng(seed)
    rows = 8 * people
    truth, scores = labels_of(space, rows, random), random.random((rows, len(space))).astype(np.float32)
    everyone = Groups.of(random.integers(0, people, rows).astype(str))
    drawn = random.integers(0, 3, len(everyone))
    again = np.repeat(np.arange(rows), drawn[everyone.index])
    weighed = measured(space, scores, truth, drawn.astype(float), everyone)
    repeated = measured(space, scores[again], truth.taken(again))
    for metric in METRICS[space.task]:
        assert weighed[metric] == pytest.approx(repeated[metric], nan_ok=True, abs=1e-7)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), shift=st.floats(-3, 3))
def test_icc_forgives_a_raters_offset_and_ccc_does_not(seed, shift):
    random = np.random.default_rng(seed)
    truth = labels_of(STRENGTHS, 40, random)
    predicted = truth.values + random.normal(0, 1, truth.values.shape)
    plain, shifted = (measured(STRENGTHS, predicted + offset, truth) for offset in (0, shift))
    assert shifted[Metric.ICC] == pytest.approx(plain[Metric.ICC], abs=1e-5)
    assert shifted[Metric.PCC] == pytest.approx(plain[Metric.PCC], abs=1e-5)
    variances = np.array([truth.values[truth.known[:, label], label].var() for label in range(2)])
    offset = measured(STRENGTHS, truth.values + shift, truth)[Metric.CCC][:2]
    assert offset == pytest.approx(2 * variances / (2 * variances + shift**2), abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.floats(0.05, 0.95))
def test_scores_stay_in_their_ranges_and_the_true_labels_are_perfect(seed, threshold):
    random = np.random.default_rng(seed)
    truth = labels_of(UNITS, 30, random)
    found = measured(UNITS, random.random((30, 3)), truth, threshold=threshold)
    for values in found.values():
        assert ((values[np.isfinite(values)] >= 0) & (values[np.isfinite(values)] <= 1)).all()
    for metric, values in measured(UNITS, truth.values, truth, threshold=threshold).items():
        assert values[np.isfinite(values)] == pytest.approx(1), metric
    strengths = labels_of(STRENGTHS, 30, random)
    perfect = measured(STRENGTHS, strengths.values, strengths)
    assert perfect[Metric.ICC] == pytest.approx(np.ones(3), nan_ok=True)
    assert perfect[Metric.MSE] == pytest.approx(np.zeros(3), abs=1e-9)
