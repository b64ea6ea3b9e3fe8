"""Pull: a release from a place of `release.remote` into a folder, every byte held against SHA256SUMS before it gets its name.

SHA256SUMS is read first, as all else is judged by it, but gets its own name last, so that a folder that holds it holds the
whole release; until then it stands in a marker, by which the same pull knows its folder again. A stranger wrote what comes
here: names are checked by `sums`, nothing is read further than the place itself says a file is long, and no link is followed.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from normpipe.address import shown
from normpipe.errors import NormpipeError, UsageError
from normpipe.release.parallel import Halt, in_parallel
from normpipe.release.push import read_small, refuse_other_files
from normpipe.release.remote import Remote
from normpipe.release.remote_folder import files_below
from normpipe.release.signature import SIGNATURE_BYTES, check_signature, read_public_key
from normpipe.release.sums import MOST_BYTES, SIGNATURE_FILE, SUMS_FILE, Sums, parse_sums
from normpipe.shards.atomic import AtomicFile, remove_leftovers, sha256_of, write_bytes

MARKER_FILE = "SHA256SUMS.unfinished"

_CHUNK = 1 << 20

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did.

    Attributes:
        files: Of the release, SHA256SUMS and its signature included.
        fetched: Files that were not in the folder, or not right.
        fetched_bytes: Their bytes.
        signed: The release has a signature; checked if a key was given.
    """

    files: int
    fetched: int
    fetched_bytes: int
    signed: bool


def pull(source: Remote, folder: Path, jobs: int, *, public_key: Path | None = None, say: Say = lambda _: None) -> Pulled:
    """Bring a release into a folder, or what of it is not there yet.

    Args:
        source: Where it is.
        folder: Made if absent; empty, or holding some or all of the same release.
        jobs: Files at a time.
        public_key: Key whose signature the release must have, PEM; checked before anything else is read.
        say: Told what becomes of each file.

    Raises:
        UsageError: the place holds no release or more than one, or the folder holds something else.
        NormpipeError: a file or the signature is not what it must be.
        OSError: the place cannot be reached, or the folder not written.
    """
    key = None if public_key is None else read_public_key(public_key)
    sizes = source.sizes()
    content = _sums_of(source)
    sums = parse_sums(content)
    signature = _signature_of(source, sizes)
    if key is not None:
        if signature is None:
            raise UsageError(f"{SIGNATURE_FILE}: not there; the release is not signed")
        check_signature(content, signature, key)
    _refuse_gaps(sums, sizes, source.name)
    _refuse_other_folder(folder, sums, content)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / SUMS_FILE).exists():
        write_bytes(folder / MARKER_FILE, content)
    for each in {folder, *((folder / path).parent for path in sums)}:
        remove_leftovers(each)
    halt, fetched = Halt(), dict[str, int]()
    missing = [path for path in sums if not _is_right(folder / path, sums.digests[path])]
    if sizes is not None:
        _refuse_full_disk(folder, sum(sizes[path] for path in missing))

    def arrived(path: str, size: int) -> None:
        fetched[path] = size
        say(f"{path}: fetched, {size} bytes")

    def fetch(path: str) -> None:
        expected = sums.digests[path], None if sizes is None else sizes[path]
        arrived(path, _fetch(source, path, folder / path, expected, halt))

    in_parallel(fetch, missing, jobs, halt)
    if signature is not None and not _holds(folder / SIGNATURE_FILE, signature):
        write_bytes(folder / SIGNATURE_FILE, signature)
        arrived(SIGNATURE_FILE, len(signature))
    if not (folder / SUMS_FILE).exists():
        (folder / MARKER_FILE).replace(folder / SUMS_FILE)
        arrived(SUMS_FILE, len(content))
    files = len(sums) + 1 + (signature is not None)
    return Pulled(files, len(fetched), sum(fetched.values()), signature is not None)


def _sums_of(source: Remote) -> bytes:
    try:
        return read_small(source, SUMS_FILE, MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{source.name}: no {SUMS_FILE} is there; this is no release, or its push is not finished") from error


def _signature_of(source: Remote, sizes: Mapping[str, int] | None) -> bytes | None:
    if sizes is not None and SIGNATURE_FILE not in sizes:
        return None
    try:
        signature = read_small(source, SIGNATURE_FILE, SIGNATURE_BYTES)
    except FileNotFoundError:
        return None
    if len(signature) != SIGNATURE_BYTES:
        raise NormpipeError(f"{SIGNATURE_FILE}: not {SIGNATURE_BYTES} bytes, so no signature; do not trust this release")
    return signature


def _refuse_gaps(sums: Sums, sizes: Mapping[str, int] | None, where: str) -> None:
    if sizes is None:
        return
    refuse_other_files(sizes, [*sums, SUMS_FILE, SIGNATURE_FILE], where)
    for path in sums:
        if path not in sizes:
            raise NormpipeError(f"{path}: {SUMS_FILE} names it, but it is not there; ask whoever published the release")


def _refuse_other_folder(folder: Path, sums: Sums, content: bytes) -> None:
    """The folder is absent, empty, or marked by a pull of the same release, and no link leads out of it."""
    name = shown(str(folder))
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{name}: a file of that name is there")
    found = files_below(folder)
    if not found:
        return
    marks = [folder / name for name in (SUMS_FILE, MARKER_FILE) if name in found]
    if not marks or any(mark.read_bytes() != content for mark in marks):
        raise UsageError(f"{name}: holds other files, or another release; name an empty folder")
    refuse_other_files(found, [*sums, SUMS_FILE, SIGNATURE_FILE, MARKER_FILE], name)
    for path in sums:
        for parent in PurePosixPath(path).parents:
            if parent.name and (folder / parent).is_symlink():
                raise UsageError(f"{name}: {parent} is a link; name an empty folder")


def _refuse_full_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UsageError(f"{shown(str(folder))}: {needed / 1e9:.1f} GB are to come and its disk has {free / 1e9:.1f} GB free")


def _is_right(file: Path, digest: str) -> bool:
    return file.is_file() and not file.is_symlink() and sha256_of(file) == digest


def _holds(file: Path, content: bytes) -> bool:
    return file.is_file() and not file.is_symlink() and file.read_bytes() == content


def _fetch(source: Remote, path: str, target: Path, expected: tuple[str, int | None], halt: Halt) -> int:
    """Bring one file; returns its bytes."""
    digest, size = expected
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open(path) as file, AtomicFile(target) as written:
        while chunk := file.read(_CHUNK):
            halt.check()
            written.write(chunk)
            if size is not None and written.tell() > size:
                break
        if written.sha256() != digest:  # leaving by an exception, the file never gets its name
            raise NormpipeError(
                f"{path}: what was read has not the sha256 of {SUMS_FILE}, and is not kept; pull again, or ask who published it"
            )
    return written.tell()
