"""What one pass over a run finds."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normpipe.errors import UsageError
from normpipe.records import Reason
from normpipe.report.survey import MEASURES, Histogram, Measure, RowAddress, survey_run

from .conftest import Row, Run


def ids_at(out, addresses):
    return [
        pq.read_table(out / "shards" / f"{address.part}.parquet", columns=["sample_id"])["sample_id"][address.index].as_py()
        for address in addresses
    ]


def test_counts_rows_and_reasons_over_all_parts(write_run):
    rows = (
        [Row(f"ok-{i}") for i in range(5)]
        + [Row(f"dark-{i}", Reason.NO_FACE) for i in range(3)]
        + [Row("cut", Reason.TRUNCATED)]
    )
    survey = survey_run(write_run(Run(rows, part_rows=4)), count=10, seed=0)
    assert (survey.rows, survey.ok) == (9, 5)
    assert list(survey.failed.items()) == [(Reason.NO_FACE, 3), (Reason.TRUNCATED, 1)]


def test_withdrawn_rows_are_counted_and_not_shown(write_run):
    out = write_run(Run([Row("dark", Reason.NO_FACE), *(Row(f"withdrawn-0000000{i}", Reason.WITHDRAWN) for i in (1, 2))]))
    survey = survey_run(out, count=10, seed=0)
    assert survey.failed == {Reason.WITHDRAWN: 2, Reason.NO_FACE: 1}
    assert ids_at(out, survey.failures) == ["dark"]


def test_parts_without_a_journal_record_are_not_read(write_run):
    out = write_run(Run([Row(f"s{i}") for i in range(8)], part_rows=4))
    (out / "journal" / "part-00001.json").unlink()
    assert survey_run(out, count=10, seed=0).rows == 4


def test_sample_is_seeded_holds_only_ok_rows_and_keeps_run_order(write_run):
    out = write_run(Run([Row(f"s{i:02d}", Reason.NO_FACE if i % 3 == 0 else None) for i in range(40)], part_rows=16))
    first, again, other = (survey_run(out, count=6, seed=seed).sample for seed in (1, 1, 2))
    assert first == again != other
    assert first == sorted(first)
    assert len(set(first)) == 6
    assert all(int(name[1:]) % 3 for name in ids_at(out, first))


def test_every_row_can_be_drawn(write_run):
    out = write_run(Run([Row(f"s{i}") for i in range(7)], part_rows=3))
    drawn = {address for seed in range(40) for address in survey_run(out, count=2, seed=seed).sample}
    assert len(drawn) == 7


@pytest.mark.parametrize(
    "worse",
    [
        Row("bad", score=0.2),
        Row("bad", yaw_after=-19.0),
        Row("bad", eye_distance=9.0),
        Row("bad", sharpness=4.0),
        Row("bad", score=None),
    ],
    ids=["score", "yaw", "eyes", "sharpness", "no face after"],
)
def test_lowest_quality_is_that_of_the_worst_property(write_run, worse):
    out = write_run(Run([Row("a"), worse, Row("b")]))
    survey = survey_run(out, count=2, seed=0)
    assert ids_at(out, survey.lowest)[0] == "bad"
    assert len(survey.lowest) == 2


def test_a_run_that_was_not_remeasured_is_ranked_by_the_other_properties(write_run):
    out = write_run(Run([Row("a", score=None), Row("small", score=None, eye_distance=10), Row("b", score=None)]))
    assert ids_at(out, survey_run(out, count=1, seed=0).lowest) == ["small"]


def test_failures_take_turns_by_reason(write_run):
    rows = [Row(f"n{i}", Reason.NO_FACE) for i in range(20)] + [Row("t", Reason.TRUNCATED), Row("e", Reason.EMPTY_FILE)]
    out = write_run(Run(rows))
    names = ids_at(out, survey_run(out, count=4, seed=0).failures)
    assert [name[0] for name in names] == ["n", "e", "t", "n"]


def test_histograms_hold_the_ok_rows(write_run):
    rows = [Row("a", yaw=-10), Row("b", yaw=20), Row("c", Reason.NO_FACE, yaw=50)]
    survey = survey_run(write_run(Run(rows)), count=1, seed=0)
    yaw = next(histogram for histogram in survey.histograms if histogram.measure.column == "yaw")
    assert yaw.total == yaw.counts.sum() == 2
    assert yaw.mean == pytest.approx(5)


@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=50), st.sampled_from(MEASURES))
def test_a_histogram_counts_every_value_once(values, measure):
    histogram = Histogram(measure)
    histogram.add(np.array(values, np.float64))
    known = [value for value in values if not np.isnan(value)]
    assert histogram.counts.sum() == histogram.total == len(known)
    assert histogram.below == sum(value < measure.low for value in known)
    assert histogram.above == sum(value > measure.high for value in known)


@pytest.mark.parametrize(
    ("logarithmic", "value", "expected"), [(False, 25.0, 10), (False, 100.0, 39), (True, 10.0, 20), (True, 0.0, 0)]
)
def test_values_fall_into_equal_bins(logarithmic, value, expected):
    low = 1.0 if logarithmic else 0.0
    histogram = Histogram(Measure("x", "X", "", low, 100.0, "", logarithmic))
    histogram.add(np.array([value]))
    assert histogram.counts[expected] == 1


def test_an_empty_run_is_no_error(write_run):
    survey = survey_run(write_run(Run([])), count=3, seed=0)
    assert (survey.rows, survey.sample, survey.failures, survey.lowest) == (0, [], [], [])


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"plan\.json"):
        survey_run(tmp_path, count=3, seed=0)


def test_addresses_sort_in_run_order():
    assert RowAddress("part-00000", 9) < RowAddress("part-00001", 0)
