"""Finished runs to predict, and predictions of them in this very process."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from fixtures.runs import Here
from rich.console import Console

from normpipe.classify.prediction_run import plan_predictions, run_predictions
from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.journal import Journal
from normpipe.engine.plan import Plan, write_plan
from normpipe.engine.progress import Progress
from normpipe.engine.run import RunSummary
from normpipe.engine.tasks import OutputFile, ShardResult
from normpipe.engine.work import Executor
from normpipe.records import PAIRS_SCHEMA
from normpipe.shards.writer import ShardWriter

from .pair_shards import failed, pair, table

SIDE = 64

Row = dict[str, object]


def shards() -> list[list[Row]]:
    """Three of ten frames, of which the last has six: one frame shows two faces, and one in seven shows none."""
    rows = [failed(number) if number % 7 == 3 else pair(number, SIDE) for number in range(26)]
    second = {**pair(105, SIDE), "sample_id": "s0005", "face_index": 1}
    return [[*rows[:6], second, *rows[6:10]], rows[10:20], rows[20:]]


def write_finished(out: Path, parts: Sequence[Sequence[Row]], side: int = SIDE, frames: int = 26, committed: int = 99) -> Path:
    """A run's folder, as `normpipe run` leaves it as far as its pairs go; not finished if fewer shards are committed."""
    (out / "shards").mkdir(parents=True)
    plan = Plan(frames, 10, Fingerprint({"config.size": str(side)}), "test")
    write_plan(out, plan)
    journal = Journal(out, plan.fingerprint.digest)
    journal.open()
    for shard, rows in list(zip(plan.shards, parts, strict=True))[:committed]:
        path = f"shards/{shard.name}.parquet"
        with ShardWriter(out / path, PAIRS_SCHEMA) as writer:
            writer.append(pa.RecordBatch.from_pylist(list(rows), PAIRS_SCHEMA))
        written = OutputFile(path, writer.written.sha256, writer.written.size)
        journal.commit(shard, ShardResult((written,), len(rows), len(rows)))
    return out


def write_files(folder: Path, parts: Sequence[Sequence[Row]], without: Sequence[str] = ()) -> Path:
    """The same rows as Parquet files of another origin, with row groups of four."""
    for number, rows in enumerate(parts):
        path = folder / "data" / f"train-{number:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pairs = table(rows).drop_columns(list(without))
        pq.write_table(pairs, path, row_group_size=4, compression="none", use_dictionary=False)
    return folder


def predict(classifier: Path, source: Path | str, out: Path, executor: Executor | None = None) -> RunSummary:
    planned = plan_predictions(str(classifier), str(source), out)
    return run_predictions(planned, executor or Here(), Progress(planned.plan.rows, Console(file=io.StringIO())))


def digests(out: Path) -> dict[str, str]:
    """sha256 of every file of the predictions."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((out / "predictions").iterdir())}
