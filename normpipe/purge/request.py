"""Who is to be withdrawn, in the user's words, and which rows of the run's manifest that is.

Messages hold counts and line numbers and never names: neither those that were given nor any that come close to them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from normpipe.errors import UsageError
from normpipe.release.keys import Kind, spelled
from normpipe.release.withdrawals import Withdrawal, read_withdrawals
from normpipe.shards.reader import open_part
from normpipe.shards.withdrawn import placeholder, to_ranges

_BATCH_ROWS = 16_384


class WithdrawnRow(NamedTuple):
    """A manifest row that is withdrawn: its place, and all that names it."""

    row: int
    sample_id: str
    uri: str
    dataset: str | None
    subject: str | None
    sequence: str | None


@dataclass(frozen=True, slots=True)
class Request:
    """Names as the manifest has them.

    Attributes:
        subjects: People, as `spelled` writes names: who stands in the manifest in two ways of writing goes whole.
        samples: Single frames or stills, likewise.
        dataset: Only rows of this dataset; None takes all.
        standing: The names are those of a list that is kept, for other runs too: who is not there is passed over.
    """

    subjects: frozenset[str]
    samples: frozenset[str]
    dataset: str | None = None
    standing: bool = False

    @property
    def empty(self) -> bool:
        """Whether nobody is named."""
        return not (self.subjects or self.samples)

    def without(self, rows: Sequence[WithdrawnRow]) -> "Request":
        """What is left to ask for when these rows are found: names that none of them has."""
        rows = [row for row in rows if self.dataset in (None, row.dataset)]
        subjects = self.subjects - {spelled(row.subject) for row in rows if row.subject is not None}
        return replace(self, subjects=subjects, samples=self.samples - {spelled(row.sample_id) for row in rows})


@dataclass(frozen=True, slots=True)
class StandingList:
    """The list of all who ever withdrew, in the form of `release build --exclude`.

    Attributes:
        entries: Whom it names.
    """

    entries: tuple[Withdrawal, ...]

    def request(self, dataset: str | None) -> Request:
        """Whom it names, as far as they are there."""
        names = {kind: frozenset(spelled(each.name) for each in self.entries if each.kind is kind) for kind in Kind}
        return Request(names[Kind.SUBJECT], names[Kind.SAMPLE], dataset, standing=True)

    def lines(self, left: Request) -> str:
        """Lines of the names that are left of its request: "2-4, 7"; "" where none is."""
        names = {Kind.SUBJECT: left.subjects, Kind.SAMPLE: left.samples}
        ranges = to_ranges(each.line for each in self.entries if spelled(each.name) in names[each.kind])
        return ", ".join(f"{start}" if stop == start + 1 else f"{start}-{stop - 1}" for start, stop in ranges)


def read_names(path: Path) -> list[str]:
    """Names of a text file, one a line; empty lines count for nothing.

    Raises:
        UsageError: the file cannot be read or holds no name.
    """
    try:
        names = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise UsageError(f"{path.name}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path.name}: not UTF-8; save it as UTF-8, one name a line") from error
    if not names:
        raise UsageError(f"{path.name}: no names; give one a line")
    return names


def read_list(path: Path) -> StandingList:
    """Read a list by the reader of releases, so that one list serves both.

    Raises:
        UsageError: the file cannot be read, holds no name, or does not say what its lines are.
    """
    return StandingList(tuple(read_withdrawals([path])))


def find_rows(manifest: Path, request: Request) -> list[WithdrawnRow]:
    """The rows that a request is about, in order.

    Raises:
        UsageError: some names are not there and the request is no standing one, or a person's name stands in several datasets.
    """
    found = [row for row in _rows(manifest) if _is_wanted(row, request)]
    if any(row.sample_id == placeholder(row.row) for row in found):
        raise UsageError("--sample: rows that are withdrawn already cannot be withdrawn again")
    for option, asked, seen in (
        ("--subject", request.subjects, {spelled(row.subject) for row in found if row.subject is not None}),
        ("--sample", request.samples, {spelled(row.sample_id) for row in found}),
    ):
        missing = 0 if request.standing else len(asked - seen)
        if missing:
            raise UsageError(
                f"{option}: {missing} of {len(asked)} names are not in this run's manifest; nothing was changed. Names must be "
                "those of the manifest, letter by letter; who was withdrawn before is not known by name any more"
            )
    named = [(row.dataset, spelled(row.subject)) for row in found if row.subject is not None]
    people = {pair for pair in named if pair[1] in request.subjects}
    if len(people) > len({subject for _, subject in people}):
        raise UsageError("--subject: a name stands in several datasets, where it is several people; add --dataset")
    return found


def _is_wanted(row: WithdrawnRow, request: Request) -> bool:
    named = _is_of(row.subject, request.subjects) or _is_of(row.sample_id, request.samples)
    return named and request.dataset in (None, row.dataset)


def _is_of(name: str | None, names: frozenset[str]) -> bool:
    return name is not None and spelled(name) in names


def _rows(manifest: Path) -> Iterator[WithdrawnRow]:
    with open_part(manifest) as file:
        first = 0
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(WithdrawnRow._fields[1:])):
            columns = (batch[name].to_pylist() for name in WithdrawnRow._fields[1:])
            for number, values in enumerate(zip(*columns, strict=True), first):
                yield WithdrawnRow(number, *values)
            first += batch.num_rows
