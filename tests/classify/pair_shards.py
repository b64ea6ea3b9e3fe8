"""Small shards of pairs whose pictures say which row they belong to, written with the package's own encoder and writer."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from normpipe.config import Encode
from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.journal import Journal
from normpipe.engine.plan import Plan, write_plan
from normpipe.engine.tasks import OutputFile, ShardResult
from normpipe.records import PAIRS_SCHEMA, Reason, Status
from normpipe.shards.writer import ShardWriter
from normpipe.stages.encode import encode

SIDE = 16
EXACT = Encode(format="png")


def colour(number: int, normalized: bool = False) -> NDArray[np.uint8]:
    """Of the pictures of one row: a number in base 16, on two channels; the third says which picture of the pair it is."""
    return np.array([number % 16 * 16, number // 16 % 16 * 16, 200 if normalized else 50], np.uint8)


def plain(number: int, normalized: bool = False, side: int = SIDE) -> NDArray[np.uint8]:
    return np.full((side, side, 3), colour(number, normalized), np.uint8)


def pair(number: int, side: int = SIDE, options: Encode = EXACT, **columns: object) -> dict[str, object]:
    """A row with a pair."""
    original, normalized = (encode(plain(number, which, side), options) for which in (False, True))
    return {
        "sample_id": f"s{number:04d}",
        "face_index": 0,
        "subject": f"p{number % 7}",
        "split": "train",
        "status": Status.OK,
        "original": {"bytes": original, "path": None},
        "normalized": {"bytes": normalized, "path": None},
        "emotion": "happiness" if number % 2 else "neutral",
        "au_occurrence_12": number % 2,
        **columns,
    }


def failed(number: int, reason: Reason = Reason.NO_FACE) -> dict[str, object]:
    """A row without one."""
    return {"sample_id": f"s{number:04d}", "status": Status.FAILED, "reason": reason}


def pairs(start: int, stop: int, **columns: object) -> list[dict[str, object]]:
    return [pair(number, **columns) for number in range(start, stop)]


def table(rows: Sequence[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), PAIRS_SCHEMA)


def write_file(path: Path, rows: Sequence[dict[str, object]], group_rows: int = 8) -> Path:
    """A Parquet file of a release, with small row groups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(rows), path, row_group_size=group_rows, compression="none", use_dictionary=False)
    return path


def write_run(out: Path, shards: Sequence[Sequence[dict[str, object]]], planned: int | None = None) -> Path:
    """A run's folder; with more shards planned than given, it is not finished."""
    (out / "shards").mkdir(parents=True)
    plan = Plan(10 * (planned or len(shards)), 10, Fingerprint({}), "test")
    write_plan(out, plan)
    journal = Journal(out, plan.fingerprint.digest)
    journal.open()
    for shard, rows in zip(plan.shards, shards, strict=False):
        path = f"shards/{shard.name}.parquet"
        with ShardWriter(out / path, PAIRS_SCHEMA) as writer:
            writer.append(pa.RecordBatch.from_pylist(list(rows), PAIRS_SCHEMA))
        written = OutputFile(path, writer.written.sha256, writer.written.size)
        journal.commit(shard, ShardResult((written,), len(rows), len(rows), {}, {}, ""))
    return out
