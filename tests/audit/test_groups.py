"""Groups: sums, means, fair samples, an order that does not depend on the manifest's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normpipe.audit.groups import Groups, row_order, sampled_rows

_NAMES = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=60)


@given(_NAMES)
def test_shares_of_a_group_sum_to_one(names: list[str]) -> None:
    groups = Groups.of(np.array(names))
    assert np.allclose(groups.sums(groups.share[:, None]), 1)


@given(_NAMES)
def test_centred_rows_have_no_group_mean(names: list[str]) -> None:
    groups = Groups.of(np.array(names))
    values = np.random.default_rng(0).standard_normal((len(names), 70)).astype(np.float32)
    assert np.abs(groups.sums(groups.centred(values)) / groups.counts[:, None]).max() < 1e-6


@given(_NAMES, st.integers(1, 80), st.integers(0, 3))
def test_a_sample_is_bounded_fair_and_repeatable(names: list[str], limit: int, seed: int) -> None:
    groups = Groups.of(np.array(names))
    rows = sampled_rows(groups, limit, seed)
    assert len(rows) == min(limit, len(names))
    assert (np.diff(rows) > 0).all()
    assert (rows == sampled_rows(groups, limit, seed)).all()
    taken = np.bincount(groups.index[rows], minlength=len(groups))
    # Who got fewer than another by more than one has nothing left to give.
    assert ((taken == groups.counts) | (taken >= taken.max() - 1)).all()


def test_the_order_of_rows_is_that_of_their_ids() -> None:
    ids = np.array(["b", "c", "a"])
    assert (ids[row_order(ids)] == ["a", "b", "c"]).all()
    with pytest.raises(ValueError, match="not unique"):
        row_order(np.array(["a", "a"]))
