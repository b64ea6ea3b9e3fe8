"""A file on its way out: hashed before anything is sent, and again while it is, so that nothing wrong gets its name there."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from normpipe.errors import NormpipeError
from normpipe.release.parallel import Halt

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One file of a release.

    Attributes:
        path: Relative to the release.
        source: Where it lies here.
        size: Bytes.
        sha256: Hex digest that it must have.
    """

    path: str
    source: Path
    size: int
    sha256: str

    def check(self, halt: Halt) -> None:
        """Read it to its end. Raises NormpipeError as `pieces` does."""
        for _ in self.pieces(_BLOCK, halt):
            pass

    def pieces(self, size: int, halt: Halt) -> Iterator[bytes]:
        """Its content in pieces of `size` bytes; an empty file is one empty piece. The last comes after the whole was checked.

        Raises:
            NormpipeError: it has not the digest that it must have, or cannot be read.
        """
        digest, left = hashlib.sha256(), self.size
        try:
            with self.source.open("rb") as file:
                while True:
                    halt.check()
                    piece = file.read(min(size, left))
                    digest.update(piece)
                    left -= len(piece)
                    if left == 0 or not piece:
                        break
                    yield piece
                longer = bool(file.read(1))
        except OSError as error:
            raise NormpipeError(f"{self.path}: cannot be read ({error.strerror})") from error
        if left or longer or digest.hexdigest() != self.sha256:
            raise NormpipeError(f"{self.path}: its sha256 is not the one in SHA256SUMS; it is not sent, get or build it again")
        yield piece
