"""Batches as pure functions of epoch and step: what a loader worker does, in its own process or in the training's.

A row group is read when the first of its rows is wanted and let go after the last one, which can be told in advance because the
order of the whole epoch is known.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from normpipe.audit.groups import Indices
from normpipe.batches import Image
from normpipe.classify.augmentation import drawn_changes
from normpipe.classify.feed import Feed, Share
from normpipe.classify.keys import sample_keys
from normpipe.classify.order import batch_places, row_order, shuffled_order
from normpipe.classify.pictures import decoded, recoloured, reduction, warp_matrices, warped
from normpipe.classify.shards import Places
from normpipe.errors import UsageError


@dataclass(frozen=True, slots=True)
class Read:
    """One rank's part of a batch.

    Attributes:
        rows: (b,) int64, numbers of the rows among those of the reader.
        keys: (b,) int64.
        pictures: (b, V, 3, size, size) uint8, RGB; or the number of the slot that they were written to.
    """

    rows: NDArray[np.int64]
    keys: NDArray[np.int64]
    pictures: Tensor | int


def picture_shape(feed: Feed, rows: int) -> tuple[int, ...]:
    """Of the pictures of some rows."""
    return rows, feed.arm.views, 3, feed.size, feed.size


class BatchReader:
    """Reads batches in any order. Cheapest is every `stride`-th step, rising: then no row group is read twice.

    Args:
        places: Where the pictures of n rows are, in rising order.
        feed: What is wanted of them.
        share: Of which rank.
        stride: How many readers share the steps.
    """

    def __init__(self, places: Places, feed: Feed, share: Share, stride: int = 1) -> None:
        self._places = places
        self._feed = feed
        self._share = share
        self._stride = stride
        self._groups = places.row_groups
        self._columns = tuple(dict.fromkeys(feed.arm.columns))
        self._held: dict[int, dict[str, _Contents]] = {}
        self._known: tuple[int, int] | None = None
        self._order: Indices = np.empty(0, np.intp)
        self._last: Indices = np.empty(0, np.intp)

    def read(self, epoch: int, step: int, memory: Tensor | None = None) -> Read:
        """One batch.

        Args:
            epoch: From 0.
            step: From 0.
            memory: (b or more, V, 3, size, size) uint8, takes the pictures; None for memory of their own.

        Raises:
            UsageError: a file is damaged, or a picture cannot be decoded or has another size than the first one of its source.
        """
        self._look_ahead(epoch, step)
        rows = batch_places(self._order, step=step, batch=self._feed.batch, rank=self._share.rank, ranks=self._share.ranks)
        keys = sample_keys(self._places.numbers[rows], self._feed.seed, epoch)
        pictures = (
            torch.empty(picture_shape(self._feed, len(rows)), dtype=torch.uint8) if memory is None else memory[: len(rows)]
        )
        self._fill(pictures.numpy(), rows, keys)
        for group in [group for group in self._held if self._last[group] <= step]:
            del self._held[group]
        return Read(rows.astype(np.int64), keys.numpy(), pictures)

    def _look_ahead(self, epoch: int, step: int) -> None:
        """Know the order of the epoch, and at which of this reader's steps each row group is wanted last."""
        turn = step % self._stride
        if (epoch, turn) == self._known:
            return
        self._known = epoch, turn
        feed, number = self._feed, np.arange(len(self._places))
        self._order = (
            shuffled_order(self._groups, batch=feed.batch, window=feed.window, seed=feed.seed, epoch=epoch)
            if feed.shuffled
            else row_order(len(number))
        )
        steps, place = np.divmod(number, feed.batch)
        mine = (steps % self._stride == turn) & (place % self._share.ranks == self._share.rank)
        self._last = np.full(len(number), -1)
        np.maximum.at(self._last, self._groups[self._order[mine]], steps[mine])

    def _fill(self, target: NDArray[np.uint8], rows: Indices, keys: Tensor) -> None:
        """Decode, change and write the pictures of rows into (b, V, 3, size, size)."""
        size, views = self._feed.size, self._feed.arm.views
        sides = self._places.sides[self._places.file[rows]]
        factors = np.array([reduction(int(side), size) for side in sides], np.intp)
        changes = None if self._feed.augmentation is None else drawn_changes(self._feed.augmentation, keys, views)
        placing = np.broadcast_to(np.eye(2, 3), (len(rows), views, 2, 3)) if changes is None else changes.placing
        matrices = warp_matrices(placing, -(-sides // factors), size)
        for place, row in enumerate(rows):
            found = {name: self._decoded(int(row), name, int(factors[place])) for name in self._columns}
            for view, name in enumerate(self._feed.arm.columns):
                picture, planes = found[name], target[place, view]
                if changes is not None:
                    recoloured(warped(picture, matrices[place, view], size), changes, (place, view), planes)
                elif len(picture) == size:
                    cv2.split(picture, list(planes[::-1]))
                else:
                    cv2.split(warped(picture, matrices[place, view], size), list(planes))

    def _decoded(self, row: int, name: str, factor: int) -> Image:
        places = self._places
        file, group = places.file[row], int(self._groups[row])
        if group not in self._held:
            arrays = places.files[file].pictures(int(places.group[row]), self._columns)
            self._held[group] = dict(zip(self._columns, map(_Contents.of, arrays), strict=True))
        picture = decoded(self._held[group][name].at(int(places.row[row])), int(places.sides[file]), factor)
        if isinstance(picture, str):
            sample = places.files[file].sample_id(int(places.group[row]), int(places.row[row]))
            raise UsageError(f"{sample}: its {name} {picture} ({places.files[file]}); make or fetch this file again")
        return picture


@dataclass(frozen=True, slots=True)
class _Contents:
    """The byte strings of a column, as they lie in memory."""

    ends: NDArray[np.int32]
    data: NDArray[np.uint8]

    @classmethod
    def of(cls, array: pa.BinaryArray) -> "_Contents":
        _, ends, data = array.buffers()
        every = np.frombuffer(ends, np.int32)[array.offset : array.offset + len(array) + 1]
        return cls(every, np.frombuffer(data or b"", np.uint8))

    def at(self, row: int) -> NDArray[np.uint8]:
        """Empty for null."""
        return self.data[self.ends[row] : self.ends[row + 1]]
