"""A planted loss is found and named; where there is none, none is found."""

from dataclasses import replace

import numpy as np
import pytest

from normpipe.audit.groups import UNKNOWN
from normpipe.audit.intervals import Bootstrap
from normpipe.audit.losses import losses
from normpipe.audit.table import RowTable

PEOPLE, ROWS = 60, 6


def table(failing=0.0, seed=0):
    """Half of the people are of group "dark", whose rows fail with the given rate more; all others with 5 %."""
    random = np.random.default_rng(seed)
    rows = PEOPLE * ROWS
    people = np.repeat([f"p{number:03d}" for number in range(PEOPLE)], ROWS)
    group = np.where(np.arange(rows) < rows // 2, "dark", "light")
    ok = random.random(rows) >= 0.05 + failing * (group == "dark")
    measures = {name: random.random(rows).astype(np.float32) * 100 for name in ("yaw", "eye_distance", "brightness")}
    measures |= {name: random.random(rows).astype(np.float32) for name in ("sharpness", "inside_frame")}
    return RowTable(
        number=np.arange(rows),
        sample_ids=np.char.add("s", np.arange(rows).astype(str)),
        ok=ok,
        subjects=people,
        labels=np.full(rows, UNKNOWN),
        clips=np.full(rows, UNKNOWN),
        frames=np.zeros(rows, np.int64),
        measures=measures,
        groups={"split": group, "subject": people},
        crowded=0,
        withdrawn=np.zeros(rows, np.bool_),
    )


def found(rows, kept=None):
    kept = np.ones(len(rows), np.float32) if kept is None else kept
    random = np.random.default_rng(1)
    kept = kept + random.normal(0, 0.1, len(rows)).astype(np.float32)
    size, residual = np.full(len(rows), 0.05, np.float32), random.random(len(rows)).astype(np.float32)
    result = losses(rows, kept, size, residual, Bootstrap(draws=50))
    return {(each.figure, each.column): each for each in result.by_group}, result.by_quality


def test_where_nobody_loses_nobody_is_named():
    by_group, _ = found(table())
    assert not any(each.losing for each in by_group.values())


def test_a_group_that_fails_more_is_found():
    by_group, _ = found(table(failing=0.3))
    loss = by_group["failures", "split"]
    assert loss.losing == 1
    assert loss.drift.groups[0].name == "dark"
    assert loss.gap == pytest.approx(0.15, abs=0.05)


def test_a_group_whose_expression_is_lost_is_found():
    rows = table()
    by_group, _ = found(rows, kept=np.where(rows.groups["split"] == "dark", 0.5, 1.0).astype(np.float32))
    loss = by_group["expression kept", "split"]
    assert [group.name for group in loss.drift.groups if group.loses] == ["dark"]
    assert not by_group["failures", "split"].losing


def test_people_are_numbered_and_the_worst_shown():
    by_group, _ = found(table())
    loss = by_group["expression kept", "subject"]
    assert loss.groups == PEOPLE
    names = [group.name for group in loss.drift.groups]
    assert len(names) == 12
    assert set(names) <= {f"person {number}" for number in range(1, PEOPLE + 1)}


def test_a_person_has_one_number_in_all_charts():
    rows = table(failing=0.3)
    by_group, _ = found(rows)
    for loss in (by_group["failures", "subject"], by_group["expression kept", "subject"]):
        for group in loss.drift.groups:
            assert group.rows == (rows.groups["subject"] == np.unique(rows.groups["subject"])[int(group.name[7:]) - 1]).sum()


def test_the_gap_is_that_of_the_worst_group_also_where_it_may_be_chance():
    by_group, _ = found(table())
    loss = by_group["failures", "split"]
    assert loss.losing == 0
    assert loss.gap == pytest.approx(max(group.value for group in loss.drift.groups) - loss.drift.value)


def test_a_quality_that_matters_correlates():
    rows = table()
    residual = (100 - rows.measures["eye_distance"]).astype(np.float32)
    result = losses(rows, np.ones(len(rows), np.float32), np.ones(len(rows), np.float32), residual, Bootstrap(draws=50))
    assert result.by_quality["eye_distance"].rank_correlation.value < -0.95
    assert abs(result.by_quality["sharpness"].rank_correlation.value) < 0.3


def test_rows_of_people_who_withdrew_are_no_failures_of_any_group():
    rows = table()
    group, gone = rows.groups["split"], np.arange(len(rows)) % 3 == 0
    lost = replace(rows, ok=rows.ok & ~gone, groups={"split": np.where(gone, UNKNOWN, group)})
    assert {one.name for one in found(lost)[0]["failures", "split"].drift.groups} == {"dark", "light", "not given"}
    by_group, _ = found(replace(lost, withdrawn=gone))
    assert {one.name for one in by_group["failures", "split"].drift.groups} == {"dark", "light"}
    assert not by_group["failures", "split"].losing
