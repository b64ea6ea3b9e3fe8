"""The files of a shard without the rows that were withdrawn: a placeholder for each frame, all other rows as they were.

What is written is byte for byte what the run itself would write now, since a run does not touch withdrawn rows either. Every
step may be repeated, so that a withdrawal which was killed is simply done again.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from normpipe.errors import UsageError
from normpipe.records import FACES_SCHEMA, IMAGE_TYPE, PAIRS_SCHEMA, Reason, Status
from normpipe.shards.atomic import Written, sha256_of
from normpipe.shards.commits import Commit, CommittedFile
from normpipe.shards.reader import open_part
from normpipe.shards.withdrawn import placeholder
from normpipe.shards.writer import ShardWriter
from normpipe.stages.faces_table import TRACKS_FOLDER, TRACKS_SCHEMA, frame_starts
from normpipe.stages.parts import ANALYSIS_FOLDER, FACES_FOLDER, SHARDS_FOLDER

_SCHEMAS = {FACES_FOLDER: FACES_SCHEMA, SHARDS_FOLDER: PAIRS_SCHEMA, ANALYSIS_FOLDER: FACES_SCHEMA}
_BATCH_ROWS = 128


def held_by(commit: Commit, places: Collection[int]) -> list[int]:
    """Those of the manifest rows that a shard holds, in order."""
    return sorted(place for place in places if commit["start"] <= place < commit["stop"])


def is_sound(out: Path, commit: Commit, places: Collection[int]) -> bool:
    """Whether a shard's files are those that its record tells of, or such as were rewritten since for these rows."""
    rows = held_by(commit, places)
    return all(_is_sound(out, file, commit, rows) for file in commit["files"])


def digests_within(out: Path, commit: Commit, places: Collection[int]) -> tuple[set[str], set[str]]:
    """sha256 of the pictures and of the source files of some manifest rows of a sound shard."""
    pictures: set[str] = set()
    contents: set[str] = set()
    for file in commit["files"]:
        path = out / file["path"]
        rows = _rows_of(path, commit, held_by(commit, places))
        with open_part(path) as part:
            images = [field.name for field in part.schema_arrow if field.type == IMAGE_TYPE]
            first = 0
            for batch in part.iter_batches(_BATCH_ROWS, columns=[*images, "content_sha256"]):
                taken = batch.take(pa.array(np.flatnonzero(rows[first : first + batch.num_rows])))
                first += batch.num_rows
                contents.update(pc.drop_null(taken["content_sha256"]).to_pylist())
                for name in images:
                    encoded = pc.drop_null(pc.struct_field(taken[name], "bytes")).to_pylist()
                    pictures.update(hashlib.sha256(content).hexdigest() for content in encoded)
    return pictures, contents


def rewrite_shard(out: Path, commit: Commit, places: Collection[int]) -> Commit:
    """Rewrite the files of a sound shard, each atomically.

    Returns:
        The shard's new record, with the old fingerprint. What the file system said of its sources is left out, since that
        names them in a digest.
    """
    rows = held_by(commit, places)
    files = []
    for file in commit["files"]:
        path = out / file["path"]
        tracks = out / TRACKS_FOLDER / path.name
        if path.parent.name == ANALYSIS_FOLDER and tracks.is_file():
            _rewrite_tracks(tracks, path, commit, rows)
        written = _rewrite(path, commit, rows)
        files.append(CommittedFile(path=file["path"], sha256=written.sha256, size=written.size))
    reasons = _reasons(out / files[-1]["path"])
    failed = Counter(reason for reason in reasons if reason is not None)
    return {
        **commit,
        "files": files,
        "rows": len(reasons),
        "ok": len(reasons) - failed.total(),
        "failed": dict(sorted(failed.items())),
        "sources": "",
    }


def _is_sound(out: Path, file: CommittedFile, commit: Commit, rows: list[int]) -> bool:
    path = out / file["path"]
    with suppress(OSError, UsageError):
        return sha256_of(path) == file["sha256"] or _has_placeholders(path, commit, rows)
    return False


def _has_placeholders(path: Path, commit: Commit, rows: list[int]) -> bool:
    starts = _starts(path, commit)
    with open_part(path) as part:
        ids = part.read(columns=["sample_id"])["sample_id"]
    return all(ids[int(starts[row - commit["start"]])].as_py() == placeholder(row) for row in rows)


def _starts(path: Path, commit: Commit) -> NDArray[np.int64]:
    starts = frame_starts(path)
    if len(starts) != commit["stop"] - commit["start"] + 1:
        raise UsageError(f"{path.parent.name}/{path.name}: holds other rows than its plan says")
    return starts


def _rows_of(path: Path, commit: Commit, rows: list[int]) -> NDArray[np.bool_]:
    """(table rows,) whether a row belongs to one of the manifest rows."""
    starts = _starts(path, commit)
    chosen = np.zeros(starts[-1], np.bool_)
    for row in rows:
        frame = row - commit["start"]
        chosen[starts[frame] : starts[frame + 1]] = True
    return chosen


def _rewrite(path: Path, commit: Commit, rows: list[int]) -> Written:
    starts = _starts(path, commit)
    frames = np.repeat(np.arange(commit["start"], commit["stop"]), np.diff(starts))
    gone = _rows_of(path, commit, rows)
    with open_part(path) as part:
        schema = _SCHEMAS[path.parent.name]  # the file's own calls the elements of lists otherwise
        with ShardWriter(path, schema) as writer:
            first, done = 0, -1
            for batch in part.iter_batches(_BATCH_ROWS):
                for frame, start, stop in _runs(gone, frames, first, first + batch.num_rows):
                    if frame is None:
                        writer.append(batch.slice(start - first, stop - start).replace_schema_metadata(None))
                    elif frame != done:  # a frame with many faces may go on in the next batch
                        writer.append(_placeholder_row(schema, frame))
                        done = frame
                first += batch.num_rows
    return writer.written


def _runs(gone: NDArray[np.bool_], frames: NDArray[np.int64], first: int, stop: int) -> Iterator[tuple[int | None, int, int]]:
    """Successive rows of [first, stop) that stay, as (None, start, stop), or that go, as (frame, start, stop)."""
    keys = [int(frames[row]) if gone[row] else None for row in range(first, stop)]
    start = first
    for key, group in groupby(keys):
        end = start + len(list(group))
        yield key, start, end
        start = end


def _placeholder_row(schema: pa.Schema, row: int) -> pa.RecordBatch:
    values = {"sample_id": placeholder(row), "status": Status.FAILED.value, "reason": Reason.WITHDRAWN.value}
    return pa.RecordBatch.from_arrays([pa.array([values.get(field.name)], field.type) for field in schema], schema=schema)


def _rewrite_tracks(tracks: Path, analysis: Path, commit: Commit, rows: list[int]) -> None:
    """The tracks of a part, beside the analysis; they stay as they are where they were rewritten and the part was not yet."""
    starts = _starts(analysis, commit)
    with open_part(tracks) as file:
        table = file.read()
    if len(table) != starts[-1]:
        return
    firsts = {int(starts[row - commit["start"]]) for row in rows}
    gone = _rows_of(analysis, commit, rows)
    kept = [place for place in range(len(table)) if not gone[place] or place in firsts]
    track = [None if gone[place] else value for place, value in enumerate(table["track_id"].to_pylist())]
    chosen = [False if gone[place] else value for place, value in enumerate(table["kept"].to_pylist())]
    columns = {"clip": table["clip"].to_pylist(), "track_id": track, "kept": chosen}
    left = pa.table(columns, TRACKS_SCHEMA).take(pa.array(kept, pa.int64())).combine_chunks()
    with ShardWriter(tracks, TRACKS_SCHEMA) as writer:
        for batch in left.to_batches():
            writer.append(batch)


def _reasons(path: Path) -> list[str | None]:
    """Of each row, why it failed."""
    with open_part(path) as part:
        reasons: list[str | None] = part.read(columns=["reason"])["reason"].to_pylist()
    return reasons
