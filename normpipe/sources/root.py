"""ROOT: the folder or object store below which all files of a dataset lie. Everything that reads a source file goes through it.

A manifest names files by URI: their path relative to ROOT, with `/` between the parts. ROOT itself is a run option and stands
in no output, so a dataset can move without its manifest changing. Local files are read with plain `open`; anything else goes
through fsspec, and only if the user names such a URL; a call that fails there is made again (see retries).

**Names.** A URI is the file's name as it is: spaces, newlines and all scripts included, nothing normalized. File systems allow
bytes that are no UTF-8, which no Parquet string can hold: such a byte, and nothing else, is written as `%` and two upper-case
hexadecimal digits (0x80 to 0xFF). So that the way back is unique, a `%` that would read as such an escape is itself written as
`%25`. `100%.jpg` and `a%20b.jpg` stay as they are.
"""

import io
import os
import re
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import fsspec
from fsspec.asyn import AsyncFileSystem

from normpipe.errors import UsageError
from normpipe.sources.retries import ResumingFile, retried

_ESCAPE = re.compile(r"%(25|[89A-F][0-9A-F])")
_LOCAL_SCHEMES = ("file://", "local://")
_STAT_THREADS = 16
_STAT_PART = 64


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


def named_path(location: str) -> Path:
    """The path that a location names which is not remote, be it written as a path or as a file:// URL."""
    scheme = next((scheme for scheme in _LOCAL_SCHEMES if location.startswith(scheme)), "")
    return Path(location.removeprefix(scheme) or ("/" if scheme else "."))


class NotAFileError(OSError):
    """A device, pipe or socket stands where a file is wanted."""


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
            filesystem, base = retried(lambda: fsspec.core.url_to_fs(self.url))
        except (ImportError, ValueError) as error:
            raise UsageError(f"ROOT: no file system for this kind of URL ({error})") from error
        return filesystem, base.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether ROOT is a folder of this machine."""
        return self._folder is not None

    def exists_as_folder(self) -> bool:
        """Whether ROOT itself is there.

        Raises:
            OSError: ROOT cannot be asked for.
        """
        if self._folder is not None:
            return os.path.isdir(self._folder)  # noqa: PTH112 - Path cannot hold every name faithfully and costs more
        filesystem, base = self._remote
        # fsspec's own isdir takes any failure for a no, but only it knows that an HTTP address with links is a folder.
        return self._kind(base) == "directory" or bool(filesystem.isdir(base))

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
            path = os.path.join(self._folder, relative)  # noqa: PTH118 - see exists_as_folder
            if stat.S_IFMT(os.stat(path).st_mode) not in {stat.S_IFREG, stat.S_IFDIR}:  # noqa: PTH116
                raise NotAFileError  # before it is opened: a pipe would wait for a writer, a device never end
            return open(path, "rb")  # noqa: PTH123
        filesystem, base = self._remote
        return io.BufferedReader(ResumingFile(lambda: filesystem.open(f"{base}/{relative}", "rb")))

    def read(self, uri: str) -> bytes:
        """Whole content of a file. Raises what `open` raises."""
        if self._folder is not None:
            with self.open(uri) as file:
                return file.read()
        relative = uri_to_path(uri)
        filesystem, base = self._remote
        # One request where opening and reading would be two.
        return cast("bytes", retried(lambda: filesystem.cat_file(f"{base}/{relative}")))

    def exists(self, uri: str) -> bool:
        """Whether there is a file (not a folder) at the URI.

        Raises:
            UsageError: the URI reaches out of ROOT.
            OSError: a remote ROOT cannot be asked for it.
        """
        relative = uri_to_path(uri)
        if self._folder is not None:
            return os.path.isfile(os.path.join(self._folder, relative))  # noqa: PTH113, PTH118 - see exists_as_folder
        return self._kind(f"{self._remote[1]}/{relative}") == "file"

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
        return str(retried(lambda: filesystem.ukey(f"{base}/{relative}")))

    def stat_keys(self, uris: Sequence[str]) -> list[str]:
        """`stat_key` of many files, several at a time; "" where there is no such file or it cannot be asked for."""
        parts = [uris[start : start + _STAT_PART] for start in range(0, len(uris), _STAT_PART)]
        with ThreadPoolExecutor(_STAT_THREADS) as pool:
            return [key for keys in pool.map(self._stat_part, parts) for key in keys]

    def walk(self) -> Iterator[str]:
        """URIs of all files below ROOT, in no particular order. Hidden folders are entered; links that lead back are not.

        Raises:
            OSError: a folder cannot be listed.
        """
        if self._folder is not None:
            yield from _walk_local(self._folder)
            return
        filesystem, base = self._remote
        for path in _walk_remote(filesystem, base):
            yield path_to_uri(PurePosixPath("/" + path.lstrip("/")).relative_to("/" + base.lstrip("/")).as_posix())

    def _stat_part(self, uris: Sequence[str]) -> list[str]:
        return [self._stat_or_nothing(uri) for uri in uris]

    def _stat_or_nothing(self, uri: str) -> str:
        try:
            return self.stat_key(uri)
        except (OSError, UsageError):
            return ""

    def _kind(self, path: str) -> str | None:
        """What a remote file system says there is, "file" or "directory"; None where there is nothing."""
        try:
            return str(retried(lambda: self._remote[0].info(path))["type"])
        except (FileNotFoundError, NotADirectoryError):
            return None


def existing_root(url: str) -> Root:
    """What the option --root names.

    Raises:
        UsageError: there is no such folder.
    """
    root = Root(url)
    try:
        found = root.exists_as_folder()
    except OSError as error:
        raise UsageError("--root: cannot be reached") from error
    if not found:
        raise UsageError("--root: no such folder")
    return root


def _walk_remote(filesystem: fsspec.AbstractFileSystem, base: str) -> Iterator[str]:
    generic = type(filesystem).find is fsspec.AbstractFileSystem.find and getattr(type(filesystem), "_find", None) in {
        None,
        AsyncFileSystem._find,
    }
    if not generic:  # object stores list all at once
        yield from retried(lambda: filesystem.find(base))
        return
    # fsspec's generic listing leaves out a folder that it fails to list.
    pending = [base]
    while pending:
        folder = pending.pop()
        for entry in retried(partial(filesystem.ls, folder, detail=True)):
            path = entry["name"].rstrip("/")
            if path == folder:
                continue  # an object that stands for the folder itself
            if entry["type"] == "directory":
                pending.append(path)
            else:
                yield path


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself; reading it will tell
        return False


def _walk_local(folder: str) -> Iterator[str]:
    pending = [("", frozenset({os.path.realpath(folder)}))]
    while pending:
        prefix, above = pending.pop()
        with os.scandir(os.path.join(folder, prefix)) as entries:  # noqa: PTH118 - see exists_as_folder
            for entry in entries:
                if not _is_folder(entry):
                    yield path_to_uri(prefix + entry.name)
                    continue
                real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                if real not in above:
                    pending.append((f"{prefix}{entry.name}/", above | {real} if entry.is_symlink() else above))
