"""Batches as pure functions of epoch and step: what a loader worker does, in its own process or in the training's.

A row group is read when the first of its rows is wanted and let go after the last one, which can be told in advance because the
order of the whole epoch is known.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from normpipe.audit.groups import Indices
from normpipe.batches import Image
from normpipe.classify.augmentation import Augmentation, drawn_changes
from normpipe.classify.feed import Feed, Share
from normpipe.classify.keys import sample_keys
from normpipe.classify.order import batch_places, row_order, shuffled_order
from normpipe.classify.pictures import Warp, decoded, in_planes, recoloured, reduction, resized, warp_matrices
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
        self._columns = list(dict.fromkeys(feed.arm.columns))
        self._views = [self._columns.index(name) for name in feed.arm.columns]
        self._factors = np.array([reduction(int(side), feed.size) for side in places.sides], np.intp)
        self._warps: dict[int, Warp] = {}
        self._held: dict[int, list[_Contents]] = {}
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
        if self._feed.augmentation is None:
            self._fill(pictures.numpy(), rows)
        else:
            self._fill_changed(pictures.numpy(), rows, keys, self._feed.augmentation)
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

    def _fill(self, target: NDArray[np.uint8], rows: Indices) -> None:
        """Decode and write the pictures of rows into (b, V, 3, size, size)."""
        for row, views in zip(rows.tolist(), target, strict=True):
            found = self._decoded(row)
            for column, planes in zip(self._views, views, strict=True):
                in_planes(resized(found[column], self._feed.size), planes[::-1])

    def _fill_changed(self, target: NDArray[np.uint8], rows: Indices, keys: Tensor, options: Augmentation) -> None:
        """As `_fill`, with all that augmentation changes."""
        changes = drawn_changes(options, keys, len(self._views))
        files = self._places.file[rows]
        sides = -(-self._places.sides[files] // self._factors[files])
        matrices = warp_matrices(changes.placing, sides, self._feed.size)
        covers = np.round(changes.cover * self._feed.size).astype(np.intp).tolist()
        for place, row in enumerate(rows.tolist()):
            found = self._decoded(row)
            warp = self._warp(int(sides[place]))
            for view, column in enumerate(self._views):
                planes = target[place, view]
                in_planes(recoloured(warp.placed(found[column], matrices[place, view]), changes.colour[place, view]), planes)
                x0, y0, x1, y1 = covers[place][view]
                if x0 < x1:
                    planes[:, y0:y1, x0:x1] = changes.fill[place, view, :, None, None]

    def _warp(self, side: int) -> Warp:
        found = self._warps.get(side)
        if found is None:
            found = self._warps[side] = Warp(side, self._feed.size)
        return found

    def _decoded(self, row: int) -> list[Image]:
        """Pictures of a row, of all columns."""
        places = self._places
        file, group, within = int(places.file[row]), int(places.group[row]), int(places.row[row])
        held = self._held.get(number := int(self._groups[row]))
        if held is None:
            held = self._held[number] = [_Contents.of(array) for array in places.files[file].pictures(group, self._columns)]
        pictures = []
        for name, contents in zip(self._columns, held, strict=True):
            picture = decoded(contents.at(within), int(places.sides[file]), int(self._factors[file]))
            if isinstance(picture, str):
                sample = places.files[file].sample_id(group, within)
                raise UsageError(f"{sample}: its {name} {picture} ({places.files[file]}); make or fetch this file again")
            pictures.append(picture)
        return pictures


@dataclass(frozen=True, slots=True)
class _Contents:
    """The byte strings of a column, as they lie in memory."""

    ends: list[int]
    data: NDArray[np.uint8]

    @classmethod
    def of(cls, array: pa.BinaryArray) -> "_Contents":
        _, ends, data = array.buffers()
        own = np.frombuffer(ends, np.int32)[array.offset : array.offset + len(array) + 1]
        return cls(own.tolist(), np.frombuffer(data or b"", np.uint8))

    def at(self, row: int) -> NDArray[np.uint8]:
        """Empty for null."""
        return self.data[self.ends[row] : self.ends[row + 1]]
