"""Any other file system of fsspec: files are written under a temporary name, and renamed when they are whole.

Not every backend puts a file there at once, and none says whether it does, so all are treated alike. Each thread asks fsspec
for its own instance, as some connections (FTP, SFTP) serve one call at a time.
"""

import io
from collections.abc import Collection, Mapping
from typing import BinaryIO

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from normpipe.address import shown
from normpipe.errors import NormpipeError
from normpipe.release.outgoing import Outgoing
from normpipe.release.parallel import Halt, HaltedError
from normpipe.sources.retries import ResumingFile, retried

_PIECE = 8 << 20
_NO_LISTING = frozenset({"http", "https"})
_SUFFIX = ".part"


class FsspecRemote:
    """A place of `release.remote`.

    Args:
        url: One whose file system is installed.
    """

    def __init__(self, url: str) -> None:
        self.name = shown(url)
        self._url = url
        self._base = str(url_to_fs(url)[1]).rstrip("/")

    def sizes(self) -> Mapping[str, int] | None:
        """Bytes of every file; None over HTTP, which has no listing."""
        if self._url.partition("://")[0] in _NO_LISTING:
            return None
        return {path: size for path, size in self._found().items() if not _is_temporary(path)}

    def open(self, path: str) -> BinaryIO:
        """Open a file; a broken transfer is read on from where it was."""
        filesystem = self._filesystem()
        return io.BufferedReader(ResumingFile(lambda: filesystem.open(self._at(path), "rb", block_size=_PIECE)))

    def prepare(self) -> None:
        """Nothing: the first file tells."""

    def agrees(self, file: Outgoing) -> bool | None:
        """None: what a checksum of fsspec means, each backend decides for itself."""

    def send(self, file: Outgoing, halt: Halt) -> None:
        """Write under a temporary name, then rename."""
        retried(lambda: self._send(self._filesystem(), file, halt))

    def clear(self, paths: Collection[str]) -> None:
        """Remove temporary files of these."""
        ours = {_temporary(path) for path in paths}
        for path in ours.intersection(self._found()):
            self._remove(path)

    def publish(self, message: str) -> None:
        """Nothing: what has its name is to be seen."""

    def _send(self, filesystem: AbstractFileSystem, file: Outgoing, halt: Halt) -> None:
        temporary = _temporary(file.path)
        filesystem.makedirs(self._at(temporary).rpartition("/")[0], exist_ok=True)
        try:
            with filesystem.open(self._at(temporary), "wb", block_size=_PIECE) as written:
                for piece in file.pieces(_PIECE, halt):
                    written.write(piece)
        except (NormpipeError, HaltedError):
            self._remove(temporary)
            raise
        filesystem.mv(self._at(temporary), self._at(file.path))

    def _remove(self, path: str) -> None:
        filesystem = self._filesystem()
        retried(lambda: filesystem.rm_file(self._at(path)))

    def _found(self) -> dict[str, int]:
        filesystem = self._filesystem()
        filesystem.invalidate_cache()
        try:
            found = retried(lambda: filesystem.find(self._base, detail=True))
        except FileNotFoundError:
            return {}
        above = self._base.lstrip("/") + "/"
        return {name.lstrip("/").removeprefix(above): int(entry["size"]) for name, entry in found.items()}

    def _filesystem(self) -> AbstractFileSystem:
        return url_to_fs(self._url)[0]

    def _at(self, path: str) -> str:
        return f"{self._base}/{path}"


def _temporary(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}.{name}{_SUFFIX}"


def _is_temporary(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith(".") and name.endswith(_SUFFIX)
