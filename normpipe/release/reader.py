"""A release as it lies somewhere: a folder, or any URL that fsspec knows. Nothing is written there."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import fsspec

from normpipe.address import shown
from normpipe.errors import UsageError

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Read:
    """A file that was read to its end: hex sha256 and bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class ReleaseFolder:
    """Where a release lies.

    Attributes:
        system: File system of fsspec.
        root: Path there.
        local: Whether it is this machine's.
    """

    system: fsspec.AbstractFileSystem
    root: str
    local: bool

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.root.rstrip("/").rpartition("/")[2]

    def files(self) -> dict[str, int]:
        """Sizes of all files, by their path in the release."""
        found = self.system.find(self.root, detail=True)
        start = len(self.root.rstrip("/")) + 1
        return {path[start:]: int(about["size"]) for path, about in found.items()}

    def content(self, path: str) -> bytes:
        """A small file.

        Raises:
            FileNotFoundError: it is not there.
            OSError: it cannot be read.
        """
        return bytes(self.system.cat_file(f"{self.root}/{path}"))

    @contextmanager
    def fetched(self, path: str) -> Iterator[tuple[Path, Read]]:
        """A file on this machine, read once to its end; one from elsewhere lies in a temporary place meanwhile."""
        with self.system.open(f"{self.root}/{path}", "rb", block_size=_BLOCK) as file:
            if self.local:
                read = _read(file, None)
                yield Path(self.root) / path, read
                return
            with tempfile.NamedTemporaryFile(suffix=".parquet") as copy:
                read = _read(file, cast("BinaryIO", copy))
                copy.flush()
                yield Path(copy.name), read

    def read(self, path: str) -> Read:
        """Digest and size of a file."""
        with self.system.open(f"{self.root}/{path}", "rb") as file:
            return _read(file, None)


def open_release(url: str) -> ReleaseFolder:
    """Find a release.

    Raises:
        UsageError: the URL cannot be understood, or needs a package that is not installed.
    """
    try:
        system, root = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise UsageError(f"{shown(url)}: cannot be opened; its protocol is unknown or needs a package ({error})") from error
    return ReleaseFolder(system, root, "file" in system.protocol)


def _read(file: BinaryIO, copy: BinaryIO | None) -> Read:
    digest, size = hashlib.sha256(), 0
    while block := file.read(_BLOCK):
        digest.update(block)
        size += len(block)
        if copy is not None:
            copy.write(block)
    return Read(digest.hexdigest(), size)
