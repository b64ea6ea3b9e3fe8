"""release.json: all that programs need to know of a release. What it does not hold, no release says.

It tells no time but the date, no host, no path, no person. Keys are sorted and numbers have fixed digits: the same runs,
options and date give the same bytes.
"""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from normpipe.audit.document import document_bytes
from normpipe.audit.figures import Json
from normpipe.errors import UsageError
from normpipe.release.terms import Include, Terms
from normpipe.shards.atomic import write_bytes

RELEASE_FILE = "release.json"
FORMAT_VERSION = 1

TEXTS = 1
"""Number of the wording of all texts that are made of this document: card with front matter, Croissant, licence file. Raised
whenever one of them is worded otherwise, for a text is compared word by word with releases of the same number alone. Lines of
figures are compared in every release: those of older numbers stay as they were (see `card.card_lines`)."""

DRAFT_MARK = "notes/build.json"
"""Lies in the folder of a release that is being built, and in no release."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$"
VERSION_PATTERN = r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$"
DATE_PATTERN = r"^\d{4}-\d{2}-\d{2}$"

_ORDER = ("train", "validation", "test")

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0)]


class OtherFormatError(UsageError):
    """A release.json that is not damaged, but of a format that this version does not read."""


class Part(BaseModel):
    """An object of the document, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ReleasedFile(Part):
    """A data file: path in the release, content, bytes, rows."""

    path: Annotated[str, Field(pattern=r"^data/\w+-\d{5}-of-\d{5}\.parquet$")]
    sha256: _Digest
    size: _Count
    rows: _Count


class ReleasedSplit(Part):
    """A split: its rows, the people in them, its files in order."""

    rows: _Count
    subjects: _Count
    files: tuple[ReleasedFile, ...]


class ReleasedRun(Part):
    """A run: which of the release's, what its bytes depend on, what came of its rows."""

    number: int
    producer: str
    fingerprint: str
    fingerprint_parts: dict[str, str]
    rows: _Count
    ok: _Count
    failed: dict[str, int]
    complete: bool


class ReleasedAudit(Part):
    """A run's audit: where its figures are, and what they were judged to be."""

    path: str
    passed: bool | None
    gates: tuple[dict[str, object], ...]
    overridden: bool


class ReleasedSource(Part):
    """A dataset in a run, with its terms as declared (None: unknown, and released all the same)."""

    name: str | None
    terms: Terms | None
    run: ReleasedRun
    audit: ReleasedAudit | None


class Options(Part):
    """All that decides about the release's bytes beside the runs, the key and the date."""

    include: Include
    ids: Literal["keyed", "plain"]
    minimum: dict[str, float]
    maximum: dict[str, float]
    allowed: tuple[str, ...]
    file_bytes: int
    changes: str | None


class Withdrawn(Part):
    """Who and what was taken out: rows that these runs still hold of it, and pseudonyms (see Names.tombstone)."""

    rows: _Count
    subjects: tuple[str, ...]
    samples: tuple[str, ...]


class ReleaseDocument(Part):
    """The document.

    Attributes:
        texts: Number of its texts' wording; 0 in releases that do not tell it.
        key_check: By which a key is known to be the one that made the pseudonyms; None with plain ids.
        labels: By label column, rows by value.
        exclusions: Rows that stay out, by reason.
        content: By split, the digest over its rows' digests (see `digests`).
        overrides: Flags that opened a gate.
    """

    format_version: Literal[1] = 1
    texts: _Count = TEXTS
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    version: Annotated[str, Field(pattern=VERSION_PATTERN)]
    date: Annotated[str, Field(pattern=DATE_PATTERN)]
    producer: str
    include: Include
    key_check: _Digest | None
    sources: tuple[ReleasedSource, ...]
    command: str
    options: Options
    columns: tuple[str, ...]
    labels: dict[str, dict[str, int]]
    splits: dict[str, ReleasedSplit]
    subjects_in_several_splits: _Count
    exclusions: dict[str, int]
    content: dict[str, _Digest]
    overrides: tuple[str, ...]
    withdrawn: Withdrawn

    @property
    def rows(self) -> int:
        """Of all splits."""
        return sum(split.rows for split in self.splits.values())

    @property
    def ordered_splits(self) -> list[tuple[str, ReleasedSplit]]:
        """In the order in which people name them, since the keys of the file are sorted."""
        return sorted(self.splits.items(), key=lambda item: split_place(item[0]))

    @property
    def files(self) -> list[ReleasedFile]:
        """Of all splits, in order."""
        return [file for _, split in self.ordered_splits for file in split.files]

    @property
    def plain_ids(self) -> bool:
        """Whether names are those of the source."""
        return self.options.ids == "plain"


def split_place(name: str) -> tuple[int, str]:
    """Key that sorts splits: train, validation, test, then by name."""
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)


def release_bytes(document: ReleaseDocument) -> bytes:
    """The file."""
    return document_bytes(document.model_dump(mode="json"))


def write_release(folder: Path, document: ReleaseDocument) -> None:
    """Write release.json, atomically."""
    write_bytes(folder / RELEASE_FILE, release_bytes(document))


def parse_json(content: bytes) -> Json:
    """Read a stranger's JSON.

    Raises:
        ValueError: it is none, nests too deep, or holds what no release writes: NaN, infinity, halves of surrogate pairs.
    """
    try:
        found: Json = json.loads(content)
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    return found


def parse_release(content: bytes, called: str) -> ReleaseDocument:
    """Read release.json.

    Args:
        content: Of the file.
        called: What messages call the release.

    Raises:
        OtherFormatError: it is one of another version.
        UsageError: it is not such a document.
    """
    try:
        read = parse_json(content)
        found = read if isinstance(read, dict) else {}
        version = found.get("format_version")
        if version != FORMAT_VERSION:
            kind = OtherFormatError if isinstance(version, int) else UsageError
            raise kind(f"{called}: {RELEASE_FILE} is of format {version}, this version reads {FORMAT_VERSION}")
        return ReleaseDocument.model_validate({"texts": 0, **found})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{called}: {RELEASE_FILE}, {place}: {first['msg']}") from error
    except ValueError as error:
        raise UsageError(f"{called}: {RELEASE_FILE} is damaged") from error


def read_release(folder: Path) -> ReleaseDocument:
    """Read the release.json of a folder; errors as for parse_release, and where there is none."""
    try:
        content = (folder / RELEASE_FILE).read_bytes()
    except OSError as error:
        raise UsageError(f"{folder.name}: not a release (it has no {RELEASE_FILE})") from error
    return parse_release(content, folder.name)
