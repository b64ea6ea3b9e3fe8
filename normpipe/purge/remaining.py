"""What the rows that remain rightly carry: names, and source files, that withdrawn rows share with them.

A clip whose frames are not all withdrawn keeps its uri, and a name may be another person's in another dataset. Only what is
shared is remembered, so memory follows the withdrawn rows and not the run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from normpipe.purge.finder import Finder
from normpipe.purge.pending import Pending
from normpipe.records import EMOTIONS, FACES_SCHEMA, MANIFEST_SCHEMA, PAIRS_SCHEMA, Reason
from normpipe.shards.reader import open_part
from normpipe.stages.parts import MANIFEST_FILE, SHARDS_FOLDER

_BATCH_ROWS = 16_384
_OWN_WORDS = (*MANIFEST_SCHEMA.names, *FACES_SCHEMA.names, *PAIRS_SCHEMA.names, *EMOTIONS, *(reason.value for reason in Reason))


@dataclass(frozen=True, slots=True)
class Names:
    """Names of withdrawn rows that no remaining row has.

    Attributes:
        by_column: The manifest's column to its values.
        people: Dataset and subject.
        contents: sha256 of source files.
    """

    by_column: dict[str, frozenset[str]]
    people: frozenset[tuple[str | None, str]]
    contents: frozenset[str]


def names_of_none(out: Path, pending: Pending) -> Names:
    """The names of the withdrawn rows without those that remaining rows have too.

    Args:
        out: The run's folder, without the rows.
        pending: The rows.
    """
    rows = pending.rows
    by_column = {
        "sample_id": {row.sample_id for row in rows},  # of one row each
        "uri": {row.uri for row in rows},
        "subject": {row.subject for row in rows if row.subject is not None},
        "sequence": {row.sequence for row in rows if row.sequence is not None},
    }
    people = {(row.dataset, row.subject) for row in rows if row.subject is not None}
    for batch in _batches(out / MANIFEST_FILE, ["uri", "dataset", "subject", "sequence"]):
        people.difference_update(zip(batch["dataset"].to_pylist(), batch["subject"].to_pylist(), strict=True))
        for name in ("uri", "subject", "sequence"):
            by_column[name].difference_update(batch[name].unique().to_pylist())
    contents = set(pending.contents)
    for path in (out / SHARDS_FOLDER).glob("*.parquet"):
        with open_part(path) as part:
            contents.difference_update(part.read(columns=["content_sha256"])["content_sha256"].to_pylist())
    return Names({name: frozenset(values) for name, values in by_column.items()}, frozenset(people), frozenset(contents))


def found_in_words(manifest: Path, finder: Finder) -> set[bytes]:
    """Those of the names that occur within a word of a remaining row, or of the program's own."""
    seen = finder.found("\n".join(_OWN_WORDS).encode())
    strings = [field.name for field in MANIFEST_SCHEMA if pa.types.is_string(field.type)]
    for batch in _batches(manifest, strings):
        for column in batch.columns:
            words = "\n".join(pc.drop_null(column.unique()).to_pylist())
            seen |= finder.found(words.encode("utf-8", "surrogatepass"))
    return seen


def _batches(manifest: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with open_part(manifest) as file:
        yield from file.iter_batches(_BATCH_ROWS, columns=list(columns))
