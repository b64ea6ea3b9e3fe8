"""`normpipe run` without its command line: input, plan, lock, execution, summary."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc

from normpipe import __version__
from normpipe.config import Pipeline
from normpipe.engine.fingerprint import Fingerprint, flatten
from normpipe.engine.journal import Journal
from normpipe.engine.lock import locked
from normpipe.engine.plan import Plan, check_same_run, read_plan, write_plan
from normpipe.engine.progress import Progress
from normpipe.engine.run import RunSummary, execute
from normpipe.engine.serial import SerialExecutor
from normpipe.engine.signals import interruptible
from normpipe.engine.threads import limit_libraries
from normpipe.engine.work import Executor
from normpipe.errors import UsageError
from normpipe.sources.manifest import write_manifest
from normpipe.sources.root import Root, is_remote
from normpipe.stages.environment import environment
from normpipe.stages.pairs_task import FACES_FOLDER, MANIFEST_FILE, SHARDS_FOLDER, PairsTask, build_models
from normpipe.stages.pipeline import ALGORITHM_VERSIONS, Models, StageClock, run_stages

_SAMPLE_ROWS = 32


@dataclass(frozen=True, slots=True)
class PairsRun:
    """A run that is ready to start: everything that decides about its bytes is known.

    Attributes:
        plan: The shards and the fingerprint.
        task: What a worker does.
        manifest: The whole manifest, of which a copy is kept in the run's folder.
    """

    plan: Plan
    task: PairsTask
    manifest: pa.Table


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


def plan_pairs(
    manifest: pa.Table, root: Root, out: Path, pipeline: Pipeline, build: Callable[[Pipeline], Models] = build_models
) -> PairsRun:
    """Cut the manifest into shards and fingerprint everything that decides about the output.

    Args:
        manifest: In MANIFEST_SCHEMA.
        root: Where its files are.
        out: The run's folder; nothing is written yet.
        pipeline: Configuration.
        build: Makes the models.

    Raises:
        UsageError: the manifest is empty or repeats a sample id, `out` is ROOT, or the identity photo cannot be read.
        NormpipeError: a model is missing.
    """
    if manifest.num_rows == 0:
        raise UsageError("INPUT: no rows; give a folder with images or videos, a glob, or a manifest with rows")
    _check_unique(manifest)
    folder = root.local_path(".")
    if folder is not None and folder.resolve() == out.resolve():
        raise UsageError("OUT is the folder that the input lies in; name another, which may be a subfolder")
    surroundings = environment(pipeline)
    fingerprint = _fingerprint(pipeline, build(pipeline), _manifest_sha256(manifest), surroundings)
    rows = min(manifest.num_rows, pipeline.limit or manifest.num_rows)
    plan = Plan(rows, pipeline.shard_size, fingerprint, producer=f"normpipe {__version__}")
    return PairsRun(plan, PairsTask(out.absolute(), _absolute(root), pipeline, surroundings, build), manifest)


def execute_pairs(run: PairsRun, executor: Executor, progress: Progress, retry_failed: bool = False) -> RunSummary:
    """Start the run or take it up where it was left.

    Raises:
        IncompatibleRunError: the folder belongs to another configuration, or a live run holds it.
        Interrupted: SIGINT or SIGTERM; what is committed stays.
    """
    out = run.task.out
    with interruptible(), locked(out):
        found = read_plan(out)
        if found is None or Journal(out, run.plan.fingerprint.digest).is_empty():
            # A plan under which nothing was committed, say because a model was missing, binds nobody.
            write_manifest(run.manifest, out / MANIFEST_FILE)
            write_plan(out, run.plan)
        else:
            check_same_run(out, found, run.plan)
        with progress:
            return execute(
                out, run.plan, run.task, executor, progress, folders=(FACES_FOLDER, SHARDS_FOLDER), retry_failed=retry_failed
            )


def build_executor(pipeline: Pipeline, progress: Progress) -> Executor:
    """The executor that `execution` asks for; Dask is imported only where it is used."""
    execution = pipeline.execution
    if execution.workers == 1 and execution.scheduler is None:
        return SerialExecutor()
    from normpipe.engine.dask import DaskExecutor

    return DaskExecutor(execution.workers, execution.scheduler, announce=progress.note)


def estimate(run: PairsRun) -> Estimate:
    """Process a few rows, spread over the plan, and extrapolate; writes nothing.

    Raises:
        IncompatibleRunError: the folder belongs to another configuration.
    """
    task, plan = run.task, run.plan
    found = read_plan(task.out)
    if found is not None:
        check_same_run(task.out, found, plan)
    pending = len(plan.shards) - len(Journal(task.out, plan.fingerprint.digest).committed(plan.shards))
    step = max(1, plan.rows // _SAMPLE_ROWS)
    sample = run.manifest.take(pa.array(range(0, plan.rows, step)[:_SAMPLE_ROWS]))
    limit_libraries()
    models = task.build(task.pipeline)
    models.normalizer.prepare(task.pipeline.execution.device)
    start = time.perf_counter()
    done = list(run_stages(sample, task.root, task.pipeline, models, StageClock()))
    seconds = (time.perf_counter() - start) / sample.num_rows
    size = sum(rows.faces.nbytes + rows.pairs.nbytes for rows in done) / sample.num_rows
    pending_rows = min(plan.rows, pending * plan.shard_size)
    return Estimate(
        rows=plan.rows,
        shards=len(plan.shards),
        pending=pending,
        sampled=sample.num_rows,
        seconds=seconds * pending_rows / task.pipeline.execution.workers,
        size=round(size * plan.rows),
    )


def _fingerprint(pipeline: Pipeline, models: Models, manifest_sha256: str, surroundings: dict[str, str]) -> Fingerprint:
    config = pipeline.model_dump(mode="json", exclude={"execution": True, "gates": True, "normalize": {"identity"}})
    return Fingerprint(
        {
            **dict(flatten(config, "config")),
            "config.normalize.identity": _identity_sha256(pipeline.normalize.identity),
            "manifest": manifest_sha256,
            "detector": models.detector.fingerprint,
            "landmarker": models.landmarker.fingerprint,
            "normalizer": models.normalizer.fingerprint,
            **{f"algorithm.{stage}": str(version) for stage, version in ALGORITHM_VERSIONS.items()},
            **{f"environment.{name}": value for name, value in surroundings.items()},
        }
    )


def _manifest_sha256(manifest: pa.Table) -> str:
    with TemporaryDirectory() as folder:
        return write_manifest(manifest, Path(folder) / MANIFEST_FILE).sha256


def _identity_sha256(identity: str | None) -> str:
    """The photo's bytes count, not where it lies."""
    if identity is None:
        return json.dumps(None)
    try:
        return hashlib.sha256(Path(identity).read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"--identity: cannot read the photo {Path(identity).name} ({error.strerror})") from error


def _absolute(root: Root) -> Root:
    """Workers may run in another folder."""
    return root if is_remote(root.url) else Root(str(Path(root.url.removeprefix("file://")).absolute()))


def _check_unique(manifest: pa.Table) -> None:
    counts = manifest["sample_id"].value_counts()
    for entry in counts.filter(pc.greater(counts.field("counts"), 1))[:1].to_pylist():
        raise UsageError(f"manifest: sample_id {entry['values']!r} stands in {entry['counts']} rows; ids must be unique")
