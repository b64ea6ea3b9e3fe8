"""Files that FFmpeg reads through callbacks.

An exception that crosses these is printed to the terminal, paths included, and may get lost: a transfer that broke off would
then look like a video that does.
"""

from collections.abc import Callable
from typing import BinaryIO, TypeVar

_T = TypeVar("_T")


class CallbackFile:
    """A file that ends where it fails.

    Attributes:
        error: What it failed with, to be raised by whoever comes back from FFmpeg.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def read(self, size: int) -> bytes:
        """Some bytes; none after an error."""
        return self._kept(lambda: self._file.read(size)) or b""

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to an offset."""
        return self._kept(lambda: self._file.seek(offset, whence)) or 0

    def tell(self) -> int:
        """Current offset."""
        return self._kept(self._file.tell) or 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _kept(self, call: Callable[[], _T]) -> _T | None:
        if self.error is None:
            try:
                return call()
            except OSError as error:
                self.error = error
        return None
