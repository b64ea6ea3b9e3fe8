"""Looking for many names in many bytes at once.

Two steps make it quick: the first two bytes of the names pick places by a table, their first eight by a search; what is left
is compared in full. Shorter names would be found everywhere, so they are no names here.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

LEAST_BYTES = 8
"""Length from which a name is looked for in raw bytes."""

_BLOCK = 1 << 24


class Finder:
    """Finds names in bytes.

    Args:
        names: Each of at least LEAST_BYTES.
    """

    def __init__(self, names: Collection[bytes]) -> None:
        self.names = frozenset(names)
        self._longest = max(map(len, self.names), default=0)
        self._begins = np.zeros(1 << 16, np.bool_)
        self._by_head: dict[int, dict[int, set[bytes]]] = {}
        for name in self.names:
            self._begins[name[0] << 8 | name[1]] = True
            head = int(np.frombuffer(name[:LEAST_BYTES], np.uint64)[0])
            self._by_head.setdefault(head, {}).setdefault(len(name), set()).add(name)
        self._heads = np.array(sorted(self._by_head), np.uint64)

    def found(self, data: bytes) -> set[bytes]:
        """Those of the names that occur in the bytes."""
        seen: set[bytes] = set()
        if not self.names or len(data) < LEAST_BYTES:
            return seen
        view = np.frombuffer(data, np.uint8)
        pairs = view[:-1].astype(np.uint16) << 8 | view[1:]
        places = np.flatnonzero(self._begins[pairs[: len(view) - LEAST_BYTES + 1]])
        windows = np.lib.stride_tricks.sliding_window_view(view, LEAST_BYTES)[places]
        heads = np.ascontiguousarray(windows).view(np.uint64).reshape(-1)
        alike = np.isin(heads, self._heads)
        for place, head in zip(places[alike].tolist(), heads[alike].tolist(), strict=True):
            for length, names in self._by_head[head].items():
                candidate = data[place : place + length]
                if candidate in names:
                    seen.add(candidate)
        return seen

    def found_in_file(self, path: Path) -> set[bytes]:
        """Those of the names that occur in a file's bytes."""
        seen: set[bytes] = set()
        for block in _blocks(path, max(self._longest - 1, 0)):
            seen |= self.found(block)
        return seen


def _blocks(path: Path, overlap: int) -> Iterator[bytes]:
    """A file in pieces that begin with the end of the one before."""
    with path.open("rb") as file:
        tail = b""
        while block := file.read(_BLOCK):
            yield tail + block
            tail = (tail + block)[-overlap:] if overlap else b""
