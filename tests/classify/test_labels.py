"""Labels of rows: what is not annotated is masked, what cannot be right is named by sample and column."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.classify.labels import LabelSpace, Task, label_columns, targets
from normpipe.errors import UsageError
from normpipe.records import EMOTIONS, PAIRS_SCHEMA
from tests.classify.factories import label_table

UNITS = LabelSpace(Task.AU, ("AU01", "AU12"))
STRENGTHS = LabelSpace(Task.AU_INTENSITY, ("AU06", "AU12"))
SEVEN = LabelSpace(Task.EMOTION, tuple(name for name in EMOTIONS if name != "contempt"))
DIMENSIONS = LabelSpace.all_of(Task.VALENCE_AROUSAL)


def test_action_units_are_one_column_each_and_null_is_not_zero():
    found = targets(label_table(au_occurrence_01=[1, 0, None], au_occurrence_12=[None, 1, None]), UNITS)
    assert found.values.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert found.known.tolist() == [[True, False], [True, True], [False, False]]
    assert (found.values.dtype, found.known.dtype, found.weights.dtype) == (np.float32, np.bool_, np.float32)


def test_intensities_and_dimensions_keep_their_numbers():
    strengths = targets(label_table(au_intensity_06=[0.0, 5.0], au_intensity_12=[2.5, None]), STRENGTHS)
    assert strengths.values.tolist() == [[0, 2.5], [5, 0]]
    assert strengths.known.tolist() == [[True, True], [True, False]]
    feelings = targets(label_table(valence=[-1.0, None], arousal=[0.5, 1.0]), DIMENSIONS)
    assert feelings.values.tolist() == [[-1, 0.5], [0, 1]]


def test_an_emotion_is_one_of_its_space_and_known_as_a_whole():
    found = targets(label_table(emotion=["fear", None, "neutral"]), SEVEN)
    assert found.values.argmax(axis=1)[[0, 2]].tolist() == [SEVEN.names.index("fear"), 0]
    assert found.values.sum(axis=1).tolist() == [1, 0, 1]
    assert found.known.all(axis=1).tolist() == [True, False, True]
    assert found.known.any(axis=1).tolist() == [True, False, True]


def test_the_order_of_names_is_the_order_of_outputs():
    table = label_table(au_occurrence_01=[1], au_occurrence_12=[0])
    assert targets(table, LabelSpace(Task.AU, ("AU12", "AU01"))).values.tolist() == [[0, 1]]


def test_weights_are_the_manifests_and_1_where_it_has_none():
    assert targets(label_table(weight=[0.5, None, 0.0]), UNITS).weights.tolist() == [0.5, 1, 0]


def test_occurrence_may_be_read_from_intensities_alone():
    table = label_table(au_occurrence_01=[1, 1, 1], au_intensity_01=[1.0, 2.0, None], au_intensity_12=[0.0, None, 5.0])
    found = targets(table, UNITS, active_from=2)
    assert found.values.tolist() == [[0, 0], [1, 0], [0, 1]]
    assert found.known.tolist() == [[True, True], [True, False], [False, True]]
    with pytest.raises(UsageError, match="only the task au"):
        targets(table, STRENGTHS, active_from=2)


def test_an_emotion_out_of_the_space_is_refused_or_left_out():
    table = label_table(emotion=["anger", "contempt"])
    with pytest.raises(UsageError, match=r"^s0001: emotion contempt is none of those learnt") as error:
        targets(table, SEVEN)
    assert "\n" not in str(error.value)
    left = targets(table, SEVEN, leave_out_other_emotions=True)
    assert left.known.any(axis=1).tolist() == [True, False]


@pytest.mark.parametrize(
    ("space", "columns", "line"),
    [
        (UNITS, {"au_occurrence_12": [1, 9]}, "s0001: au_occurrence_12 9 is not within 0 and 1; correct the manifest"),
        (UNITS, {"au_occurrence_01": [-1]}, "s0000: au_occurrence_01 -1 is not within 0 and 1"),
        (STRENGTHS, {"au_intensity_06": [None, 5.5]}, "s0001: au_intensity_06 5.5 is not within 0 and 5"),
        (STRENGTHS, {"au_intensity_12": [float("nan")]}, "s0000: au_intensity_12 nan is not within 0 and 5"),
        (DIMENSIONS, {"arousal": [-1.25]}, "s0000: arousal -1.25 is not within -1 and 1"),
        (DIMENSIONS, {"valence": [float("inf")]}, "s0000: valence inf is not within -1 and 1"),
        (SEVEN, {"emotion": ["joy"]}, "s0000: emotion joy is none of neutral, "),
        (UNITS, {"weight": [-1.0]}, "s0000: weight -1 is not a number of 0 or more"),
    ],
)
def test_a_label_that_cannot_be_right_names_its_sample_and_column(space, columns, line):
    with pytest.raises(UsageError) as error:
        targets(label_table(**columns), space, leave_out_other_emotions=True)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_an_occurrence_between_0_and_1_is_refused():
    table = label_table(au_occurrence_01=[1])
    table = table.set_column(table.column_names.index("au_occurrence_01"), "au_occurrence_01", pa.array([0.5]))
    with pytest.raises(UsageError, match=r"s0000: au_occurrence_01 0\.5 is neither 0 nor 1"):
        targets(table, UNITS)


@pytest.mark.parametrize(
    ("task", "names", "message"),
    [
        (Task.AU, (), "too few"),
        (Task.EMOTION, ("fear",), "too few"),
        (Task.AU, ("AU1",), "'AU1' is none of AU01, AU02"),
        (Task.AU, ("AU03",), "'AU03' is none of"),
        (Task.AU_INTENSITY, ("AU12", "AU12"), "stands there twice"),
        (Task.EMOTION, ("fear", "joy"), "'joy' is none of neutral, "),
        (Task.VALENCE_AROUSAL, ("dominance",), "'dominance' is none of valence, arousal"),
    ],
)
def test_a_space_that_cannot_be_is_refused(task, names, message):
    with pytest.raises(UsageError, match=message):
        LabelSpace(task, names)


@pytest.mark.parametrize("task", Task)
def test_every_label_of_a_task_has_a_column(task):
    space = LabelSpace.all_of(task)
    assert set(label_columns(space)) <= set(PAIRS_SCHEMA.names)
    empty = targets(label_table(sample_id=[]), space)
    assert empty.values.shape == empty.known.shape == (0, len(space))


@settings(deadline=None)
@given(st.lists(st.sampled_from([None, *EMOTIONS]), min_size=1), st.randoms(use_true_random=False))
def test_rows_are_read_one_by_one(words, random):
    table = label_table(emotion=words)
    order = list(range(len(words)))
    random.shuffle(order)
    whole, shuffled = (targets(each, LabelSpace.all_of(Task.EMOTION)) for each in (table, table.take(order)))
    assert np.array_equal(whole.taken(np.array(order)).values, shuffled.values)
    assert [
        EMOTIONS[row.argmax()] if known.all() else None for row, known in zip(whole.values, whole.known, strict=True)
    ] == words


def test_only_the_columns_of_labels_are_needed():
    table = label_table(au_occurrence_01=[1], au_intensity_01=[2.0])
    assert targets(table.select(label_columns(UNITS)), UNITS).values[0, 0] == 1
    assert targets(table.select(label_columns(UNITS, active_from=2)), UNITS, active_from=2).values[0, 0] == 1
