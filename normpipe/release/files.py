"""The data files: which rows go into which, decided before the first is written, so that several can be written at once.

Rows stand in the order split, run, row of the run. A split is cut into files of like size, about 400 MB; sizes are those that
the runs' own files tell of. A finished file leaves a note beside it, by which the same build takes it up again after it was
killed.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from normpipe.release.document import ReleasedFile
from normpipe.release.keys import Names
from normpipe.release.parallel import ahead
from normpipe.release.rows import Renderer
from normpipe.release.runs import PartChecks, SourceRun
from normpipe.release.schema import CLASSES
from normpipe.release.selection import Selection
from normpipe.shards.atomic import sha256_of, write_bytes
from normpipe.shards.reader import open_part
from normpipe.shards.writer import Layout, ShardWriter

FILE_BYTES = 450_000_000
"""Most bytes of a file; a split of several files has them between 2/3 of this and this."""

DATA_FOLDER = "data"
RELEASE_LAYOUT = Layout(classes=CLASSES, row_group_rows=256, compression="snappy", content_defined_pages=False)
"""Larger groups and a quick compression: columns without pictures cost a third of the time and hardly any room.

Hubs keep equal pieces of two versions once. They find pieces by the bytes, and pictures lie uncompressed: pages cut by content
only put more page headers between them. Of a release without 5 of 657 people, 22 % of the bytes were new with such pages and
13 % without (pieces of 8 to 128 kB, cut by a rolling hash), and they took a sixth of the time.
"""

_BATCH_BYTES = 20_000_000
_DIGEST = 32


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows [start, stop) of a run's part, as far as they are of the file's split."""

    run: int
    part: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file to write: its path in the release, its split and its rows."""

    path: str
    split: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A finished file.

    Attributes:
        entry: As release.json tells of it.
        digests: Of its rows, in order.
        labels: What its rows are annotated with.
    """

    entry: ReleasedFile
    digests: bytes
    labels: dict[str, Counter[str]]


@dataclass(frozen=True, slots=True)
class Source:
    """What all files of a release are made from."""

    runs: Sequence[SourceRun]
    selection: Selection
    schema: pa.Schema
    names: Names
    checks: PartChecks


def plan_files(source: Source, file_bytes: int = FILE_BYTES) -> list[DataFile]:
    """Cut every split into files of at most about `file_bytes`, all of like size."""
    columns = set(source.schema.names)
    weights = [
        [_row_weights(part, codes, columns) for part, codes in zip(run.parts, parts, strict=True)]
        for run, parts in zip(source.runs, source.selection.codes, strict=True)
    ]
    return [file for number in range(len(source.selection.splits)) for file in _cut_split(source, weights, number, file_bytes)]


def write_file(source: Source, file: DataFile, release: Path, notes: Path) -> WrittenFile:
    """Write one file, or take it from an earlier build that was given up.

    Args:
        source: The runs.
        file: Which.
        release: Folder that becomes the release; `data/` is there.
        notes: Folder of the notes.

    Raises:
        UsageError: a part of a run is damaged.
        OSError: the file cannot be written.
    """
    found = _noted(file, release, notes)
    if found is not None:
        return found
    renderer = Renderer(source.schema, file.split, source.names)
    with ShardWriter(release / file.path, source.schema, RELEASE_LAYOUT) as writer:
        for rows in ahead(_rendered(source, file, renderer)):
            writer.append(rows)
    entry = ReleasedFile(path=file.path, sha256=writer.written.sha256, size=writer.written.size, rows=len(renderer.digests))
    written = WrittenFile(entry, b"".join(renderer.digests), renderer.labels)
    _note(written, file, notes)
    return written


def split_rows(content: bytes) -> Iterator[bytes]:
    """The digests of rows that stand one after the other."""
    for start in range(0, len(content), _DIGEST):
        yield content[start : start + _DIGEST]


def _rendered(source: Source, file: DataFile, renderer: Renderer) -> Iterator[pa.RecordBatch]:
    number = source.selection.splits.index(file.split)
    for piece in file.pieces:
        codes = source.selection.codes[piece.run][piece.part]
        for batch, first in _batches(source.checks.check(piece.run, piece.part), piece, source.schema.names):
            places = np.arange(first, first + batch.num_rows)
            chosen = (codes[places] == number) & (places >= piece.start) & (places < piece.stop)
            if chosen.any():
                yield renderer.rows(batch, chosen)


def _row_weights(part: Path, codes: NDArray[np.int16], columns: set[str]) -> NDArray[np.float64]:
    """What each row adds to a file, in bytes: its share of its row group; 0 where it stays out."""
    weights = np.zeros(len(codes))
    with open_part(part) as file:
        place = 0
        for index in range(file.num_row_groups):
            group = file.metadata.row_group(index)
            size = sum(
                column.total_compressed_size
                for column in map(group.column, range(group.num_columns))
                if column.path_in_schema.partition(".")[0] in columns
            )
            here = slice(place, place + group.num_rows)
            kept = codes[here] >= 0
            weights[here][kept] = size / max(kept.sum(), 1)
            place += group.num_rows
    return weights


def _cut_split(
    source: Source, weights: Sequence[Sequence[NDArray[np.float64]]], number: int, file_bytes: int
) -> list[DataFile]:
    split = source.selection.splits[number]
    places = [(run, part) for run, parts in enumerate(source.selection.codes) for part in range(len(parts))]
    chosen = [source.selection.codes[run][part] == number for run, part in places]
    sizes = np.concatenate([weights[run][part][kept] for (run, part), kept in zip(places, chosen, strict=True)])
    count = min(max(1, int(np.ceil(sizes.sum() / file_bytes))), len(sizes))
    reached = np.minimum((np.cumsum(sizes) - sizes / 2) * count // max(sizes.sum(), 1.0), count - 1).astype(np.int64)
    files: list[list[Piece]] = [[] for _ in range(count)]
    first = 0
    for (run, part), kept in zip(places, chosen, strict=True):
        rows = np.flatnonzero(kept)
        numbers = reached[first : first + len(rows)]
        for each in np.unique(numbers).tolist():
            mine = rows[numbers == each]
            files[each].append(Piece(run, part, int(mine[0]), int(mine[-1]) + 1))
        first += len(rows)
    filled = [pieces for pieces in files if pieces]
    return [
        DataFile(f"{DATA_FOLDER}/{split}-{index:05d}-of-{len(filled):05d}.parquet", split, tuple(pieces))
        for index, pieces in enumerate(filled)
    ]


def _batches(part: Path, piece: Piece, columns: list[str]) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Batches of a few row groups that hold rows of the piece, and the place of their first row in the part."""
    with open_part(part) as file:
        groups: list[int] = []
        place = start = size = 0
        for index in range(file.num_row_groups):
            group = file.metadata.row_group(index)
            if place < piece.stop and place + group.num_rows > piece.start:
                if groups and size + group.total_byte_size > _BATCH_BYTES:
                    yield _read(file, groups, columns), start
                    groups, size = [], 0
                start = start if groups else place
                groups.append(index)
                size += group.total_byte_size
            place += group.num_rows
        if groups:
            yield _read(file, groups, columns), start


def _read(file: pa.parquet.ParquetFile, groups: list[int], columns: list[str]) -> pa.RecordBatch:
    table = file.read_row_groups(groups, columns, use_threads=False).replace_schema_metadata(None).combine_chunks()
    return table.to_batches()[0]


def _note(written: WrittenFile, file: DataFile, notes: Path) -> None:
    """Say that a file is done: the digests first, then the note that tells of them."""
    stem = Path(file.path).stem
    write_bytes(notes / f"{stem}.digests", written.digests)
    note = {"entry": written.entry.model_dump(), "labels": written.labels}
    write_bytes(notes / f"{stem}.json", json.dumps(note).encode())


def _noted(file: DataFile, release: Path, notes: Path) -> WrittenFile | None:
    """What the note says, if it is there and the file is what it tells of; the file is read, so that no damage is released."""
    stem = Path(file.path).stem
    try:
        note = json.loads((notes / f"{stem}.json").read_bytes())
        entry = ReleasedFile.model_validate(note["entry"])
        digests = (notes / f"{stem}.digests").read_bytes()
        whole = len(digests) == _DIGEST * entry.rows and sha256_of(release / file.path) == entry.sha256
    except (OSError, ValueError, KeyError, TypeError):
        return None
    labels = {name: Counter(counts) for name, counts in note["labels"].items()}
    return WrittenFile(entry, digests, labels) if whole else None
