"""Which rows there are to learn from, and where their pictures lie: an index of pair shards, made without their pixels.

Shards come from finished runs, or from folders and URLs of Parquet files, several together. Rows that have no normalized image
are left out and counted. What is wrong with the files is found here, as far as it shows without decoding every picture: a
training meets those hours later.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from normpipe.audit.groups import Indices
from normpipe.classify.arms import Arm
from normpipe.classify.keys import sample_numbers
from normpipe.classify.labels import LabelSpace, Targets, targets
from normpipe.classify.pictures import side_of
from normpipe.classify.shard_files import ShardFile, shown_root
from normpipe.classify.shard_sources import ADVICE, shard_files
from normpipe.errors import UsageError
from normpipe.records import Reason, Status


@dataclass(frozen=True, slots=True)
class Places:
    """Where the pictures of n rows are; all that loader workers need to know of rows.

    Attributes:
        files: All files.
        sides: (files,) pixels of a side of their pictures.
        file: (n,) number of the row's file; the rows of one file, and of one row group in it, stand together.
        group: (n,) number of its row group in that file.
        row: (n,) number of the row in that row group.
        numbers: (n,) int64, see `sample_numbers`.
    """

    files: tuple[ShardFile, ...]
    sides: Indices
    file: Indices
    group: Indices
    row: Indices
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.row)

    def taken(self, rows: Indices) -> "Places":
        """The places of some rows, in rising order."""
        columns = (column[rows] for column in (self.file, self.group, self.row, self.numbers))
        return Places(self.files, self.sides, *columns)

    @property
    def row_groups(self) -> Indices:
        """(n,) number of the row group among all that these rows are in, from 0 on, rising."""
        change = (np.diff(self.file, prepend=-1) != 0) | (np.diff(self.group, prepend=-1) != 0)
        return np.cumsum(change) - 1


@dataclass(frozen=True, slots=True)
class Shards:
    """The rows of all shards that have a pair, in the order of sources, files and rows.

    Attributes:
        table: n rows of shard_files.ROWS_SCHEMA: names, split and labels.
        places: Where their pictures are.
        left_out: Rows that have no pair, by reason.
    """

    table: pa.Table
    places: Places
    left_out: Mapping[Reason, int]

    def __len__(self) -> int:
        return len(self.places)

    def targets(
        self, space: LabelSpace, *, active_from: float | None = None, leave_out_other_emotions: bool = False
    ) -> Targets:
        """Labels of the rows; arguments and errors as for labels.targets.

        Raises:
            UsageError: also if no row has a label.
        """
        found = targets(self.table, space, active_from=active_from, leave_out_other_emotions=leave_out_other_emotions)
        if not found.known.any():
            raise UsageError(
                f"labels of the task {space.task}: none of the {len(self)} rows has one of {', '.join(space.names)}; "
                "learn what they are labelled with, or add the labels to the manifest and run it again"
            )
        return found


def open_shards(sources: Sequence[str], arm: Arm, *, partial: bool = False) -> Shards:
    """Index shards.

    Args:
        sources: Each the OUT of a run, a folder or fsspec URL of Parquet files, or one such file.
        arm: Which pictures are wanted.
        partial: Take what is committed of a run that is not finished.

    Raises:
        UsageError: a source is none, is not finished or has no files; a file is damaged or lacks a column; a source's first
            picture cannot be decoded or is not square; there is no row with a pair; a sample stands there twice.
        IncompatibleRunError: a run's plan or journal is damaged.
    """
    opened = [[_rows(file, arm) for file in shard_files(source, partial=partial)] for source in sources]
    sides = [_side(own, arm) for own in opened for _ in own]
    parts = [part for own in opened for part in own]
    left_out = sum((part.left_out for part in parts), Counter[Reason]())
    table = pa.concat_tables([part.table for part in parts])
    if not len(table):
        counts = ", ".join(f"{reason.value} {count}" for reason, count in sorted(left_out.items())) or "they have no rows"
        raise UsageError(f"{', '.join(map(shown_root, sources))}: no row has a pair ({counts})")
    numbers = sample_numbers(table)
    _check_unique(table, numbers)
    places = Places(
        files=tuple(part.file for part in parts),
        sides=np.array(sides, np.intp),
        file=np.repeat(np.arange(len(parts)), [len(part.row) for part in parts]),
        group=np.concatenate([part.group for part in parts]),
        row=np.concatenate([part.row for part in parts]),
        numbers=numbers,
    )
    return Shards(table, places, dict(sorted(left_out.items())))


@dataclass(frozen=True, slots=True)
class _FileRows:
    """The rows of one file that have a pair: ROWS_SCHEMA, and (n,) row group and row in it."""

    file: ShardFile
    table: pa.Table
    group: Indices
    row: Indices
    left_out: Counter[Reason]


def _rows(file: ShardFile, arm: Arm) -> _FileRows:
    table, counts = file.rows(arm.columns)
    ok = pc.equal(table["status"], Status.OK.value)
    kept = np.flatnonzero(pc.fill_null(ok, False).to_numpy())
    group = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(len(group)) - (np.cumsum(counts) - counts)[group]
    reasons = table.filter(pc.invert(pc.fill_null(ok, False)))["reason"].to_pylist()
    try:
        left_out = Counter(Reason(reason) for reason in reasons)
    except ValueError as error:
        raise UsageError(f"{file}: a row failed for a reason that this version does not know; update normpipe") from error
    return _FileRows(file, table.take(pa.array(kept)), group[kept], row[kept], left_out)


def _side(parts: Sequence[_FileRows], arm: Arm) -> int:
    """Pixels of a side of the pictures of a source, as its first one has them; 0 where there is none."""
    part = next((part for part in parts if len(part.row)), None)
    if part is None:
        return 0
    content = part.file.pictures(int(part.group[0]), arm.columns[:1])[0][int(part.row[0])].as_py()
    side = side_of(np.frombuffer(content or b"", np.uint8))
    if side is None:
        sample = part.table["sample_id"][0].as_py()
        raise UsageError(f"{sample}: its {arm.columns[0]} is no square picture ({part.file}); {ADVICE}")
    return side


def _check_unique(table: pa.Table, numbers: NDArray[np.int64]) -> None:
    _, first = np.unique(numbers, return_index=True)
    if len(first) < len(numbers):
        row = int(np.setdiff1d(np.arange(len(numbers)), first)[0])
        raise UsageError(
            f"{table['sample_id'][row].as_py()}: this sample stands there twice; name every run and release once, and give "
            "data sets of equal sample ids names of their own in the column `dataset`"
        )
