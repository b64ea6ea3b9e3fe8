"""SHA256SUMS: every file of a release and its digest, as `sha256sum -c` reads it. What all else is held against.

Whoever pulls a release has this file from a stranger, so reading is strict: a name that would leave the folder, stand for two
files, or mean another file on another system is refused, and so is every line that is not exactly as `sums_bytes` writes it.
One release then has one SHA256SUMS, byte for byte, and a signature of it signs the release.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from normpipe.errors import UsageError
from normpipe.sources.root import Root

SUMS_FILE = "SHA256SUMS"
SIGNATURE_FILE = "SHA256SUMS.sig"

MOST_BYTES = 16 << 20
"""No SHA256SUMS is longer: 100,000 files with long names. A stranger's file is read no further."""

_LINE = re.compile(rb"([0-9a-f]{64})  (.+)")
_HEX = re.compile(r"[0-9a-f]{64}")
_FORBIDDEN = frozenset('\\:*?"<>|')
_LONGEST_PART, _LONGEST_PATH = 255, 900  # bytes: of file systems, and of S3 (1,024) with room for a prefix
_OUTSIDE = frozenset({SUMS_FILE.casefold(), SIGNATURE_FILE.casefold()})


@dataclass(frozen=True, slots=True)
class Sums:
    """What a SHA256SUMS says.

    Attributes:
        digests: Hex sha256 by path (relative, parts separated by `/`), sorted by path.
    """

    digests: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.digests)

    def __iter__(self) -> Iterator[str]:
        """The paths, sorted."""
        return iter(self.digests)


def sums_bytes(digests: Mapping[str, str]) -> bytes:
    """The file: one line per path, sorted by its UTF-8 bytes.

    Args:
        digests: Hex sha256 by path relative to the release, all its files but SHA256SUMS and SHA256SUMS.sig.

    Raises:
        UsageError: a path is none that a release may hold, or there is none.
    """
    checked = _checked(digests.items())
    return b"".join(f"{checked[path]}  {path}\n".encode() for path in sorted(checked))


def parse_sums(content: bytes) -> Sums:
    """What `sums_bytes` wrote.

    Raises:
        UsageError: the file is anything else; one line names the line.
    """
    if len(content) > MOST_BYTES:
        raise UsageError(f"{SUMS_FILE}: longer than {MOST_BYTES} bytes; no release has so many files")
    if not content.endswith(b"\n"):
        raise UsageError(f"{SUMS_FILE}: its last line is cut off; get it again")
    sums = Sums(_checked(_pairs(content)))
    if list(sums) != sorted(sums):
        raise UsageError(f"{SUMS_FILE}: its lines are not sorted by path; get it again, or build the release again")
    return sums


def read_sums(release: Path | Root) -> Sums:
    """The sums of a release's folder, here or behind an fsspec URL.

    Raises:
        UsageError: there is none, it cannot be read, or it is damaged.
    """
    return parse_sums(read_sums_bytes(release))


def read_sums_bytes(release: Path | Root) -> bytes:
    """The file as it is, which is what a signature signs; no more than one byte above the limit of `parse_sums`.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    root = Root(str(release)) if isinstance(release, Path) else release
    try:
        with root.open(SUMS_FILE) as file:
            return file.read(MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{SUMS_FILE}: not there; this is no release, or one that is not finished") from error
    except OSError as error:
        raise UsageError(f"{SUMS_FILE}: cannot be read ({error.strerror})") from error


def _pairs(content: bytes) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(content[:-1].split(b"\n"), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise UsageError(f"{SUMS_FILE}, line {number}: not 64 hexadecimal digits, two spaces and a path; get it again")
        try:
            yield match[2].decode("utf-8"), match[1].decode("ascii")
        except UnicodeDecodeError as error:
            raise UsageError(f"{SUMS_FILE}, line {number}: the path is not UTF-8; get it again") from error


def _checked(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """By path; refuses what `path_problem` finds, and paths of which two would be one file somewhere."""
    digests: dict[str, str] = {}
    folded: dict[str, str] = {}
    for path, digest in pairs:
        problem = path_problem(path)
        if problem is not None:
            raise UsageError(f"{SUMS_FILE}: {path!r}: {problem}")
        if _HEX.fullmatch(digest) is None:
            raise UsageError(f"{SUMS_FILE}: {path!r}: its digest is not 64 lower-case hexadecimal digits")
        other = folded.setdefault(_folded(path), path)
        if path in digests or other != path:
            raise UsageError(f"{SUMS_FILE}: {path!r}: named twice" + (f", also as {other!r}" if other != path else ""))
        digests[path] = digest
    if not digests:
        raise UsageError(f"{SUMS_FILE}: it names no file")
    for path in digests:
        for parent in _parents(path):
            if _folded(parent) in folded:
                raise UsageError(f"{SUMS_FILE}: {path!r}: {parent!r} cannot be a file and a folder")
    return digests


def path_problem(path: str) -> str | None:
    """Why a path may not stand in a release, None where it may: it must mean the same file below any folder of any system."""
    parts = path.split("/")
    printable = path.isprintable()  # lone surrogates are not
    problems = {
        "an absolute path": path.startswith("/"),
        "empty, . and .. are no names of files or folders": any(part in {"", ".", ".."} for part in parts),
        f"control characters and {' '.join(sorted(_FORBIDDEN))} are not portable": not printable or _FORBIDDEN & set(path),
        "no name may begin with a dot, as hidden and temporary files do": any(part.startswith(".") for part in parts),
        "no name may begin or end with a space, or end with a dot": any(part != part.strip(" ").rstrip(".") for part in parts),
        "too long": printable and _too_long(path, parts),
        "it stands outside the sums": path.casefold() in _OUTSIDE,
    }
    return next((problem for problem, found in problems.items() if found), None)


def _too_long(path: str, parts: Sequence[str]) -> bool:
    return len(path.encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_PART for part in parts)


def _folded(path: str) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))
