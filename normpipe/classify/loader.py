"""Batches for training and evaluation: rows read, decoded and augmented by processes, in an order that does not depend on them.

A batch is a pure function of the rows, the seed, the epoch and the step. So a loader worker is only told an epoch and a step: a
training goes on at any of them, and how many ranks and workers there are decides about no pixel. Rank r of R takes the rows r,
r + R and so on of every batch; worker w of W makes every W-th batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from normpipe.audit.groups import Indices
from normpipe.classify.feed import Feed, Share
from normpipe.classify.labels import Targets
from normpipe.classify.order import step_count
from normpipe.classify.reader import BatchReader, Read, picture_shape
from normpipe.classify.shards import Places, Shards
from normpipe.classify.slots import Slots
from normpipe.engine.signals import held_back
from normpipe.engine.threads import limit_libraries
from normpipe.errors import NormpipeError, UsageError

_AHEAD = 2  # batches that a worker makes before they are asked for
_IN_HAND = 2  # batches that a training holds: one that it trains on, and maybe one that it prepares


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's part of a batch: b rows, maybe none where the last batch has fewer than there are ranks.

    Attributes:
        pictures: (b, V, 3, size, size) uint8, RGB. Its memory is used again when this very tensor is nobody's any more: of a
            part of it that is to stay, make a clone.
        values: (b, C) float32, see Targets.
        known: (b, C) bool.
        weights: (b,) float32.
        keys: (b,) int64, see `sample_keys`.
        rows: (b,) int64, numbers in the table of the Shards.
    """

    pictures: Tensor
    values: Tensor
    known: Tensor
    weights: Tensor
    keys: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        return Batch(*(getattr(self, field.name).to(device) for field in fields(self)))


class Loader:
    """Gives the batches of a rank. Worker processes start with the first batch and stay until `close`.

    Args:
        shards: Index of all rows.
        targets: Labels of all rows.
        rows: Numbers of those that are wanted, e.g. of one side of a fold; each once, in any order.
        feed: Which pictures, in which batches.
        share: Of which rank; of the only one unless given.
        workers: Processes; with 0, batches are made in this process, when they are asked for.

    Raises:
        NormpipeError: there is too little shared memory for the workers.
    """

    def __init__(
        self, shards: Shards, targets: Targets, rows: Indices, feed: Feed, share: Share | None = None, workers: int = 0
    ) -> None:
        self._rows = np.sort(rows).astype(np.int64)
        self._targets = targets.taken(self._rows)
        self._size = feed.batch
        share = share or Share()
        shape = picture_shape(feed, len(range(share.rank, feed.batch, share.ranks)))
        self._slots = Slots(workers * _AHEAD + _IN_HAND if workers else 0, shape)
        self._tasks = _Tasks(self._slots)
        self._loader: DataLoader[Read | _Refusal] | None = DataLoader(
            _Batches(shards.places.taken(self._rows), feed, share, self._slots.memory),
            batch_size=None,
            sampler=self._tasks,
            num_workers=workers,
            worker_init_fn=_begin,
            multiprocessing_context="spawn" if workers else None,
            prefetch_factor=_AHEAD if workers else None,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # else it would draw from the one of the training
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        """Batches of an epoch, the same for all ranks."""
        return step_count(len(self._rows), self._size)

    def close(self) -> None:
        """End the worker processes."""
        self._loader = None

    def batches(self, epoch: int = 0, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from step `first` on, in order. Only the latest call's iterator may be used.

        Raises:
            UsageError: a file is damaged, or a picture cannot be decoded or has another size than the first one of its source.
            NormpipeError: a worker process died.
        """
        assert self._loader is not None, "closed"
        self._tasks.epoch, self._tasks.steps = epoch, range(first, len(self))
        with held_back():  # processes are started
            reads = iter(self._loader)
        while True:
            try:
                read = next(reads)
            except StopIteration:
                return
            except RuntimeError as error:
                if not str(error).startswith("DataLoader worker"):  # raised by a worker, not about one
                    raise
                raise NormpipeError(
                    "a loader worker died, perhaps for want of memory: use fewer workers, or a smaller window or batch"
                ) from error
            if isinstance(read, _Refusal):
                raise UsageError(read.message)
            yield self._batch(read)

    def _batch(self, read: Read) -> Batch:
        pictures = self._slots.lend(read.pictures, len(read.rows)) if isinstance(read.pictures, int) else read.pictures
        targets = self._targets.taken(read.rows)
        arrays = (targets.values, targets.known, targets.weights, read.keys, self._rows[read.rows])
        return Batch(pictures, *map(torch.from_numpy, arrays))


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A UsageError on its way from a worker: torch would add a traceback to one that is raised."""

    message: str


@dataclass(slots=True)
class _Tasks:
    """Which batches are wanted, and where their pictures go: epoch, step and slot of each, told when a worker is free."""

    slots: Slots
    epoch: int = 0
    steps: range = range(0)

    def __iter__(self) -> Iterator[tuple[int, int, int | None]]:
        self.slots.take_back()
        for step in self.steps:
            yield self.epoch, step, self.slots.take()

    def __len__(self) -> int:
        return len(self.steps)


class _Batches(Dataset["Read | _Refusal"]):
    """What a worker has: batches by task."""

    def __init__(self, places: Places, feed: Feed, share: Share, memory: Tensor) -> None:
        self._given = places, feed, share
        self._memory = memory
        self._reader: BatchReader | None = None

    def __getitem__(self, task: tuple[int, int, int | None]) -> Read | _Refusal:
        epoch, step, slot = task
        if self._reader is None:
            worker = get_worker_info()
            self._reader = BatchReader(*self._given, 1 if worker is None else worker.num_workers)
        try:
            read = self._reader.read(epoch, step, None if slot is None else self._memory[slot])
        except UsageError as error:
            return _Refusal(str(error))
        return read if slot is None else replace(read, pictures=slot)


def _begin(_: int) -> None:
    """First of all in each worker."""
    limit_libraries()
