"""Rows grouped by name: people, labels, clips. Everything that the audit weighs equally or resamples is a group."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]
Names = NDArray[np.str_]

NUMBERED = {"subject": "person", "sequence": "clip"}
"""Columns whose groups are numbered, not named: the same number in every chart."""

UNKNOWN = ""
"""Stands in a name column for null: such a row belongs to no group."""

_ROWS = 4096
_COLUMNS = 64  # worked on at once, so that float64 copies of wide float32 features stay small


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows by group; groups are in the order of their names, whatever the order of rows.

    Attributes:
        names: (g,) distinct names.
        index: (n,) group of each row, 0 to g - 1.
        counts: (g,) rows of each group, at least 1.
    """

    names: Names
    index: Indices
    counts: Indices

    @staticmethod
    def of(names: Names) -> "Groups":
        """Group equal names."""
        found, index, counts = np.unique(names, return_inverse=True, return_counts=True)
        return Groups(found, index.astype(np.intp), counts.astype(np.intp))

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def share(self) -> Doubles:
        """(n,) weight of each row that makes every group weigh 1."""
        return np.asarray(1.0 / self.counts[self.index])

    def sums(self, values: NDArray[np.floating]) -> Doubles:
        """(g, k) sums of (n, k) values, in float64."""
        return summed(self.index, values, len(self))

    def centred(self, values: NDArray[np.floating], rows: Indices | None = None) -> Floats:
        """(n, k) float32: values minus the mean of their group; `rows` are the n rows of a longer table that are meant."""
        centred = np.empty((len(self.index), values.shape[1]), np.float32)
        for start in range(0, values.shape[1], _COLUMNS):
            part = slice(start, start + _COLUMNS)
            block = (values[:, part] if rows is None else values[rows, part]).astype(np.float64)
            means = self.sums(block) / self.counts[:, None]
            centred[:, part] = block - means[self.index]
        return centred


def summed(index: Indices, values: NDArray[np.floating], size: int) -> Doubles:
    """(size, k) float64 sums of (n, k) values by their (n,) index."""
    sums = np.zeros((size, values.shape[1]))
    for number, column in enumerate(values.T):
        sums[:, number] = np.bincount(index, column.astype(np.float64), size)
    return sums


def finite_rows(values: NDArray[np.floating]) -> Mask:
    """(n,) rows of (n, k) values without a NaN: the others had no face to measure."""
    return np.concatenate([np.isfinite(part).all(axis=1) for part in np.array_split(values, len(values) // _ROWS + 1)])


def row_order(ids: Names) -> Indices:
    """Permutation that sorts rows by id: apply it to every column before the audit, so that no figure depends on their order.

    Raises:
        ValueError: an id occurs twice, so that the order would not be determined.
    """
    order = np.argsort(ids, kind="stable")
    if (ids[order][1:] == ids[order][:-1]).any():
        raise ValueError("ids of rows are not unique")
    return order


def sampled_rows(groups: Groups, limit: int, seed: int) -> Indices:
    """At most `limit` rows, sorted, as many of each group as its size and fairness allow: small groups keep all their rows.

    With more groups than `limit` a random `limit` of the groups keep one row each.
    """
    rows = len(groups.index)
    if rows <= limit:
        return np.arange(rows)
    random = np.random.default_rng(seed)
    shuffled = random.permutation(rows)
    by_group = shuffled[np.argsort(groups.index[shuffled], kind="stable")]
    starts = np.cumsum(groups.counts) - groups.counts
    turn = np.arange(rows) - starts[groups.index[by_group]]  # first row of each group, second row of each group, ...
    lottery = random.permutation(len(groups))[groups.index[by_group]]
    return np.sort(by_group[np.lexsort((lottery, turn))[:limit]])
