"""The order of an epoch: which row stands where, as a pure function of seed and epoch.

A row group is read whole, so rows are shuffled in two steps: the row groups among each other, then the rows within windows of
several of them. A batch is a mixture of a window's row groups. Batches of LANES windows take turns, since batches are dealt out
to loader workers in turn: where the number of workers divides LANES, one worker alone makes all batches of a window, and no
row group has to be read by two. Ranks and workers have no say in the order; they take their shares of it.
"""

import numpy as np

from normpipe.audit.groups import Indices

LANES = 4
"""Windows that take turns. More would spare more than four workers of a rank reading the same, and cost memory."""

WINDOW_ROWS = 2048
"""Sixteen row groups as normpipe writes them."""


def shuffled_order(groups: Indices, *, batch: int, window: int, seed: int, epoch: int) -> Indices:
    """A permutation of n rows.

    Args:
        groups: (n,) row group of each row; those of one group stand together.
        batch: Rows of a batch, at least 1: every batch but the last lies within one window.
        window: Most rows that are shuffled among each other; a batch at least.
        seed: Of the training.
        epoch: From 0.

    Returns:
        (n,) places 0 to n - 1.
    """
    random = np.random.default_rng([seed, epoch])
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    counts = np.diff(starts, append=len(groups))
    chosen = random.permutation(len(starts))
    before = np.cumsum(counts[chosen]) - counts[chosen]
    order = np.repeat(starts[chosen] - before, counts[chosen]) + np.arange(len(groups))
    whole = len(groups) // batch
    windows = max(-(-whole // max(window // batch, 1)), 1)
    steps = np.full(windows, whole // windows) + (np.arange(windows) < whole % windows)
    for part in np.split(order, batch * np.cumsum(steps)[:-1]):
        random.shuffle(part)
    batches = order[: whole * batch].reshape(whole, batch)
    return np.concatenate([batches[_turns(steps)].ravel(), order[whole * batch :]])


def row_order(rows: int) -> Indices:
    """(n,) the order of evaluation: rows as they stand."""
    return np.arange(rows)


def step_count(rows: int, batch: int) -> int:
    """Batches of an epoch; the last one may have fewer rows."""
    return -(-rows // batch)


def batch_places(order: Indices, *, step: int, batch: int, rank: int = 0, ranks: int = 1) -> Indices:
    """What one rank takes of a batch: every `ranks`-th place of it. Of a last batch that is smaller than `ranks`, maybe none.

    Args:
        order: (n,) of an epoch.
        step: Number of the batch, from 0.
        batch: Rows of a whole one, over all ranks.
        rank: From 0.
        ranks: How many there are.
    """
    return order[step * batch : (step + 1) * batch][rank::ranks]


def _turns(steps: Indices) -> Indices:
    """Numbers of the batches when windows of so many steps each, LANES of them at a time, give one batch in turn."""
    window = np.repeat(np.arange(len(steps)), steps)
    within = np.arange(len(window)) - (np.cumsum(steps) - steps)[window]
    return np.lexsort((window, within, window // LANES))
