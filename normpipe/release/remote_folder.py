"""A folder on a disk that is mounted here: files appear by renaming, and are on the disk when they do."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import BinaryIO

from normpipe.address import shown
from normpipe.errors import UsageError
from normpipe.release.outgoing import Outgoing
from normpipe.release.parallel import Halt
from normpipe.shards.atomic import AtomicFile, is_leftover, remove_leftovers

_PIECE = 1 << 20


class FolderRemote:
    """A place of `release.remote`.

    Args:
        folder: Made by the first file if absent; its parent must exist, lest a disk that is not mounted goes unnoticed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = shown(str(folder))

    def sizes(self) -> Mapping[str, int]:
        """Bytes of every file below the folder; nothing where there is no folder."""
        return {path: (self.folder / path).stat().st_size for path in files_below(self.folder)}

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""
        return (self.folder / path).open("rb")

    def prepare(self) -> None:
        """See that its parent is there; the folder itself is made with the first file."""
        if not self.folder.absolute().parent.is_dir():
            raise UsageError(f"{self.name}: the folder above it is not there")
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{self.name}: a file of that name is there")

    def agrees(self, file: Outgoing) -> bool | None:
        """None: disks keep no checksum of a file."""

    def send(self, file: Outgoing, halt: Halt) -> None:
        """Write under a temporary name, fsync, rename."""
        self.folder.mkdir(exist_ok=True)
        target = self.folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        with AtomicFile(target) as written:
            for piece in file.pieces(_PIECE, halt):
                written.write(piece)

    def clear(self, paths: Collection[str]) -> None:
        """Remove temporary files beside these."""
        for folder in {(self.folder / path).parent for path in paths}:
            remove_leftovers(folder)

    def publish(self, message: str) -> None:
        """Nothing: what has its name is to be seen."""


def files_below(folder: Path) -> list[str]:
    """Relative paths of all that is no folder, links among them, but temporary files; sorted, nothing where no folder is.

    Raises:
        OSError: a folder cannot be listed.
    """
    found = []
    for above, _, names in os.walk(folder, onerror=_raise):
        relative = Path(above).relative_to(folder)
        found += [(relative / name).as_posix() for name in names if not is_leftover(name)]
    return sorted(found)


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
