"""The files that say which shards of a run are committed: the one place that knows how a journal lies on disk.

A commit is one JSON file per shard, `part-00000.json`, written last and atomically by whoever did the shard. The process that
directs the run compacts them into `committed.parquet`, one row per shard, and removes them; where both tell of a shard the JSON
is the newer one and wins. The order of the steps is what makes this safe: the Parquet file is complete before a JSON goes, and
a reader lists the JSON files before it opens the Parquet file, so that whoever is killed or reads in between loses and repeats
nothing.
"""

import json
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypedDict, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from normpipe.errors import IncompatibleRunError
from normpipe.shards.atomic import AtomicFile, write_bytes

JOURNAL_FOLDER = "journal"
COMMITTED_FILE = "committed.parquet"

_PATTERN = "part-*.json"


class CommittedFile(TypedDict):
    """One file of a shard: path relative to the run's folder, hex sha256, bytes."""

    path: str
    sha256: str
    size: int


class Commit(TypedDict):
    """One committed shard, as JSON document and as row of the compacted file; see engine.tasks.ShardResult for the terms."""

    index: int
    start: int
    stop: int
    fingerprint: str
    files: list[CommittedFile]
    rows: int
    ok: int
    failed: dict[str, int]
    seconds_by_stage: dict[str, float]
    sources: str


_FILE_TYPE = pa.struct([("path", pa.string()), ("sha256", pa.string()), ("size", pa.int64())])

COMMITS_SCHEMA = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("stop", pa.int64(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("files", pa.list_(_FILE_TYPE), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("ok", pa.int64(), nullable=False),
        pa.field("failed", pa.map_(pa.string(), pa.int64()), nullable=False),
        pa.field("seconds_by_stage", pa.map_(pa.string(), pa.float64()), nullable=False),
        pa.field("sources", pa.string(), nullable=False),
    ]
)


def part_name(index: int) -> str:
    """Stem of a shard's files: "part-00000"."""
    return f"part-{index:05d}"


def write_commit(folder: Path, commit: Commit) -> None:
    """Write the JSON of one shard; from now on it is committed."""
    write_bytes(folder / f"{part_name(commit['index'])}.json", (json.dumps(commit, indent=2) + "\n").encode())


def read_commits(folder: Path) -> list[Commit]:
    """All commits in plan order. A damaged JSON counts as no commit, whatever the compacted file says of the shard.

    Raises:
        IncompatibleRunError: the compacted file is damaged.
    """
    newer = _read_newer(folder)
    commits: dict[int, Commit | None] = {commit["index"]: commit for commit in _rows(_read_compacted(folder))}
    commits.update(newer)
    return [commit for _, commit in sorted(commits.items()) if commit is not None]


def committed_names(folder: Path) -> list[str]:
    """Names of all committed shards, in plan order, without reading what the commits say."""
    names = {index for index, _ in _json_files(folder)}
    names.update(_read_compacted(folder, ["index"])["index"].to_pylist())
    return [part_name(index) for index in sorted(names)]


def compact(folder: Path) -> None:
    """Move the JSON commits into the compacted file; call only while no other process compacts here."""
    newer = _read_newer(folder)
    if not newer:
        return
    rows = pa.Table.from_pylist([_as_row(commit) for commit in newer.values() if commit is not None], schema=COMMITS_SCHEMA)
    _write_compacted(folder, pa.concat_tables([_without(_read_compacted(folder), newer), rows]))
    _remove_json(folder, newer)


def replace_commits(folder: Path, commits: Collection[Commit]) -> None:
    """Put other commits in the place of all that are there; call only while no other process writes here."""
    old = [index for index, _ in _json_files(folder)]
    if commits or old or (folder / COMMITTED_FILE).is_file():
        _write_compacted(folder, pa.Table.from_pylist([_as_row(commit) for commit in commits], schema=COMMITS_SCHEMA))
        _remove_json(folder, old)


def _json_files(folder: Path) -> list[tuple[int, Path]]:
    paths = ((path.stem.removeprefix("part-"), path) for path in folder.glob(_PATTERN))
    return [(int(number), path) for number, path in paths if number.isdecimal()]


def _remove_json(folder: Path, indices: Collection[int]) -> None:
    for index in indices:
        (folder / f"{part_name(index)}.json").unlink(missing_ok=True)


def _read_newer(folder: Path) -> dict[int, Commit | None]:
    """What the JSON files say, None where one is damaged; those that are compacted away meanwhile are left out."""
    newer = {}
    for index, path in _json_files(folder):
        with suppress(FileNotFoundError):
            newer[index] = _read_json(path)
    return newer


def _read_json(path: Path) -> Commit | None:
    try:
        document = json.loads(path.read_bytes())
        return Commit(
            index=int(document["index"]),
            start=int(document["start"]),
            stop=int(document["stop"]),
            fingerprint=str(document["fingerprint"]),
            files=[
                CommittedFile(path=str(file["path"]), sha256=str(file["sha256"]), size=int(file["size"]))
                for file in document["files"]
            ],
            rows=int(document["rows"]),
            ok=int(document["ok"]),
            failed={str(reason): int(count) for reason, count in document["failed"].items()},
            seconds_by_stage={str(stage): float(seconds) for stage, seconds in document["seconds_by_stage"].items()},
            sources=str(document["sources"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _rows(commits: pa.Table) -> Iterator[Commit]:
    """By column, which is five times as fast as Arrow's own way by row."""
    names = commits.schema.names
    for values in zip(*(commits[name].to_pylist() for name in names), strict=True):
        row = dict(zip(names, values, strict=True))
        row["failed"] = dict(row["failed"])
        row["seconds_by_stage"] = dict(row["seconds_by_stage"])
        yield cast("Commit", row)


def _as_row(commit: Commit) -> dict[str, object]:
    """Arrow takes maps as lists of pairs."""
    return {**commit, "failed": list(commit["failed"].items()), "seconds_by_stage": list(commit["seconds_by_stage"].items())}


def _read_compacted(folder: Path, columns: list[str] | None = None) -> pa.Table:
    path = folder / COMMITTED_FILE
    try:
        with pq.ParquetFile(path) as file:  # an open file stays whole when another is put in its place
            return file.read(columns=columns)
    except FileNotFoundError:
        return COMMITS_SCHEMA.empty_table()
    except (pa.ArrowInvalid, OSError) as error:
        raise IncompatibleRunError(
            f"{folder.name}/{COMMITTED_FILE}: damaged; delete it and give the same `normpipe run` command again "
            "(the shards it told of are done anew)"
        ) from error


def _without(commits: pa.Table, indices: Collection[int]) -> pa.Table:
    return commits.filter(pc.invert(pc.is_in(commits["index"], pa.array(indices, pa.int64()))))


def _write_compacted(folder: Path, commits: pa.Table) -> None:
    with AtomicFile(folder / COMMITTED_FILE) as file:
        pq.write_table(commits.sort_by("index"), file, compression="zstd")
