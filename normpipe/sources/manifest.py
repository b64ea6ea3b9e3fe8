"""The manifest: one row per frame, in records.MANIFEST_SCHEMA. Read from Parquet, CSV, TSV or JSONL; written as Parquet.

Every source ends here and every run starts here. Reading validates, so nothing later meets a label outside the vocabulary.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from normpipe.batches import FrameRef
from normpipe.records import FORMAT_VERSION, MANIFEST_SCHEMA
from normpipe.shards.atomic import AtomicFile, Written
from normpipe.sources.check import Checker, check_columns
from normpipe.sources.columns import conform
from normpipe.sources.problems import Problems
from normpipe.sources.root import Root
from normpipe.sources.rows import BATCH_ROWS, RowBatch, problems_of, read_rows

_FORMAT_KEY = b"normpipe_manifest_format"


def read_manifest(path: Path) -> pa.Table:
    """Read and validate a manifest; whether the files exist is not looked at.

    Returns:
        Table in MANIFEST_SCHEMA; columns that the file lacks are null.

    Raises:
        UsageError: the file cannot be read, or holds problems: the first twenty are listed with their lines.
    """
    problems = problems_of(path)
    checker = Checker(problems)
    batches = []
    for batch, numbers in iterate_manifest(path, problems):
        checker.add(batch, numbers)
        batches.append(batch)
    checker.finish()
    problems.raise_if_any()
    return pa.Table.from_batches(batches, MANIFEST_SCHEMA)


def check_manifest(path: Path, root: Root | None) -> Problems:
    """All problems of a manifest, missing files below `root` among them; memory holds its sample ids only.

    Raises:
        UsageError: the file cannot be read at all.
    """
    problems = problems_of(path)
    checker = Checker(problems, root)
    rows = 0
    for batch, numbers in iterate_manifest(path, problems):
        checker.add(batch, numbers)
        rows += batch.num_rows
    checker.finish()
    if rows == 0 and problems.count == 0:
        problems.add(None, "no rows")
    return problems


def iterate_manifest(
    path: Path, problems: Problems, batch_rows: int = BATCH_ROWS
) -> Iterator[tuple[pa.RecordBatch, Sequence[int]]]:
    """Read a manifest in batches.

    Args:
        path: Parquet, CSV, TSV or JSONL file.
        problems: Receives what is malformed; such rows are left out, such values null.
        batch_rows: Most rows in a batch.

    Yields:
        A batch in MANIFEST_SCHEMA, and the line or row number of each of its rows.

    Raises:
        UsageError: the file cannot be read at all.
    """
    seen: dict[str, None] = {}
    for rows in read_rows(path, problems, batch_rows):
        seen.update(dict.fromkeys(rows.columns))
        if not {"sample_id", "uri"} <= seen.keys():
            break
        yield _conform_batch(rows, problems), rows.numbers
    check_columns(list(seen), problems)


def manifest_table(columns: Mapping[str, Sequence[object] | pa.Array], rows: int) -> pa.Table:
    """Table in MANIFEST_SCHEMA from the columns that a source fills; the others are null."""
    return pa.table(
        [
            pa.nulls(rows, field.type) if field.name not in columns else _array(columns[field.name], field.type)
            for field in MANIFEST_SCHEMA
        ],
        schema=MANIFEST_SCHEMA,
    )


def write_manifest(table: pa.Table, path: Path) -> Written:
    """Write a manifest atomically; equal tables give equal bytes.

    Args:
        table: In MANIFEST_SCHEMA.
        path: Target; its folder must exist.

    Returns:
        The file's sha256 and size.
    """
    schema = MANIFEST_SCHEMA.with_metadata({_FORMAT_KEY: str(FORMAT_VERSION)})
    with AtomicFile(path) as file:
        pq.write_table(table.cast(schema).combine_chunks(), file, compression="zstd", row_group_size=BATCH_ROWS)
    assert file.written is not None
    return file.written


def frame_refs(rows: pa.Table) -> list[FrameRef]:
    """The part of manifest rows that decode and detect need, in order."""
    columns = [rows.column(name).to_pylist() for name in ("sample_id", "uri", "frame", "pts", "box")]
    return [
        FrameRef(sample_id, uri, frame, pts, None if box is None else np.array(box, np.float32))
        for sample_id, uri, frame, pts, box in zip(*columns, strict=True)
    ]


def _conform_batch(rows: RowBatch, problems: Problems) -> pa.RecordBatch:
    count = len(rows.numbers)
    arrays = [
        pa.nulls(count, field.type)
        if field.name not in rows.columns
        else conform(rows.columns[field.name], field, rows.numbers, problems)
        for field in MANIFEST_SCHEMA
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=MANIFEST_SCHEMA)


def _array(values: Sequence[object] | pa.Array, kind: pa.DataType) -> pa.Array:
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)
