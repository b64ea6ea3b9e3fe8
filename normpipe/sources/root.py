"""ROOT: the folder or object store below which all files of a dataset lie. Everything that reads a source file goes through it.

A manifest names files by URI: their path relative to ROOT, with `/` between the parts. ROOT itself is a run option and stands
in no output, so a dataset can move without its manifest changing. Local files are read with plain `open`; anything else goes
through fsspec, and only if the user names such a URL.

**Names.** A URI is the file's name as it is: spaces, newlines and all scripts included, nothing normalized. File systems allow
bytes that are no UTF-8, which no Parquet string can hold: such a byte, and nothing else, is written as `%` and two upper-case
hexadecimal digits (0x80 to 0xFF). So that the way back is unique, a `%` that would read as such an escape is itself written as
`%25`. `100%.jpg` and `a%20b.jpg` stay as they are.
"""

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import fsspec

from normpipe.errors import UsageError

_ESCAPE = re.compile(r"%(25|[89A-F][0-9A-F])")
_LOCAL_SCHEMES = ("file://", "local://")
_STAT_THREADS = 16


def path_to_uri(path: str) -> str:
    """URI of a relative path as Python's file functions give it (undecodable bytes as lone surrogates)."""
    quoted = _ESCAPE.sub(lambda match: "%25" + match[1], path)
    try:
        quoted.encode("utf-8")
    except UnicodeEncodeError:
        return "".join(f"%{ord(char) - 0xDC00:02X}" if 0xDC80 <= ord(char) <= 0xDCFF else char for char in quoted)
    return quoted


def uri_to_path(uri: str) -> str:
    """Relative path of a URI; the inverse of `path_to_uri`.

    Raises:
        UsageError: the URI is empty or absolute, or reaches out of ROOT.
    """
    if not uri or uri.startswith("/") or "\0" in uri or ".." in uri.split("/"):
        raise UsageError(f"uri {uri!r}: write a path below ROOT, without a leading / and without ..")
    if "%" not in uri:
        return uri
    return _ESCAPE.sub(lambda match: "%" if match[1] == "25" else chr(0xDC00 + int(match[1], 16)), uri)


def is_remote(location: str) -> bool:
    """Whether a path or URL needs fsspec."""
    return "://" in location and not location.startswith(_LOCAL_SCHEMES)


@dataclass(frozen=True)
class Root:
    """Reader of the files below one folder or fsspec URL. Cheap to make and to pickle.

    Links inside ROOT may lead out of it, as in datasets that are assembled from links; URIs may not.

    Attributes:
        url: A local folder, or any fsspec URL ("s3://bucket/dataset", "zip:///data/dataset.zip").
    """

    url: str

    @cached_property
    def _folder(self) -> str | None:
        """The local folder, None for a remote ROOT."""
        if is_remote(self.url):
            return None
        for scheme in _LOCAL_SCHEMES:
            if self.url.startswith(scheme):
                return self.url.removeprefix(scheme) or "/"
        return self.url or "."

    @cached_property
    def _remote(self) -> tuple[fsspec.AbstractFileSystem, str]:
        try:
            filesystem, base = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"ROOT: no file system for this kind of URL ({error})") from error
        return filesystem, base.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether ROOT is a folder of this machine."""
        return self._folder is not None

    def exists_as_folder(self) -> bool:
        """Whether ROOT itself is there."""
        if self._folder is not None:
            return os.path.isdir(self._folder)  # noqa: PTH112 - Path cannot hold every name faithfully and costs more
        filesystem, base = self._remote
        return bool(filesystem.isdir(base))

    def local_path(self, uri: str) -> Path | None:
        """Path of a file on the local disk, absolute; None where ROOT is remote.

        Raises:
            UsageError: the URI reaches out of ROOT.
        """
        relative = uri_to_path(uri)
        return None if self._folder is None else Path(self._folder, relative).absolute()

    def open(self, uri: str) -> BinaryIO:
        """Open a file for reading; the result can seek.

        Raises:
            UsageError: the URI reaches out of ROOT.
            OSError: there is no such file, it may not be read, or the transfer fails.
        """
        relative = uri_to_path(uri)
        if self._folder is not None:
            return open(os.path.join(self._folder, relative), "rb")  # noqa: PTH118, PTH123 - see exists_as_folder
        filesystem, base = self._remote
        return cast("BinaryIO", filesystem.open(f"{base}/{relative}", "rb"))

    def read(self, uri: str) -> bytes:
        """Whole content of a file. Raises what `open` raises."""
        with self.open(uri) as file:
            return file.read()

    def exists(self, uri: str) -> bool:
        """Whether there is a file (not a folder) at the URI.

        Raises:
            UsageError: the URI reaches out of ROOT.
        """
        relative = uri_to_path(uri)
        if self._folder is not None:
            return os.path.isfile(os.path.join(self._folder, relative))  # noqa: PTH113, PTH118 - see exists_as_folder
        filesystem, base = self._remote
        return bool(filesystem.isfile(f"{base}/{relative}"))

    def stat_key(self, uri: str) -> str:
        """What changes when the file does, without reading it: size, times and inode locally, fsspec's `ukey` elsewhere.

        Raises:
            UsageError: the URI reaches out of ROOT.
            OSError: there is no such file, or the transfer fails.
        """
        relative = uri_to_path(uri)
        if self._folder is not None:
            found = os.stat(os.path.join(self._folder, relative))  # noqa: PTH116, PTH118 - see exists_as_folder
            return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}"
        filesystem, base = self._remote
        return str(filesystem.ukey(f"{base}/{relative}"))

    def stat_keys(self, uris: Sequence[str]) -> list[str]:
        """`stat_key` of many files, several at a time; "" where there is no such file or it cannot be asked for."""
        with ThreadPoolExecutor(_STAT_THREADS) as pool:
            return list(pool.map(self._stat_key_or_none, uris))

    def _stat_key_or_none(self, uri: str) -> str:
        try:
            return self.stat_key(uri)
        except (OSError, UsageError):
            return ""

    def walk(self) -> Iterator[str]:
        """URIs of all files below ROOT, in no particular order. Hidden folders are entered; links that lead back are not."""
        if self._folder is not None:
            yield from _walk_local(self._folder)
            return
        filesystem, base = self._remote
        for path in filesystem.find(base):
            yield path_to_uri(PurePosixPath("/" + path.lstrip("/")).relative_to("/" + base.lstrip("/")).as_posix())


def existing_root(url: str) -> Root:
    """What the option --root names.

    Raises:
        UsageError: there is no such folder.
    """
    root = Root(url)
    if not root.exists_as_folder():
        raise UsageError("--root: no such folder")
    return root


def _walk_local(folder: str) -> Iterator[str]:
    pending = [("", frozenset({os.path.realpath(folder)}))]
    while pending:
        prefix, above = pending.pop()
        with os.scandir(os.path.join(folder, prefix)) as entries:  # noqa: PTH118 - see exists_as_folder
            for entry in entries:
                if not entry.is_dir():
                    yield path_to_uri(prefix + entry.name)
                    continue
                real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                if real not in above:
                    pending.append((f"{prefix}{entry.name}/", above | {real} if entry.is_symlink() else above))
