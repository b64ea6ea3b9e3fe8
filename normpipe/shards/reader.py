"""Reading a run's folder back: what the report, the export, the audit and the release see.

A part is committed when the journal has its record; files without one are in flight or left by a kill, and are not read.
Batches are read row group by row group, so memory stays flat whatever the size of the run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from normpipe.errors import UsageError
from normpipe.shards.commits import JOURNAL_FOLDER, committed_names
from normpipe.shards.withdrawn import check_whole

TableName = Literal["shards", "faces"]

_BATCH_ROWS = 128


def committed_parts(out: Path, table: TableName = "shards") -> list[Path]:
    """Files of the committed parts of one table, in plan order.

    Raises:
        UsageError: `out` is not the folder of a run, or a committed file is missing.
        NormpipeError: the journal is damaged, or a withdrawal was interrupted.
    """
    check_whole(out)
    if not (out / "plan.json").is_file():
        raise UsageError(f"{out.name}: not a run's folder (it has no plan.json); name the OUT of `normpipe run`")
    parts = [out / table / f"{name}.parquet" for name in committed_names(out / JOURNAL_FOLDER)]
    for part in parts:
        if not part.is_file():
            raise UsageError(f"{table}/{part.name}: missing although the journal has its record; run `normpipe run` again")
    return parts


def iter_batches(
    out: Path, table: TableName = "shards", columns: Sequence[str] | None = None, batch_rows: int = _BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Rows of the committed parts in plan order, at most `batch_rows` at a time.

    Args:
        out: Folder of the run.
        table: "shards" (PAIRS_SCHEMA) or "faces" (FACES_SCHEMA).
        columns: Columns to read; all when None. Reading without `original` and `normalized` touches no image bytes.
        batch_rows: Largest number of rows of a batch.
    """
    for part in committed_parts(out, table):
        yield from _part_batches(part, columns, batch_rows)


def iter_rows(out: Path, table: TableName = "shards", columns: Sequence[str] | None = None) -> Iterator[dict[str, object]]:
    """As iter_batches, one row at a time as a mapping of column names to Python values."""
    for part in committed_parts(out, table):
        yield from iter_part(part, columns)


def iter_part(part: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, object]]:
    """Rows of one part, in order."""
    for batch in _part_batches(part, columns, _BATCH_ROWS):
        yield from batch.to_pylist()


def find_rows(out: Path, sample_id: str, table: TableName = "shards") -> list[tuple[Path, int]]:
    """Where the rows of one sample are (several when a frame has several faces): file and row in it, in order."""
    for part in committed_parts(out, table):
        with open_part(part) as file:
            ids = file.read(columns=["sample_id"])["sample_id"]
        places = pc.indices_nonzero(pc.equal(ids, sample_id)).to_pylist()
        if places:
            return [(part, place) for place in places]
    return []


def read_slice(path: Path, start: int, stop: int) -> pa.Table:
    """Rows [start, stop) of one Parquet file, touching only the row groups that hold them."""
    with open_part(path) as file:
        groups: list[int] = []
        first, before = 0, 0
        for index in range(file.num_row_groups):
            rows = file.metadata.row_group(index).num_rows
            if before < stop and before + rows > start:
                if not groups:
                    first = before
                groups.append(index)
            before += rows
        return file.read_row_groups(groups).slice(start - first, stop - start)


@contextmanager
def open_part(part: Path) -> Iterator[pq.ParquetFile]:
    """Open one file of a run's table.

    Raises:
        UsageError: the file is damaged.
    """
    try:
        with pq.ParquetFile(part) as file:
            yield file
    except (pa.ArrowInvalid, OSError) as error:  # Arrow raises either, by what is damaged
        raise UsageError(
            f"{part.parent.name}/{part.name}: damaged; delete this file and give the same `normpipe run` command again"
        ) from error


def _part_batches(part: Path, columns: Sequence[str] | None, batch_rows: int) -> Iterator[pa.RecordBatch]:
    with open_part(part) as file:
        yield from file.iter_batches(batch_size=batch_rows, columns=None if columns is None else list(columns))
