"""Which files of a release are not the bytes that were released: each is named once, with the best reason that there is.

Two lists tell of the bytes, SHA256SUMS of all files and release.json of the data files, and a file must be that of both. What
is found in a file that is not is of no use: it says again that it is not.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from normpipe.release.document import RELEASE_FILE, ReleasedFile
from normpipe.release.reader import Read
from normpipe.release.sums import SUMS_FILE


@dataclass(frozen=True, slots=True)
class Listed:
    """What is said of the files.

    Attributes:
        sums: Hex sha256 by path, as SHA256SUMS says; None where there is none that can be read.
        data: Data files by path, as release.json says; empty where it cannot be trusted.
    """

    sums: Mapping[str, str] | None
    data: Mapping[str, ReleasedFile]

    @property
    def paths(self) -> set[str]:
        """Of all files that one of the lists names."""
        return {*(self.sums or ()), *self.data}

    def said(self, path: str) -> dict[str, str]:
        """The digests that a file must have, by the list that says so."""
        said = {} if self.sums is None or path not in self.sums else {SUMS_FILE: self.sums[path]}
        return said if path not in self.data else {**said, RELEASE_FILE: self.data[path].sha256}

    def owner(self) -> dict[str, str]:
        """Paths by digest; where the lists differ, by that of release.json."""
        return {[*self.said(path).values()][-1]: path for path in sorted(self.paths, reverse=True)}

    def is_right(self, path: str, read: Read) -> bool:
        """Whether a file is the one that the lists name."""
        return set(self.said(path).values()) <= {read.sha256}


def place_problems(listed: Listed, there: Collection[str]) -> Iterator[str]:
    """Files that are listed and not there, and those that are there and not listed."""
    for path in sorted(listed.paths - set(there)):
        yield f"{path}: missing, {next(iter(listed.said(path)))} lists it"
    if listed.sums is None:
        return
    for path in sorted(set(there) - set(listed.sums)):
        known = path in listed.data
        yield f"{path}: {SUMS_FILE} does not list it" if known else f"{path}: extra file, {SUMS_FILE} does not list it"


def byte_problems(listed: Listed, wrong: Mapping[str, Read]) -> Iterator[str]:
    """Why files are wrong, swapped ones in one line.

    Args:
        listed: What they should be.
        wrong: What they are, all of them not right.
    """
    owner = listed.owner()
    for path, read in sorted(wrong.items()):
        other = owner.get(read.sha256, path)
        if other == path:
            yield f"{path}: {_reason(listed, path, read)}"
        elif other not in wrong or owner.get(wrong[other].sha256) != path:
            yield f"{path}: not the file that {_wrong(listed, path, read)[0]} lists, but {other} once more"
        elif path < other:
            yield f"{path}: swapped with {other}"


def _reason(listed: Listed, path: str, read: Read) -> str:
    said, wrong = listed.said(path), _wrong(listed, path, read)
    if len(wrong) == len(said) and path in listed.data and read.size < listed.data[path].size:
        return f"truncated, {read.size} bytes, {RELEASE_FILE} says {listed.data[path].size}"
    right = "".join(f", though {where} does" for where in said if where not in wrong)
    return f"not the file that {wrong[0]} lists{right}"


def _wrong(listed: Listed, path: str, read: Read) -> list[str]:
    """The lists that name another file."""
    return [where for where, digest in listed.said(path).items() if digest != read.sha256]
