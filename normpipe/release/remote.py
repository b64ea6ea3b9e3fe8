"""Where a release is pushed to or pulled from: what all kinds of places have in common, and which kind a URL means.

A Hugging Face repository is written as fsspec writes it, `hf://datasets/owner/name[@revision]`: one form of address for all
places, and the one that pandas, polars and DuckDB read the same files by. Only the place that the user names is ever connected
to, and messages call it by its address without what may be secret.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

from fsspec.core import url_to_fs
from fsspec.registry import known_implementations

from normpipe.address import shown
from normpipe.errors import ModelUnavailableError, UsageError
from normpipe.release.outgoing import Outgoing
from normpipe.release.parallel import Halt
from normpipe.sources.retries import retried

_LOCAL = re.compile(r"(file|local)://")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HUB_NAME = r"(?![^/@]*(--|\.\.))[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_HUB = re.compile(rf"hf://datasets/(?P<name>{_HUB_NAME}/{_HUB_NAME})(@(?P<revision>[\w./-]+?))?/?", re.ASCII)

_PACKAGES = {
    "s3": "'normpipe[s3]'",
    "s3a": "'normpipe[s3]'",
    "hf": "'normpipe[hub]'",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "sftp": "paramiko",
    "ssh": "paramiko",
    "smb": "smbprotocol",
    "http": "aiohttp",
    "https": "aiohttp",
}
"""What to install for a protocol whose package is missing; for others fsspec knows a sentence."""


class Remote(Protocol):
    """A place that holds a release."""

    @property
    def name(self) -> str:
        """What messages call it: its address, without what may be secret."""

    def sizes(self) -> Mapping[str, int] | None:
        """Bytes of every file there, by path; None where the place cannot list. Left out is what a broken push left behind.

        Raises:
            OSError: it cannot be reached.
        """

    def open(self, path: str) -> BinaryIO:
        """Open a file there for reading from its beginning to its end.

        Raises:
            OSError: there is none, or it cannot be reached.
        """


class Target(Remote, Protocol):
    """A place that takes a release."""

    def prepare(self) -> None:
        """Make the place if it must be made, and see whether it can be written to as the user wants.

        Raises:
            UsageError: it cannot.
        """

    def agrees(self, file: Outgoing) -> bool | None:
        """Whether the checksum that the place itself keeps is that of the file; None where it keeps none."""

    def send(self, file: Outgoing, halt: Halt) -> None:
        """Bring a file there; it has its name when it is whole, checked and there, and not before.

        Raises:
            NormpipeError: the file here is not what it must be.
            OSError: the place fails.
        """

    def clear(self, paths: Collection[str]) -> None:
        """Remove what broken pushes of these files left behind; called when all are sent."""

    def publish(self, message: str) -> None:
        """Show what was sent, where the place shows only what is committed; called last."""


def open_remote(url: str, revision: str | None = None) -> Remote:
    """The place a release is pulled from.

    Args:
        url: A folder, an fsspec URL, or `hf://datasets/owner/name[@revision]`.
        revision: Branch, tag or commit of a Hugging Face repository.

    Raises:
        UsageError: it is none of these.
        ModelUnavailableError: the package for it is not installed.
    """
    return open_target(url, revision, public=False)


def open_target(url: str, revision: str | None = None, *, public: bool = False) -> Target:
    """The place a release is pushed to.

    Args:
        url: See `open_remote`.
        revision: See `open_remote`.
        public: A repository may be public; otherwise a new one is private, and an old one must be.

    Raises:
        UsageError: it is none of these.
        ModelUnavailableError: the package for it is not installed.
    """
    if not url or "::" in url:
        raise UsageError(f"{shown(url) or 'URL'}: no address; write a folder, one URL of fsspec, or hf://datasets/owner/name")
    scheme = _SCHEME.match(url)
    if scheme is not None and scheme[1] == "hf":
        return _hub(url, revision, public)
    if revision is not None or public:
        raise UsageError("--revision and --public are for hf://datasets/owner/name")
    if scheme is None or _LOCAL.match(url):
        from normpipe.release.remote_folder import FolderRemote

        return FolderRemote(Path(_LOCAL.sub("", url, count=1)))
    return _fsspec(url, scheme[1])


def _fsspec(url: str, scheme: str) -> Target:
    if scheme not in known_implementations:
        raise UsageError(f"{shown(url)}: no file system is known for {scheme}://")
    try:
        retried(lambda: url_to_fs(url))
    except ImportError as error:
        package = _PACKAGES.get(scheme)
        advice = f"pip install {package}" if package else known_implementations[scheme].get("err", "see fsspec's documentation")
        raise ModelUnavailableError(f"{scheme}:// needs a package that is not installed: {advice}") from error
    except (ValueError, TypeError) as error:  # each backend reads URLs in its own way
        raise UsageError(f"{shown(url)}: the file system for {scheme}:// cannot read this address") from error
    if scheme in {"s3", "s3a"}:
        from normpipe.release.remote_s3 import S3Remote

        return S3Remote(url)
    from normpipe.release.remote_fsspec import FsspecRemote

    return FsspecRemote(url)


def _hub(url: str, revision: str | None, public: bool) -> Target:
    found = _HUB.fullmatch(url)
    if found is None:
        raise UsageError(f"{shown(url)}: no repository; write hf://datasets/owner/name or hf://datasets/owner/name@revision")
    if revision is not None and found["revision"] is not None:
        raise UsageError("--revision: the URL names a revision already; give one")
    try:
        from normpipe.release.remote_hub import HubRemote
    except ImportError as error:
        raise ModelUnavailableError(f"hf:// needs a package that is not installed: pip install {_PACKAGES['hf']}") from error
    return HubRemote(found["name"], revision or found["revision"], public)
