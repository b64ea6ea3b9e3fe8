"""Groups that lose more are found, few people do not pass for many rows, and many looks are corrected for."""

import numpy as np
import pytest

from normpipe.audit.drift import Association, Drift, Worse, association, by_group, corrected, holm, ranges, worst_rows
from normpipe.audit.figures import Figure, NotMeasurable, Why
from normpipe.audit.groups import Doubles, Names
from tests.audit.factories import FEW


def _drift(values: Doubles, names: Names, clusters: Names, worse: Worse = Worse.HIGHER, sizes: Doubles | None = None) -> Drift:
    found = by_group(values, names, clusters, worse, sizes)
    assert isinstance(found, Drift)
    return found


def _people(count: int, rows: int) -> Names:
    return np.repeat(np.arange(count), rows).astype(str)


def test_a_group_that_fails_more_is_first_and_named() -> None:
    random = np.random.default_rng(0)
    subjects = _people(200, 5)
    names = np.where(subjects.astype(int) < 40, "turned", np.where(subjects.astype(int) < 120, "frontal", "tilted"))
    failed = (random.random(1000) < np.where(names == "turned", 0.5, 0.1)).astype(float)
    found = _drift(failed, names, subjects)
    first = found.groups[0]
    assert (first.name, first.loses, first.rows, first.clusters) == ("turned", True, 200, 40)
    assert first.value == failed[:200].mean()
    assert found.value == failed.mean()
    assert first.low is not None
    assert first.high is not None
    assert 0.3 < first.low < first.value < first.high < 0.6
    assert not any(group.loses for group in found.groups[1:])


def test_independent_rows_give_wilsons_interval() -> None:
    failed = np.repeat([1.0, 0.0], [30, 70])
    found = _drift(failed, np.full(100, "all"), np.arange(100).astype(str)).groups[0]
    assert (found.low, found.high) == pytest.approx((0.2189, 0.3958), abs=0.002)
    none = _drift(np.zeros(100), np.full(100, "all"), np.arange(100).astype(str)).groups[0]
    assert none.low == 0
    assert none.high == pytest.approx(0.0370, abs=0.0005)
    assert none.p == 1


def test_one_person_with_many_rows_proves_nothing_about_a_class() -> None:
    subjects = np.concatenate([np.full(300, "one"), _people(100, 3)])
    names = np.repeat(["rare", "common"], 300)
    failed = np.concatenate([np.ones(300), np.random.default_rng(0).random(300) < 0.1]).astype(float)
    rare = next(group for group in _drift(failed, names, subjects).groups if group.name == "rare")
    assert (rare.value, rare.clusters, rare.loses) == (1.0, 1, False)
    assert rare.low is not None
    assert rare.low < 0.3


def test_means_and_ratios_by_group() -> None:
    random = np.random.default_rng(0)
    subjects = _people(100, 6)
    names = np.where(subjects.astype(int) < 50, "a", "b")
    given = random.gamma(2, 1, 600)
    kept = given * np.where(names == "a", 0.9, 0.5) + 0.1 * random.standard_normal(600)
    found = _drift(kept, names, subjects, Worse.LOWER, given)
    assert [(group.name, group.loses) for group in found.groups] == [("b", True), ("a", False)]
    assert found.groups[0].value == pytest.approx(0.5, abs=0.02)
    plain = _drift(given, names, subjects)
    for group in plain.groups:
        assert group.value == pytest.approx(given[names == group.name].mean())
        assert not group.loses


def test_groups_without_a_difference_are_rejected_at_about_the_level() -> None:
    """20 groups over people who differ: any group named in at most about 5 % of the data sets."""

    def any_loses(seed: int) -> bool:
        random = np.random.default_rng(seed)
        subjects = _people(200, 5)
        rate = np.clip(random.beta(1, 5, 200), 0, 1)[subjects.astype(int)]
        failed = (random.random(1000) < rate).astype(float)
        groups = random.integers(0, 20, 200).astype(str)[subjects.astype(int)]
        return any(group.p_holm < 0.05 for group in _drift(failed, groups, subjects).groups)

    assert np.mean([any_loses(seed) for seed in range(200)]) <= 0.08


def test_intervals_of_groups_cover_at_about_their_level() -> None:
    def covered(seed: int) -> tuple[bool, bool]:
        random = np.random.default_rng(seed)
        subjects = _people(30, 6)
        person = subjects.astype(int)
        failed = (random.random(180) < np.clip(random.beta(2, 6, 30), 0, 1)[person]).astype(float)
        quality = random.standard_normal(30)[person] + random.standard_normal(180)
        rate, mean = (_drift(values, np.full(180, "g"), subjects).groups[0] for values in (failed, quality))
        assert rate.low is not None
        assert rate.high is not None
        assert mean.low is not None
        assert mean.high is not None
        return rate.low <= 0.25 <= rate.high, mean.low <= 0 <= mean.high

    rates, means = np.mean([covered(seed) for seed in range(300)], axis=0)
    assert 0.90 <= rates <= 0.98
    assert 0.90 <= means <= 0.98


def test_holm_by_hand_and_over_several_columns() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    subjects = _people(60, 4)
    failed = (np.random.default_rng(0).random(240) < np.where(subjects.astype(int) < 20, 0.45, 0.1)).astype(float)
    names = np.where(subjects.astype(int) < 20, "a", "b")
    alone = _drift(failed, names, subjects)
    together = corrected([alone, _drift(failed, subjects, np.arange(240).astype(str))])
    pairs = zip(alone.groups, together[0].groups, strict=True)
    assert all(after.p_holm >= before.p_holm and after.p == before.p for before, after in pairs)


def test_rows_without_a_value_are_counted_apart() -> None:
    found = _drift(np.array([1.0, np.nan, 0.0]), np.array(["a", "a", "b"]), np.array(["x", "y", "z"]))
    assert (found.missing, found.value) == (1, 0.5)
    nothing = by_group(np.full(2, np.nan), np.array(["a", "b"]), np.array(["x", "y"]), Worse.HIGHER)
    assert isinstance(nothing, NotMeasurable)
    assert nothing.why is Why.NO_ROWS


def test_the_order_of_rows_does_not_matter() -> None:
    random = np.random.default_rng(0)
    values, names, subjects = random.random(300), random.choice(list("abc"), 300), _people(60, 5)
    order = random.permutation(300)
    first, second = _drift(values, names, subjects), _drift(values[order], names[order], subjects[order])
    for one, two in zip(first.groups, second.groups, strict=True):
        assert one.name == two.name
        assert one.p == pytest.approx(two.p, abs=1e-9)


def test_ranges_name_every_row() -> None:
    found = ranges(np.array([-30, 0, 10, 25, np.nan], np.float32), (0, 10, 20), "degrees")
    assert list(found) == [
        "below 0 degrees",
        "0 to 10 degrees",
        "10 to 20 degrees",
        "20 degrees or more",
        "not measured",
    ]


def test_association_with_a_proxy() -> None:
    random = np.random.default_rng(0)
    sharpness = random.gamma(2, 100, 500).astype(np.float32)
    residual = 1 / sharpness.astype(np.float64)
    residual[3] = np.nan
    found = association(residual, sharpness, _people(100, 5), FEW)
    assert isinstance(found, Association)
    assert isinstance(found.rank_correlation, Figure)
    assert found.rank_correlation.value == pytest.approx(-1, abs=1e-3)
    assert found.by_quantile == sorted(found.by_quantile, reverse=True)
    assert found.rows == 499
    assert isinstance(association(residual, np.ones(500, np.float32), _people(100, 5), FEW), NotMeasurable)


def test_worst_rows_are_sorted_and_skip_what_has_no_value() -> None:
    values = np.array([1.0, np.nan, 3.0, 3.0, 2.0])
    assert list(worst_rows(values, 3)) == [2, 3, 4]
    assert list(worst_rows(values, 9, Worse.LOWER)) == [0, 4, 2, 3]
