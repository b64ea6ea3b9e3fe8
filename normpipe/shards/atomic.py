"""Files that appear whole or not at all, and whose digest is known the moment they appear.

Everything a run writes goes through here: a unique temporary name beside the target, the hash taken while writing, fsync of the
file, `os.replace`, fsync of the folder. A process killed at any instant leaves either no target or a complete one, plus at
most a temporary file that the next run on the folder removes.
"""

import hashlib
import io
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_TEMPORARY_SUFFIX = ".part"


@dataclass(frozen=True, slots=True)
class Written:
    """What a finished file is: hex sha256 and size in bytes."""

    sha256: str
    size: int


class AtomicFile(io.RawIOBase):
    """An append-only binary file that takes its name when the `with` block ends without an exception.

    Args:
        target: Where the file appears; its folder must exist. An existing file is replaced.
        durable: Wait until the disk has it; without, it is whole or absent all the same unless the machine itself fails.
    """

    def __init__(self, target: Path, durable: bool = True) -> None:
        super().__init__()
        self._target = target
        self._durable = durable
        self._temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}{_TEMPORARY_SUFFIX}")
        self._file = self._temporary.open("xb")
        self._hash = hashlib.sha256()
        self._size = 0
        self.written: Written | None = None

    def writable(self) -> bool:
        """True: this is a sink."""
        return True

    def write(self, data: object) -> int:
        """Append bytes (anything with the buffer protocol) and hash them."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]  # RawIOBase declares its argument more loosely than it is
        self._file.write(view)
        self._hash.update(view)
        self._size += len(view)
        return len(view)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._size

    def sha256(self) -> str:
        """Hex digest of the bytes written so far."""
        return self._hash.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            self._file.close()
            self._temporary.unlink(missing_ok=True)
            self.close()

    def _publish(self) -> None:
        self._file.flush()
        if self._durable:
            os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.replace(self._target)
        if self._durable:
            _sync_folder(self._target.parent)
        self.written = Written(self._hash.hexdigest(), self._size)


def write_bytes(target: Path, content: bytes, durable: bool = True) -> Written:
    """Write a small file atomically."""
    with AtomicFile(target, durable) as file:
        file.write(content)
    assert file.written is not None
    return file.written


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_leftover(name: str) -> bool:
    """Whether a file of this name is a temporary one, which a killed process left unless it is being written."""
    return name.startswith(".") and name.endswith(_TEMPORARY_SUFFIX)


def remove_leftovers(folder: Path) -> int:
    """Delete temporary files that killed processes left in `folder`; call only while no writer is alive.

    Returns:
        How many were deleted.
    """
    leftovers = [path for path in folder.glob(f".*{_TEMPORARY_SUFFIX}") if path.is_file()]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
