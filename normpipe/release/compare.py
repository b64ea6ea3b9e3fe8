"""`normpipe release diff`: what changed between two releases, row by row, and which version that asks for.

Rows are known by dataset, sample and face, so that both releases must have pseudonyms of the same key, or plain names. The
version rule is Croissant's: PATCH for the same rows packed anew, MINOR for rows added, MAJOR for rows removed, changed or in
another order or split. Nobody who was withdrawn from the first may be in the second, whatever its version.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import pyarrow as pa
import pyarrow.parquet as pq

from normpipe.errors import NormpipeError, UsageError
from normpipe.records import LABEL_SCHEMA
from normpipe.release.digests import row_digests
from normpipe.release.document import RELEASE_FILE, ReleasedFile, ReleaseDocument, parse_release
from normpipe.release.keys import Kind, Names
from normpipe.release.reader import ReleaseFolder
from normpipe.release.words import counted

_BATCH_ROWS = 256
_KEY_COLUMNS = ("dataset", "sample_id", "face_index")
_NAMED_COLUMNS = {*_KEY_COLUMNS, "subject"}


class Step(IntEnum):
    """Which number of a version must rise at least."""

    NONE = 0
    PATCH = 1
    MINOR = 2
    MAJOR = 3


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one release to another; counts of rows unless said otherwise.

    Attributes:
        before: Version of the first.
        after: Version of the second.
        same: In both, equal in all that both hold.
        added: Only in the second, and never withdrawn.
        removed: Only in the first, and nobody asked for it.
        withdrawn: Only in the first, since a subject or a sample was withdrawn.
        returned: In the second, although the first says that their subject or sample was withdrawn.
        changed: Other pictures or measurements.
        relabelled: Other labels.
        moved: Another split.
        reordered: Whether common rows of a split stand in another order.
        columns: Columns that only one of them has.
        repacked: Whether files differ although rows do not.
    """

    before: str
    after: str
    same: int
    added: int
    removed: int
    withdrawn: int
    returned: int
    changed: int
    relabelled: int
    moved: int
    reordered: bool
    columns: tuple[str, ...]
    repacked: bool

    @property
    def step(self) -> Step:
        """What the version rule asks for."""
        if any((self.removed, self.withdrawn, self.changed, self.relabelled, self.moved, self.reordered, self.columns)):
            return Step.MAJOR
        if self.added:
            return Step.MINOR
        return Step.PATCH if self.repacked else Step.NONE

    @property
    def keeps_rule(self) -> bool:
        """Whether the second version is at least as far from the first as the rule asks for, and nobody came back."""
        return not self.returned and step_between(self.before, self.after) >= self.step

    @property
    def least_version(self) -> str:
        """The lowest version that the rule allows, provided that nobody came back."""
        return _risen(self.before, self.step)

    def log_line(self, date: str) -> str:
        """An entry of a change log, in Markdown."""
        named = ("added", "removed", "withdrawn", "changed", "relabelled", "moved")
        told = [f"{counted(count, 'row')} {name}" for name in named if (count := getattr(self, name))]
        told += [f"columns {', '.join(self.columns)} in one of them alone"] if self.columns else []
        told += ["rows in another order"] if self.reordered else []
        return f"- {self.after} ({date}), since {self.before}: {'; '.join(told) or 'the same rows'}"

    @property
    def lines(self) -> Iterator[str]:
        """In words, a line each."""
        yield f"{self.before} -> {self.after}"
        for name in ("same", "added", "removed", "withdrawn", "returned", "changed", "relabelled", "moved"):
            yield f"{name} {getattr(self, name)}"
        if self.reordered:
            yield "rows of a split stand in another order"
        if self.columns:
            yield f"columns that only one has: {', '.join(self.columns)}"
        asked = f"{self.step.name.lower() if self.step else 'no'} step"
        if self.returned:
            asked = f"nobody who was withdrawn from {self.before} to return"
        yield f"asks for {asked}: {'kept' if self.keeps_rule else 'broken'}"


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the first release, by digests of its parts."""

    split: str
    number: int
    content: bytes
    labels: bytes
    withdrawn_as: tuple[str | None, str]


def compare(first: ReleaseFolder, second: ReleaseFolder) -> Difference:
    """Compare two releases.

    Raises:
        UsageError: one is no release, or their rows cannot be matched.
        NormpipeError: a data file is missing or damaged.
    """
    before, after = release_document(first), release_document(second)
    if before.key_check != after.key_check:
        raise UsageError(
            f"{first.name}, {second.name}: their names were made with different keys, or one of them has plain names: rows "
            "cannot be matched; build the second with the key of the first"
        )
    shared = [name for name in before.columns if name in after.columns]
    old = dict(_rows(first, before, shared))
    barred = _taken_out(before)
    counts = dict.fromkeys(("same", "added", "returned", "changed", "relabelled", "moved"), 0)
    last: dict[str, int] = {}
    reordered = False
    for key, row in _rows(second, after, shared):
        earlier = old.pop(key, None)
        back = any(name in barred for name in row.withdrawn_as)
        counts["returned"] += back
        if earlier is None:
            counts["added"] += not back
            continue
        differs = {
            "changed": row.content != earlier.content,
            "relabelled": row.labels != earlier.labels,
            "moved": row.split != earlier.split,
        }
        for name, found in differs.items():
            counts[name] += found
        counts["same"] += not any(differs.values())
        if not differs["moved"]:
            reordered = reordered or earlier.number < last.get(row.split, -1)
            last[row.split] = earlier.number
    gone = _taken_out(after)
    withdrawn = sum(any(name in gone for name in row.withdrawn_as) for row in old.values())
    columns = tuple(sorted(set(before.columns) ^ set(after.columns)))
    return Difference(
        before=before.version,
        after=after.version,
        removed=len(old) - withdrawn,
        withdrawn=withdrawn,
        reordered=reordered,
        columns=columns,
        repacked=[file.sha256 for file in before.files] != [file.sha256 for file in after.files],
        **counts,
    )


def release_document(folder: ReleaseFolder, given_by: str = "") -> ReleaseDocument:
    """Its release.json.

    Args:
        folder: Where it lies.
        given_by: The option that named it, for messages.

    Raises:
        UsageError: nothing is there, or no release, or its release.json cannot be used.
    """
    called = f"{given_by} {folder.name}".lstrip()
    try:
        return parse_release(folder.content(RELEASE_FILE), called)
    except (FileNotFoundError, NotADirectoryError) as error:
        there = folder.system.exists(folder.root)
        raise UsageError(f"{called}: {f'not a release (it has no {RELEASE_FILE})' if there else 'not there'}") from error
    except OSError as error:
        raise UsageError(f"{called}: its {RELEASE_FILE} cannot be read ({error.strerror})") from error


def _rows(folder: ReleaseFolder, document: ReleaseDocument, columns: list[str]) -> Iterator[tuple[bytes, _Row]]:
    labels = [name for name in columns if name in LABEL_SCHEMA.names]
    content = [name for name in columns if name not in LABEL_SCHEMA.names and name != "split"]
    number = 0
    for split, found in document.ordered_splits:
        for entry in found.files:
            for batch in _batches(folder, entry, columns):
                contents, labelled = row_digests(batch, content), row_digests(batch, labels)
                keys, tombstones = row_digests(batch, _KEY_COLUMNS), _tombstones(batch, document)
                for key, each, label, gone in zip(keys, contents, labelled, tombstones, strict=True):
                    yield key[:16], _Row(split, number, each[:16], label[:16], gone)
                    number += 1


def _batches(folder: ReleaseFolder, entry: ReleasedFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """A data file, batch by batch, when it is known to be the one that was built: a difference of another tells nothing."""
    named = f"{folder.name}/{entry.path}"
    more = "`normpipe release verify` tells more"
    try:
        with folder.fetched(entry.path) as (path, read):
            if read.sha256 != entry.sha256:
                raise NormpipeError(f"{named}: damaged; {more}")
            with pq.ParquetFile(path) as file:
                if not _NAMED_COLUMNS <= set(columns) <= set(file.schema_arrow.names):
                    raise NormpipeError(f"{named}: other columns than {RELEASE_FILE} tells of; {more}")
                yield from file.iter_batches(batch_size=_BATCH_ROWS, columns=columns)
    except FileNotFoundError as error:
        raise NormpipeError(f"{named}: missing; {more}") from error
    except (pa.ArrowException, OSError) as error:
        raise NormpipeError(f"{named}: damaged; {more}") from error


def _taken_out(document: ReleaseDocument) -> set[str]:
    """Tombstones of all who were withdrawn."""
    return {*document.withdrawn.subjects, *document.withdrawn.samples}


def _tombstones(batch: pa.RecordBatch, document: ReleaseDocument) -> Iterator[tuple[str | None, str]]:
    """What would stand for each row's subject and sample if they were withdrawn."""
    names = Names(None)
    for dataset, subject, sample in zip(
        *(batch[name].to_pylist() for name in ("dataset", "subject", "sample_id")), strict=True
    ):
        if not document.plain_ids:
            yield subject, sample  # pseudonyms are tombstones
        else:
            gone = None if subject is None else names.tombstone(Kind.SUBJECT, dataset, subject)
            yield gone, names.tombstone(Kind.SAMPLE, dataset, sample)


def step_between(before: str, after: str) -> Step:
    """Which number rose first; NONE where none did, or it fell."""
    old, new = _numbers(before), _numbers(after)
    if new <= old:
        return Step.NONE
    first = next(place for place, (was, now) in enumerate(zip(old, new, strict=True)) if was != now)
    return (Step.MAJOR, Step.MINOR, Step.PATCH)[first]


def _risen(version: str, step: Step) -> str:
    """The version after such a step."""
    numbers = _numbers(version)
    if step:
        place = Step.MAJOR - step
        numbers = [*numbers[:place], numbers[place] + 1, *[0] * (len(numbers) - place - 1)]
    return ".".join(map(str, numbers))


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]
