"""The manifest: one row per frame, in records.MANIFEST_SCHEMA. Read from Parquet, CSV, TSV or JSONL; written as Parquet.

Every source ends here and every run starts here. Reading validates, so nothing later meets a label outside the vocabulary.

A run never holds a manifest whole: a `ManifestSource` streams its rows, and `store_manifest` writes them in one pass to a file
whose bytes depend on the rows alone, not on the format they came in, nor on how they were batched on the way.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from normpipe.batches import FrameRef
from normpipe.errors import UsageError
from normpipe.records import FORMAT_VERSION, MANIFEST_SCHEMA
from normpipe.shards.atomic import AtomicFile, Written
from normpipe.shards.reader import open_part
from normpipe.sources.check import Checker, check_columns
from normpipe.sources.columns import conform
from normpipe.sources.problems import Problems
from normpipe.sources.root import Root
from normpipe.sources.rows import BATCH_ROWS, RowBatch, problems_of, read_rows

_FORMAT_KEY = b"normpipe_manifest_format"

# A worker that reads 2,048 rows parses the footer, which grows with the number of groups, and decodes one group. Of ten million
# rows it reads them in 53 ms with groups of 8,192, 40 ms with 16,384, 25 ms with 32,768, 24 ms with 65,536.
_GROUP_ROWS = 32_768
# Ids are all different, and measures nearly: dictionaries of them would be built in vain.
_DICTIONARIES = [field.name for field in MANIFEST_SCHEMA if field.name != "sample_id" and not pa.types.is_floating(field.type)]


_Numbered: TypeAlias = tuple[pa.RecordBatch, Sequence[int]]
_Read: TypeAlias = Callable[[Problems], Iterator[_Numbered]]


class ManifestSource(Protocol):
    """Rows of an input; each call of `batches` reads them anew."""

    def batches(self, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Valid rows, in order.

        Args:
            limit: Only the first rows; those behind them are neither read nor checked.

        Yields:
            Batches in MANIFEST_SCHEMA, of any size.

        Raises:
            UsageError: at the end, if there were problems: the first twenty are listed with their lines. At once, if the
                input cannot be read at all.
        """
        ...


@dataclass(frozen=True, slots=True)
class TableSource:
    """A table in MANIFEST_SCHEMA that is in memory."""

    table: pa.Table

    def batches(self, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """See ManifestSource."""
        return _valid(lambda _: self._numbered(limit), Problems("INPUT", "row"))

    def _numbered(self, limit: int | None) -> Iterator[_Numbered]:
        done = 0
        for batch in self.table.slice(0, limit).to_batches(max_chunksize=BATCH_ROWS):
            yield batch, range(done + 1, done + batch.num_rows + 1)
            done += batch.num_rows


@dataclass(frozen=True, slots=True)
class FileSource:
    """A Parquet, CSV, TSV or JSONL file."""

    path: Path

    def batches(self, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """See ManifestSource."""
        return _valid(lambda problems: iterate_manifest(self.path, problems, limit=limit), problems_of(self.path))


def read_manifest(path: Path) -> pa.Table:
    """Read and validate a manifest; whether the files exist is not looked at.

    Returns:
        Table in MANIFEST_SCHEMA; columns that the file lacks are null.

    Raises:
        UsageError: the file cannot be read, or holds problems: the first twenty are listed with their lines.
    """
    return pa.Table.from_batches(FileSource(path).batches(), MANIFEST_SCHEMA)


def check_manifest(path: Path, root: Root | None) -> Problems:
    """All problems of a manifest, missing files below `root` among them.

    Raises:
        UsageError: the file cannot be read at all.
    """
    problems = problems_of(path)
    rows = sum(batch.num_rows for batch in _checked(lambda again: iterate_manifest(path, again), problems, root))
    if rows == 0 and problems.count == 0:
        problems.add(None, "no rows")
    return problems


def iterate_manifest(
    path: Path, problems: Problems, batch_rows: int = BATCH_ROWS, limit: int | None = None
) -> Iterator[_Numbered]:
    """Read a manifest in batches.

    Args:
        path: Parquet, CSV, TSV or JSONL file.
        problems: Receives what is malformed; such rows are left out, such values null.
        batch_rows: Most rows in a batch, at most rows.BATCH_ROWS.
        limit: Only the first rows.

    Yields:
        A batch in MANIFEST_SCHEMA, and the line or row number of each of its rows.

    Raises:
        UsageError: the file cannot be read at all.
    """
    seen: dict[str, None] = {}
    left = limit
    for rows in read_rows(path, problems, batch_rows if limit is None else min(batch_rows, limit)):
        seen.update(dict.fromkeys(rows.columns))
        if not {"sample_id", "uri"} <= seen.keys():
            break
        kept = rows if left is None else rows.first(left)
        yield _conform_batch(kept, problems), kept.numbers
        if left is not None:
            left -= len(kept.numbers)
            if left == 0:
                break
    check_columns(list(seen), problems)


def manifest_table(columns: Mapping[str, Sequence[object] | pa.Array], rows: int) -> pa.Table:
    """Table in MANIFEST_SCHEMA from the columns that a source fills; the others are null."""
    return pa.table(
        [
            _array(columns[field.name], field.type) if field.name in columns else _null_column(rows, field.type)
            for field in MANIFEST_SCHEMA
        ],
        schema=MANIFEST_SCHEMA,
    )


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest in its canonical form: where it lies, its number of rows, the hex sha256 of the file."""

    path: Path
    rows: int
    sha256: str


def store_manifest(source: ManifestSource, target: Path, limit: int | None = None) -> StoredManifest:
    """Write the rows of a source in their canonical form, in one pass and atomically.

    Args:
        source: What to write.
        target: The file; its folder must exist.
        limit: Only the first rows; the file holds no others.

    Raises:
        UsageError: the source has problems, or no rows, or the file cannot be written; `target` is then left as it was.
    """
    try:
        with AtomicFile(target) as file:
            rows = _write_canonical(source.batches(limit), file)
            if rows == 0:
                raise UsageError("INPUT: no rows; give a folder with images or videos, a glob, or a manifest with rows")
    except OSError as error:  # reading raises none
        raise UsageError(
            f"{target.name}: a copy of the manifest cannot be written ({error.strerror or 'disk full?'})"
        ) from error
    assert file.written is not None
    return StoredManifest(target, rows, file.written.sha256)


def store_rows(batches: Iterable[pa.RecordBatch], target: Path) -> StoredManifest:
    """Write valid rows in their canonical form, atomically; there may be none.

    Args:
        batches: In MANIFEST_SCHEMA, of any size.
        target: The file; its folder must exist.
    """
    with AtomicFile(target) as file:
        rows = _write_canonical(batches, file)
    assert file.written is not None
    return StoredManifest(target, rows, file.written.sha256)


def write_manifest(table: pa.Table, path: Path) -> Written:
    """Write a manifest in its canonical form, atomically; equal tables give equal bytes.

    Args:
        table: In MANIFEST_SCHEMA.
        path: Target; its folder must exist.

    Returns:
        The file's sha256 and size.
    """
    with AtomicFile(path) as file:
        _write_canonical(table.to_batches(), file)
    assert file.written is not None
    return file.written


def sample_rows(path: Path, indices: Sequence[int]) -> pa.Table:
    """Some rows of a stored manifest, in the order asked for, reading only the row groups that hold them.

    Args:
        path: A file that `store_manifest` wrote.
        indices: Row numbers from 0.

    Raises:
        UsageError: the file is damaged.
    """
    wanted = np.asarray(indices, np.int64)
    groups = wanted // _GROUP_ROWS
    with open_part(path) as file:
        parts = [file.read_row_group(group).take(wanted[groups == group] % _GROUP_ROWS) for group in np.unique(groups).tolist()]
    places = np.argsort(np.argsort(groups, kind="stable"), kind="stable")
    return pa.concat_tables(parts).take(places)


def _write_canonical(batches: Iterable[pa.RecordBatch], file: AtomicFile) -> int:
    """Write batches of any size as row groups of one fixed size, each from contiguous arrays; returns the number of rows."""
    schema = MANIFEST_SCHEMA.with_metadata({_FORMAT_KEY: str(FORMAT_VERSION)})
    rows = 0
    waiting = schema.empty_table()
    with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=_DICTIONARIES) as writer:
        for batch in batches:
            rows += batch.num_rows
            waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
            while waiting.num_rows >= _GROUP_ROWS:
                writer.write_table(waiting.slice(0, _GROUP_ROWS).combine_chunks(), _GROUP_ROWS)
                waiting = waiting.slice(_GROUP_ROWS)
        if waiting.num_rows:
            writer.write_table(waiting.combine_chunks(), _GROUP_ROWS)
    return rows


def frame_refs(rows: pa.Table) -> list[FrameRef]:
    """The part of manifest rows that decode and detect need, in order."""
    columns = [rows.column(name).to_pylist() for name in ("sample_id", "uri", "frame", "pts", "box")]
    return [
        FrameRef(sample_id, uri, frame, pts, None if box is None else np.array(box, np.float32))
        for sample_id, uri, frame, pts, box in zip(*columns, strict=True)
    ]


def _valid(read: _Read, problems: Problems) -> Iterator[pa.RecordBatch]:
    """The batches up to the first problem; all are checked, and the problems of all end it."""
    for batch in _checked(read, problems):
        if problems.count == 0:
            yield batch
    problems.raise_if_any()


def _checked(read: _Read, problems: Problems, root: Root | None = None) -> Iterator[pa.RecordBatch]:
    checker = Checker(problems, root)
    for batch, numbers in read(problems):
        checker.add(batch, numbers)
        yield batch
    checker.finish(lambda: read(Problems(problems.name, problems.unit)))


def _conform_batch(rows: RowBatch, problems: Problems) -> pa.RecordBatch:
    count = len(rows.numbers)
    arrays = [
        conform(rows.columns[field.name], field, rows.numbers, problems)
        if field.name in rows.columns
        else _null_block(field.type).slice(0, count)
        for field in MANIFEST_SCHEMA
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=MANIFEST_SCHEMA)


def _null_column(count: int, kind: pa.DataType) -> pa.ChunkedArray:
    """A column that is not there: one block of nulls, shared by all such columns of a type, over and over."""
    block = _null_block(kind)
    return pa.chunked_array([block.slice(0, min(BATCH_ROWS, count - start)) for start in range(0, count, BATCH_ROWS)], kind)


@lru_cache
def _null_block(kind: pa.DataType) -> pa.Array:
    return pa.nulls(BATCH_ROWS, kind)


def _array(values: Sequence[object] | pa.Array, kind: pa.DataType) -> pa.Array:
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)
