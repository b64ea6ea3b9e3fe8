"""What a classifier is to look at: the rows of a run, or of Parquet files, cut into the parts that predictions are made of.

A run is cut as its shards are and counts frames, of which one may have several rows. Other files are cut between row groups: a
part is never of two files, and mostly of no more than PART_ROWS rows, which is what a killed worker has to do again.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from normpipe.audit.plan import AuditedRun, finished_run
from normpipe.classify.arms import Arm
from normpipe.classify.pictures import side_of
from normpipe.classify.predicted_rows import BATCH_ROWS
from normpipe.classify.shard_files import Layout, ShardFile
from normpipe.classify.shard_sources import run_folder, shard_files
from normpipe.engine.plan import read_plan
from normpipe.errors import UsageError
from normpipe.sources.root import Root, is_remote, named_path
from normpipe.stages.faces_table import frame_starts
from normpipe.stages.parts import SHARDS_FOLDER

PART_ROWS = 2048

_MOST_GROUP_BYTES = 256 << 20
_LABEL_ROWS = 4096
_THREADS = 16


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a file that become a file of predictions.

    Attributes:
        file: Where they are.
        rows: Their numbers in it.
        frames: Frames of a run that they are of; None where each row counts for itself.
        digest: Of the file's footer, see Layout; None for a run's file, of which the journal knows every byte.
        streamed: See ShardFile.batches.
    """

    file: ShardFile
    rows: range
    frames: int | None
    digest: str | None
    streamed: bool

    @property
    def inputs(self) -> int:
        """What the engine counts: frames, or rows."""
        return len(self.rows) if self.frames is None else self.frames

    def starts(self) -> NDArray[np.int64]:
        """(inputs + 1,) place of the first row of each frame, or of each row; at the end the number of rows.

        Raises:
            UsageError: the file is damaged or holds other frames.
        """
        if self.frames is None:
            return np.arange(len(self.rows) + 1)
        path = self.file.root.local_path(self.file.uri)
        assert path is not None, "runs are on this machine"
        found = frame_starts(path)
        if len(found) != self.frames + 1:
            raise UsageError(f"{self.file}: holds other rows than the run's plan says")
        return found

    def batches(
        self, columns: pa.Schema, pictures: Sequence[str] = (), *, places: range | None = None, most: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Rows of the part, all or those at some places in it; the rest as for ShardFile.batches."""
        rows = self.rows if places is None else self.rows[places.start : places.stop]
        yield from self.file.batches(columns, pictures, rows, most=most, streamed=self.streamed, digest=self.digest)

    def table(self, columns: pa.Schema) -> pa.Table:
        """All rows, without pictures; errors as for `batches`."""
        return pa.Table.from_batches(self.batches(columns, most=_LABEL_ROWS), columns)


@dataclass(frozen=True, slots=True)
class PredictedSource:
    """What the user named.

    Attributes:
        name: What messages call it.
        parts: Its rows, at least one part.
        side: Pixels of a side of its pictures.
        fingerprint: Digests of its content, not of where it lies.
        run: The run that it is, whole and finished; None for files.
        folder: Its place on this machine, None for a URL.
    """

    name: str
    parts: tuple[Part, ...]
    side: int
    fingerprint: Mapping[str, str]
    run: AuditedRun | None
    folder: Path | None

    @property
    def starts(self) -> tuple[int, ...]:
        """What the engine counts (see Part.inputs) before each part, and at the end in all."""
        return (0, *accumulate(part.inputs for part in self.parts))


def predicted_source(shards: str, arm: Arm, *, partial: bool = False) -> PredictedSource:
    """Look at what is to be predicted: of files at their footers, and at pictures until one can be read.

    Args:
        shards: See shard_sources.shard_files.
        arm: Which pictures are wanted.
        partial: Take what is committed of a run that is not finished.

    Raises:
        UsageError: the source is none, is not finished or has no files; a file is damaged or lacks a column; there is no
            row, or none with a picture.
        IncompatibleRunError: a run's plan or journal is damaged.
    """
    run = run_folder(shards)
    if run is not None and not (partial and _is_unfinished(run)):
        return _of_run(finished_run(run))
    folder = None if is_remote(shards) else run or named_path(shards).absolute()
    return _of_files(shard_files(shards, partial=partial), arm, folder)


def _is_unfinished(run: Path) -> bool:
    plan = read_plan(run)
    assert plan is not None
    return len(shard_files(str(run), partial=True)) < len(plan.shards)


def _of_run(run: AuditedRun) -> PredictedSource:
    root, parts = Root(str(run.out)), []
    for record in run.records:
        file = ShardFile(root, f"{SHARDS_FOLDER}/{record.shard.name}.parquet", run.out.name)
        if file.uri not in {written.path for written in record.result.files}:
            raise UsageError(f"{run.out.name}: holds no pairs; name the OUT of `normpipe run`, or Parquet files of pairs")
        parts.append(Part(file, range(record.result.rows), record.shard.rows, digest=None, streamed=True))
    digests = {"run": run.plan.fingerprint.digest, "run_content": run.content}
    return PredictedSource(run.out.name, tuple(parts), run.pipeline.size, digests, run, run.out)


def _of_files(files: Sequence[ShardFile], arm: Arm, folder: Path | None) -> PredictedSource:
    pictures = list(dict.fromkeys(arm.columns))
    with ThreadPoolExecutor(_THREADS) as pool:
        layouts = list(pool.map(lambda file: file.layout(pictures), files))
    parts = [part for file, layout in zip(files, layouts, strict=True) for part in _cut(file, layout)]
    name = files[0].source
    if not parts:
        raise UsageError(f"{name}: its files have no rows")
    side, first = _first_picture(name, parts, pictures)
    made = "".join(f"{file.name}\0{layout.digest}\0" for file, layout in zip(files, layouts, strict=True))
    digests = {"shards": hashlib.sha256(made.encode()).hexdigest(), "pictures": first}
    return PredictedSource(name, tuple(parts), side, digests, None, folder)


def _cut(file: ShardFile, layout: Layout) -> Iterator[Part]:
    """Parts of a file: as many row groups as have no more than PART_ROWS rows, one at least."""
    streamed = file.root.is_local or int(layout.sizes.max(initial=0)) > _MOST_GROUP_BYTES
    start = stop = 0
    for count in (*layout.counts.tolist(), None):
        if stop > start and (count is None or stop + count - start > PART_ROWS):
            yield Part(file, range(start, stop), None, layout.digest, streamed)
            start = stop
        stop += count or 0


def _first_picture(name: str, parts: Sequence[Part], pictures: Sequence[str]) -> tuple[int, str]:
    """Pixels of a side of the first picture that can be read, and a digest of all up to it."""
    found = hashlib.sha256()
    for part in parts:
        for batch in part.batches(pa.schema([]), pictures):
            for row in zip(*(batch[column].to_pylist() for column in pictures), strict=True):
                for content in row:
                    found.update(content or b"")
                side = side_of(np.frombuffer(row[0] or b"", np.uint8))
                if side is not None:
                    return side, found.hexdigest()
    raise UsageError(f"{name}: none of its rows has a picture in the column {pictures[0]!r} that can be read and is square")
