"""Shared memory that loader workers write pictures into, used again and again.

Pages of fresh memory cost about as much to get as pictures cost to decode. So the memory of a few batches is made once, and a
batch's part of it is free again as soon as nobody holds the batch's pictures.
"""

import weakref

import torch
from torch import Tensor

from normpipe.errors import NormpipeError

_MEGABYTE = 1e6


class Slots:
    """Memory of some batches.

    Args:
        count: Of batches.
        shape: Of the pictures of one.

    Raises:
        NormpipeError: there is not so much memory that processes can share.
    """

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        try:
            memory = torch.empty((count, *shape), dtype=torch.uint8)
            self.memory: Tensor = memory.share_memory_()  # type: ignore[no-untyped-call]  # torch gives it no types
        except RuntimeError as error:
            needed = torch.empty((count, *shape), dtype=torch.uint8, device="meta").nbytes / _MEGABYTE
            raise NormpipeError(
                f"loader workers need {needed:.0f} MB of shared memory, which this machine does not give (/dev/shm): use fewer "
                "workers or a smaller batch, or allow more"
            ) from error
        self._lent: set[int] = set()
        self._free = set(range(count))

    def take(self) -> int | None:
        """A slot to write to, None if all are in use."""
        return self._free.pop() if self._free else None

    def lend(self, slot: int, rows: int) -> Tensor:
        """The first rows of a taken slot, which is free again when the result is nobody's any more."""
        pictures: Tensor = self.memory[slot, :rows]
        self._lent.add(slot)
        weakref.finalize(pictures, self._return, slot)
        return pictures

    def take_back(self) -> None:
        """Free what was taken and not lent: nobody writes to it any more."""
        self._free = set(range(len(self.memory))) - self._lent

    def _return(self, slot: int) -> None:
        self._lent.discard(slot)
        self._free.add(slot)
