"""Does any sample_id stand in two rows? Found out with eight bytes a row, whatever the length of the ids.

Each id leaves its 64-bit hash: Python's own, whose key is another in each process, so that no input can be made to collide.
Only where two hashes are equal is the input read once more and the ids themselves compared; a chance collision costs time,
never a wrong answer.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from normpipe.sources.columns import shown
from normpipe.sources.problems import KEPT, Problems

Reread: TypeAlias = Callable[[], Iterable[tuple[pa.RecordBatch, Sequence[int]]]]
"""Gives the batches of the input once more, with the number of each row."""


class SampleIds:
    """The ids of one manifest, of which only hashes are kept."""

    def __init__(self) -> None:
        self._hashes: list[NDArray[np.int64]] = []

    def add(self, ids: pa.Array) -> None:
        """Take note of the ids of a batch; nulls are no ids."""
        self._hashes.append(_hashes(ids.drop_null()))

    def report(self, problems: Problems, reread: Reread) -> None:
        """Note each row whose id an earlier row has: the first ones by name, the others as a number."""
        hashes = np.concatenate([np.empty(0, np.int64), *self._hashes])
        hashes.sort()
        if not (hashes[1:] == hashes[:-1]).any():
            return
        hashes = np.concatenate(self._hashes)
        order = np.argsort(hashes, kind="stable")
        repeats = np.sort(order[1:][hashes[order[1:]] == hashes[order[:-1]]])
        named = repeats[:KEPT]
        _name(problems, reread, hashes[named], len(named))
        problems.add_unnamed(len(repeats) - len(named))


def _name(problems: Problems, reread: Reread, suspects: NDArray[np.int64], most: int) -> None:
    first: dict[str, int] = {}
    for batch, numbers in reread():
        ids = batch["sample_id"]
        places = np.flatnonzero(ids.is_valid())
        hit = np.flatnonzero(np.isin(_hashes(ids.drop_null()), suspects))
        for place, sample_id in zip(places[hit].tolist(), ids.take(places[hit]).to_pylist(), strict=True):
            if sample_id not in first:
                first[sample_id] = numbers[place]
            elif most:
                known = f"{problems.unit} {first[sample_id]}"
                problems.add(numbers[place], f"sample_id: {shown(sample_id)} is already that of {known}")
                most -= 1


def _hashes(ids: pa.Array) -> NDArray[np.int64]:
    return np.fromiter(map(hash, ids.to_pylist()), np.int64, len(ids))
