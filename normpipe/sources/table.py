"""A label table of any form (CSV, TSV, JSONL, Parquet) becomes a manifest.

The user maps its columns to the manifest's; columns of equal name map themselves, all others are named in the outcome and left
out. A row that names a clip without a frame stands for the whole clip and becomes one row per frame, with its labels on each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from normpipe.errors import UsageError
from normpipe.records import MANIFEST_SCHEMA
from normpipe.sources.check import Checker
from normpipe.sources.columns import conform
from normpipe.sources.emotions import EmotionNames
from normpipe.sources.failures import FILE_ERRORS
from normpipe.sources.folder import clip_times, frame_id
from normpipe.sources.manifest import manifest_table
from normpipe.sources.media import Kind, is_animated, kind_of_name
from normpipe.sources.root import Root, path_to_uri
from normpipe.sources.rows import RowBatch, problems_of, read_rows
from normpipe.sources.video import FrameTime, Sampling

_GIVEN = ("uri", "sample_id", "frame", "sequence")
_FILLED = ("uri", "sample_id", "frame", "pts", "timestamp", "sequence")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableForm:
    """How to read a table.

    Attributes:
        columns: Column of the table to column of the manifest.
        emotions: Raw emotion to common name ("" for none), for those that are not known anyway.
        missing: Cells that mean "not annotated", such as "9" or "NA".
        dataset: Name of the dataset, where no column gives it.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    emotions: Mapping[str, str] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    dataset: str | None = None


@dataclass(frozen=True, slots=True)
class TableManifest:
    """Outcome of reading a table: the manifest, the columns left out, and the number of clips that cannot be decoded."""

    table: pa.Table
    unused: tuple[str, ...]
    broken: int


def build_table(path: Path, root: Root, form: TableForm, sampling: Sampling | None = None) -> TableManifest:
    """Read a label table.

    Args:
        path: The table. Its `uri` cells are plain paths relative to ROOT, or absolute ones below it.
        root: Where the files lie; only clips and possible animations are opened.
        form: What its columns and values mean.
        sampling: Which frames of whole clips to take; all by default.

    Raises:
        UsageError: a mapping is wrong, no column gives the path, an emotion has no common name, or values have problems.
    """
    problems = problems_of(path)
    emotions = EmotionNames(form.emotions)
    clips = _Clips(root, sampling or Sampling())
    checker = Checker(problems)
    unused: dict[str, None] = {}
    checked: list[tuple[pa.RecordBatch, Sequence[int]]] = []
    for rows in read_rows(path, problems):
        chosen = _choose(path, rows, form)
        unused.update(dict.fromkeys(name for name in rows.columns if name not in chosen.values()))
        typed = {
            name: conform(_annotated(rows.columns[column], form.missing), MANIFEST_SCHEMA.field(name), rows.numbers, problems)
            for name, column in chosen.items()
        }
        table, numbers = _frames(typed, rows.numbers, root, clips)
        for batch in _labelled(table, emotions, form.dataset).combine_chunks().to_batches():
            checker.add(batch, numbers)
            checked.append((batch, numbers))
    checker.finish(lambda: checked)
    problems.raise_if_any()
    emotions.raise_if_unknown()
    return TableManifest(
        pa.Table.from_batches((batch for batch, _ in checked), MANIFEST_SCHEMA), tuple(unused), len(clips.broken)
    )


class _Clips:
    """Frame times of the clips that a table names, each decoded once."""

    def __init__(self, root: Root, sampling: Sampling) -> None:
        self.broken: set[str] = set()
        self._root = root
        self._sampling = sampling
        self._times: dict[tuple[str, bool], list[FrameTime]] = {}
        self._is_clip: dict[str, bool] = {}

    def is_clip(self, uri: str) -> bool:
        """Whether the file is a video or an animation."""
        kind = kind_of_name(uri)
        if kind is not Kind.ANIMATION:
            return kind is Kind.VIDEO
        if uri not in self._is_clip:
            try:
                self._is_clip[uri] = is_animated(self._root, uri)
            except FILE_ERRORS:
                self._is_clip[uri] = False
        return self._is_clip[uri]

    def sampled(self, uri: str) -> list[FrameTime]:
        """Frames to take of a whole clip."""
        return self._get(uri, whole=False)

    def time(self, uri: str, frame: int) -> FrameTime:
        """One frame; without pts where the clip has no such frame."""
        times = self._get(uri, whole=True)
        return times[frame] if 0 <= frame < len(times) else FrameTime(frame, None, None)

    def _get(self, uri: str, *, whole: bool) -> list[FrameTime]:
        key = (uri, whole)
        if key not in self._times:
            self._times[key], sound = clip_times(self._root, uri, Sampling() if whole else self._sampling)
            if not sound:
                self.broken.add(uri)
        return self._times[key]


def _choose(path: Path, rows: RowBatch, form: TableForm) -> dict[str, str]:
    """Manifest column to table column."""
    chosen = {name: name for name in rows.columns if name in MANIFEST_SCHEMA.names and name not in form.columns}
    for column, name in form.columns.items():
        if name not in MANIFEST_SCHEMA.names:
            raise UsageError(f"--map {column}={name}: a manifest has no column {name!r}")
        if column not in rows.columns:
            raise UsageError(f"--map {column}={name}: {path.name} has no column {column!r}, only {', '.join(rows.columns)}")
        if list(form.columns.values()).count(name) > 1:
            raise UsageError(f"--map {column}={name}: {name!r} is mapped twice")
        chosen[name] = column
    if "uri" not in chosen:
        raise UsageError(f"{path.name}: say which column holds the path, such as --map {next(iter(rows.columns), 'path')}=uri")
    return chosen


def _annotated(values: Sequence[object] | pa.Array, missing: frozenset[str]) -> Sequence[object] | pa.Array:
    """The column with null for every cell that means "not annotated"."""
    if not missing:
        return values
    plain = values.to_pylist() if isinstance(values, pa.Array) else values
    return [None if value is not None and (value in missing or str(value) in missing) else value for value in plain]


def _frames(typed: Mapping[str, pa.Array], numbers: Sequence[int], root: Root, clips: _Clips) -> tuple[pa.Table, Sequence[int]]:
    """Rows with URIs, ids and times, whole clips as one row per frame; and the table's line of each row."""
    source: list[int] = []
    filled: dict[str, list[object]] = {name: [] for name in _FILLED}
    given = [typed[name].to_pylist() if name in typed else [None] * len(numbers) for name in _GIVEN]
    for row, (path, sample_id, frame, sequence) in enumerate(zip(*given, strict=True)):
        uri = _relative(path, root) if path else ""
        if not path or not clips.is_clip(uri):  # a still has no frame index, even if the table numbers its files
            values: list[tuple[object, ...]] = [(uri, sample_id or uri, None, None, None, sequence)]
        else:
            times = clips.sampled(uri) if frame is None else [clips.time(uri, frame)]
            name = sample_id or uri
            values = [
                (
                    uri,
                    name if sample_id and frame is not None else frame_id(name, time.frame),
                    time.frame,
                    time.pts,
                    time.timestamp,
                    sequence or uri,
                )
                for time in times
            ]
        source += [row] * len(values)
        for column, cells in zip(filled.values(), zip(*values, strict=True), strict=True):
            column.extend(cells)
    taken = pa.array(source, pa.int64())
    columns: dict[str, Sequence[object] | pa.Array] = {name: array.take(taken) for name, array in typed.items()}
    return manifest_table(columns | filled, len(source)), np.asarray(numbers, np.int64)[source].tolist()


def _labelled(table: pa.Table, emotions: EmotionNames, dataset: str | None) -> pa.Table:
    """The table with common emotion names, the raw ones beside them, and the dataset's name where a row has none."""
    columns = dict(zip(table.column_names, table.columns, strict=True))
    raw = columns["emotion"]
    columns["emotion_raw"] = pc.coalesce(columns["emotion_raw"], raw)
    columns["emotion"] = pa.chunked_array([[emotions.common(value) for value in raw.to_pylist()]], pa.string())
    if dataset:
        columns["dataset"] = pc.fill_null(columns["dataset"], dataset)
    return pa.table(columns, schema=MANIFEST_SCHEMA)


def _relative(path: str, root: Root) -> str:
    """URI of a plain path of the table."""
    folder = root.local_path(".")
    pure = PurePosixPath(path)
    if pure.is_absolute() and folder is not None and pure.is_relative_to(folder.as_posix()):
        pure = pure.relative_to(folder.as_posix())
    return path_to_uri(pure.as_posix())
