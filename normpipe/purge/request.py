"""Who is to be withdrawn, in the user's words, and which rows of the run's manifest that is.

Messages hold counts and never names: neither those that were given nor any that come close to them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from normpipe.errors import UsageError
from normpipe.shards.reader import open_part
from normpipe.shards.withdrawn import placeholder

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
        subjects: People.
        samples: Single frames or stills.
        dataset: Only rows of this dataset; None takes all.
    """

    subjects: frozenset[str]
    samples: frozenset[str]
    dataset: str | None = None

    @property
    def empty(self) -> bool:
        """Whether nobody is named."""
        return not (self.subjects or self.samples)

    def without(self, rows: Sequence[WithdrawnRow]) -> "Request":
        """What is left to ask for when these rows are withdrawn."""
        rows = [row for row in rows if self.dataset in (None, row.dataset)]
        subjects = self.subjects - {row.subject for row in rows if row.subject is not None}
        return Request(subjects, self.samples - {row.sample_id for row in rows}, self.dataset)


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


def find_rows(manifest: Path, request: Request) -> list[WithdrawnRow]:
    """The rows that a request is about, in order.

    Raises:
        UsageError: some names are not there, or a person's name stands in several datasets.
    """
    found = [row for row in _rows(manifest) if _is_wanted(row, request)]
    if any(row.sample_id == placeholder(row.row) for row in found):
        raise UsageError("--sample: rows that are withdrawn already cannot be withdrawn again")
    for option, asked, seen in (
        ("--subject", request.subjects, {row.subject for row in found}),
        ("--sample", request.samples, {row.sample_id for row in found}),
    ):
        missing = len(asked - seen)
        if missing:
            raise UsageError(
                f"{option}: {missing} of {len(asked)} names are not in this run's manifest; nothing was changed. Names must be "
                "those of the manifest, letter by letter; who was withdrawn before is not known by name any more"
            )
    people = {(row.dataset, row.subject) for row in found if row.subject in request.subjects}
    if len(people) > len(request.subjects):
        raise UsageError("--subject: a name stands in several datasets, where it is several people; add --dataset")
    return found


def _is_wanted(row: WithdrawnRow, request: Request) -> bool:
    named = row.subject in request.subjects or row.sample_id in request.samples
    return named and request.dataset in (None, row.dataset)


def _rows(manifest: Path) -> Iterator[WithdrawnRow]:
    with open_part(manifest) as file:
        first = 0
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(WithdrawnRow._fields[1:])):
            columns = (batch[name].to_pylist() for name in WithdrawnRow._fields[1:])
            for number, values in enumerate(zip(*columns, strict=True), first):
                yield WithdrawnRow(number, *values)
            first += batch.num_rows
