"""CSV, TSV, JSONL and Parquet files as batches of columns, each row with its line number. Nothing is interpreted here.

JSONL gives Python values, CSV text with empty cells as null, Parquet arrays of its own types. Batches keep memory flat on
tables of any length, and line numbers let every later complaint name its place.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from normpipe.errors import UsageError
from normpipe.sources.problems import Problems

if TYPE_CHECKING:
    from _csv import Reader

Column: TypeAlias = Sequence[object] | pa.Array
BATCH_ROWS = 65_536
_BUFFER_BYTES = 1 << 20  # else a column of a row group, which may be the whole file, is loaded at once
TABLE_SUFFIXES = frozenset({".parquet", ".csv", ".tsv", ".jsonl", ".ndjson"})


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Some rows: columns by name, and the number of each row in the file (a text file's line, a Parquet file's row; from 1)."""

    columns: dict[str, Column]
    numbers: Sequence[int]

    def first(self, count: int) -> "RowBatch":
        """The first `count` rows."""
        return RowBatch({name: values[:count] for name, values in self.columns.items()}, self.numbers[:count])


def problems_of(path: Path) -> Problems:
    """Empty collector for a file, with the unit that its rows are counted in."""
    return Problems(path.name, "row" if path.suffix.lower() == ".parquet" else "line")


def read_rows(path: Path, problems: Problems, batch_rows: int = BATCH_ROWS) -> Iterator[RowBatch]:
    """Read a table file in batches.

    Args:
        path: The file; its extension decides the format.
        problems: Receives rows that are malformed, which are then left out.
        batch_rows: Most rows in a batch.

    Raises:
        UsageError: the file is missing, of another format than its name says, or not UTF-8.
    """
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise UsageError(f"{path.name}: a table is one of {', '.join(sorted(TABLE_SUFFIXES))}")
    try:
        if suffix == ".parquet":
            yield from _parquet(path, batch_rows)
        elif suffix in {".csv", ".tsv"}:
            yield from _delimited(path, "," if suffix == ".csv" else "\t", problems, batch_rows)
        else:
            yield from _json_lines(path, problems, batch_rows)
    except OSError as error:
        raise UsageError(f"{path.name}: cannot be read ({error.strerror or 'damaged'})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path.name}: not UTF-8 text: save it as UTF-8") from error


def _parquet(path: Path, batch_rows: int) -> Iterator[RowBatch]:
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES) as file:
            _refuse_repeated(path, file.schema_arrow.names)
            done = 0
            for batch in file.iter_batches(batch_size=batch_rows, use_threads=False):
                yield RowBatch(
                    dict(zip(batch.schema.names, batch.columns, strict=True)), range(done + 1, done + batch.num_rows + 1)
                )
                done += batch.num_rows
            if done == 0:
                yield RowBatch({field.name: pa.array([], field.type) for field in file.schema_arrow}, [])
    except pa.ArrowInvalid as error:
        raise UsageError(f"{path.name}: not a Parquet file, or a damaged one") from error


def _delimited(path: Path, delimiter: str, problems: Problems, batch_rows: int) -> Iterator[RowBatch]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next(reader, None)
        except csv.Error as error:
            raise UsageError(f"{path.name}, line 1: {error}") from error
        if header is None:
            raise UsageError(f"{path.name}: empty; the first line names the columns")
        header = [name.strip() for name in header]
        _refuse_repeated(path, header)
        rows: list[list[str]] = []
        numbers: list[int] = []
        for number, row in _numbered(reader, problems):
            if len(row) != len(header):
                if row:
                    problems.add(number, f"{len(row)} cells, but the header names {len(header)} columns")
                continue
            rows.append(row)
            numbers.append(number)
            if len(rows) == batch_rows:
                yield _batch_of_cells(header, rows, numbers)
                rows, numbers = [], []
        yield _batch_of_cells(header, rows, numbers)


def _numbered(reader: "Reader", problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """Each row with the line that it begins in."""
    while True:
        number = reader.line_num + 1
        try:
            for row in reader:
                yield number, row
                number = reader.line_num + 1
            return
        except csv.Error as error:
            problems.add(number, str(error))


def _batch_of_cells(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> RowBatch:
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    cells = [pa.array(column, pa.string()) for column in columns]
    missing = pa.scalar(None, pa.string())
    return RowBatch(
        {name: pc.if_else(pc.equal(column, ""), missing, column) for name, column in zip(header, cells, strict=True)}, numbers
    )


def _json_lines(path: Path, problems: Problems, batch_rows: int) -> Iterator[RowBatch]:
    with path.open(encoding="utf-8-sig") as file:
        rows: list[dict[str, object]] = []
        numbers: list[int] = []
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                problems.add(number, f"not JSON: {error.msg}")
                continue
            if not isinstance(row, dict):
                problems.add(number, "not a JSON object")
                continue
            rows.append(row)
            numbers.append(number)
            if len(rows) == batch_rows:
                yield _batch_of_objects(rows, numbers)
                rows, numbers = [], []
        yield _batch_of_objects(rows, numbers)


def _batch_of_objects(rows: Sequence[dict[str, object]], numbers: Sequence[int]) -> RowBatch:
    names = dict.fromkeys(name for row in rows for name in row)
    return RowBatch({name: [row.get(name) for row in rows] for name in names}, numbers)


def _refuse_repeated(path: Path, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UsageError(f"{path.name}: column {repeated[0]!r} stands there twice")
