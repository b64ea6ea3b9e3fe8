"""The order of an epoch: every row once, mixed well, few row groups at a time, and the same whoever asks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normpipe.classify.order import LANES, batch_places, row_order, shuffled_order, step_count

GROUPS = st.lists(st.integers(1, 40), min_size=1, max_size=30).map(lambda counts: np.repeat(np.arange(len(counts)), counts))
BATCHES = st.integers(1, 50)
WINDOWS = st.integers(1, 300)


def ordered(groups, batch=16, window=64, seed=0, epoch=0):
    return shuffled_order(groups, batch=batch, window=window, seed=seed, epoch=epoch)


@given(GROUPS, BATCHES, WINDOWS, st.integers(0, 2**63), st.integers(0, 1000))
def test_every_row_stands_in_an_epoch_once(groups, batch, window, seed, epoch):
    assert np.array_equal(np.sort(ordered(groups, batch, window, seed, epoch)), row_order(len(groups)))


@given(GROUPS, BATCHES, WINDOWS)
def test_the_order_follows_from_seed_and_epoch(groups, batch, window):
    assert np.array_equal(ordered(groups, batch, window, 3, 5), ordered(groups, batch, window, 3, 5))


def test_every_epoch_and_every_seed_has_an_order_of_its_own():
    groups = np.repeat(np.arange(10), 10)
    orders = [tuple(ordered(groups, seed=seed, epoch=epoch)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9


@given(GROUPS, BATCHES, WINDOWS, st.integers(1, 5))
def test_ranks_take_every_row_of_every_batch_once(groups, batch, window, ranks):
    order = ordered(groups, batch, window)
    for step in range(step_count(len(order), batch)):
        whole = batch_places(order, step=step, batch=batch)
        parts = [batch_places(order, step=step, batch=batch, rank=rank, ranks=ranks) for rank in range(ranks)]
        assert np.array_equal(np.sort(np.concatenate(parts)), np.sort(whole))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(GROUPS, BATCHES)
def test_batches_are_whole_but_for_the_last(groups, batch):
    order = ordered(groups, batch)
    steps = step_count(len(order), batch)
    lengths = [len(batch_places(order, step=step, batch=batch)) for step in range(steps)]
    assert lengths[:-1] == [batch] * (steps - 1)
    assert sum(lengths) == len(groups)
    assert lengths[-1] >= 1


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_no_row_group_is_needed_by_two_workers_where_windows_hold_whole_ones(workers):
    assert LANES % workers == 0
    groups = np.repeat(np.arange(160), 8)
    order = ordered(groups, batch=16, window=64)
    steps = np.arange(len(order)) // 16
    needed = {(group, worker) for group, worker in zip(groups[order], steps % workers, strict=True)}
    assert len(needed) == 160


def test_a_worker_holds_few_row_groups_at_a_time():
    """Held is what was wanted before and is wanted again; a window has 8 row groups, and one worker has LANES windows open."""
    groups = np.repeat(np.arange(400), 8)
    order = ordered(groups, batch=16, window=64)
    steps = np.arange(len(order)) // 16
    first, last = (np.array([find(steps[groups[order] == group]) for group in range(400)]) for find in (np.min, np.max))
    held = [int(((first <= step) & (step <= last)).sum()) for step in range(steps[-1] + 1)]
    assert max(held) <= 8 * LANES


def test_a_batch_is_a_mixture_of_row_groups():
    groups = np.repeat(np.arange(100), 8)
    order = ordered(groups, batch=32, window=256)
    kinds = [len(set(groups[batch_places(order, step=step, batch=32)])) for step in range(len(order) // 32)]
    assert min(kinds) > 15, "of the 32 that a window has"


def test_rows_come_from_all_over_at_any_time():
    """Neighbours in the data set are not neighbours in training: labels of a clip are alike."""
    groups = np.repeat(np.arange(100), 8)
    order = ordered(groups, batch=16, window=64)
    assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 0.3
    assert len(set(np.concatenate([np.flatnonzero(order == place) // 400 for place in range(40)]))) == 2


def test_a_small_data_set_is_one_window():
    groups = np.repeat(np.arange(4), 8)
    firsts = {int(ordered(groups, batch=4, window=1000, epoch=epoch)[0]) for epoch in range(200)}
    assert len(firsts) > 25, "of 32 rows, nearly every one comes first in some epoch"


def test_no_rows_have_no_batches():
    assert len(ordered(np.empty(0, np.intp))) == 0
    assert step_count(0, 8) == 0
