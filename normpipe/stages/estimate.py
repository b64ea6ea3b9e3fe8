"""`normpipe run --dry-run`: what a run would take, judged by a few of its rows."""

import time
from dataclasses import dataclass
from itertools import chain

from normpipe.config import FacePolicy
from normpipe.engine.journal import Journal
from normpipe.engine.plan import check_same_run, read_plan
from normpipe.engine.threads import limit_libraries
from normpipe.sources.manifest import sample_rows
from normpipe.stages.pairs_run import PairsRun
from normpipe.stages.pipeline import Flow, StageClock, run_stages
from normpipe.stages.reduction import without_parts

_SAMPLE_ROWS = 32


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would take, from a sample of its rows.

    Attributes:
        rows: Input rows of the plan.
        shards: Shards of the plan.
        pending: Shards that are not committed yet.
        sampled: Input rows that were processed for the estimate.
        seconds: Time the pending rows would take on the configured workers.
        size: Bytes of all shards together.
    """

    rows: int
    shards: int
    pending: int
    sampled: int
    seconds: float
    size: int


def estimate(run: PairsRun) -> Estimate:
    """Process a few rows, spread over the plan, and extrapolate; writes nothing into the run's folder.

    A run that tracks is judged as if it kept the largest face.

    Raises:
        IncompatibleRunError: the folder belongs to another configuration.
    """
    task, plan = run.task, run.plan
    found = read_plan(task.out)
    pending = len(plan.shards)
    if found is not None:
        check_same_run(task.out, without_parts(found), plan)
        pending -= len(Journal(task.out, found.fingerprint.digest).committed(plan.shards))
    step = max(1, plan.rows // _SAMPLE_ROWS)
    places = list(range(0, plan.rows, step)[:_SAMPLE_ROWS])
    sample = sample_rows(run.manifest.path, places)
    limit_libraries()
    pipeline = task.pipeline
    if pipeline.detect.policy is FacePolicy.TRACK:
        detect = pipeline.detect.model_copy(update={"policy": FacePolicy.LARGEST})
        pipeline = pipeline.model_copy(update={"detect": detect})
    models = task.build(pipeline)
    models.normalizer.prepare(pipeline.execution.device)
    flow = Flow(task.root, pipeline, models, StageClock())
    known = task.faces
    stored = None if known is None else chain.from_iterable(known.frames(place, place + 1) for place in places)
    start = time.perf_counter()
    done = list(run_stages(sample, flow, {}, stored))
    seconds = (time.perf_counter() - start) / sample.num_rows
    size = sum(batch.nbytes for rows in done for batch in rows.batches) / sample.num_rows
    pending_rows = min(plan.rows, pending * plan.shard_size)
    return Estimate(
        rows=plan.rows,
        shards=len(plan.shards),
        pending=pending,
        sampled=sample.num_rows,
        seconds=seconds * pending_rows / pipeline.execution.workers,
        size=round(size * plan.rows),
    )
