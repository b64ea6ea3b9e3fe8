"""`normpipe run` without its command line: input, plan, lock, phases, summary.

Most runs have one phase: each shard goes from its files to its pairs. Where something must be known of all faces before one
is rendered (who is tracked, what a subject's neutral face is), the run analyzes first, reduces on the driver, and renders then;
the digests of what the reduction found become parts of the plan's fingerprint, under which the pairs are committed. A run that
is given the faces of another (`faces`) starts with the reduction. Rows that were withdrawn from a run stay so, whether the
manifest that is given still names them or not.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from weakref import finalize

from normpipe import __version__
from normpipe.config import FacePolicy, Pipeline
from normpipe.engine.fingerprint import Fingerprint, flatten
from normpipe.engine.journal import Journal
from normpipe.engine.lock import locked
from normpipe.engine.plan import Plan, check_same_run, read_plan, write_plan
from normpipe.engine.progress import Progress
from normpipe.engine.run import RunSummary, execute
from normpipe.engine.serial import SerialExecutor
from normpipe.engine.signals import interruptible
from normpipe.engine.work import Executor
from normpipe.errors import IncompatibleRunError, UsageError
from normpipe.shards.atomic import AtomicFile
from normpipe.shards.commits import JOURNAL_FOLDER
from normpipe.shards.withdrawn import withdrawn_rows
from normpipe.sources.manifest import ManifestSource, StoredManifest, store_manifest
from normpipe.sources.root import Root, is_remote
from normpipe.sources.withdrawn import laid_beside
from normpipe.stages.environment import environment
from normpipe.stages.faces_table import FacesTable
from normpipe.stages.pairs_task import AnalyzeTask, PairsTask
from normpipe.stages.parts import ANALYSIS_FOLDER, FACES_FOLDER, MANIFEST_FILE, SHARDS_FOLDER, build_models, fingerprints_of
from normpipe.stages.pipeline import ALGORITHM_VERSIONS, Models
from normpipe.stages.reduction import TRACKS_PART, reduce_faces, with_parts, without_parts
from normpipe.stages.rerender import analysis_fingerprint, faces_digest, finished_faces
from normpipe.stages.source_check import check_sources

ANALYZE_JOURNAL = f"{JOURNAL_FOLDER}/analyze"


class _Scratch:
    """A temporary folder that goes when this object does, or earlier."""

    def __init__(self) -> None:
        self.folder = Path(mkdtemp(prefix="normpipe-"))
        self.remove = finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class PairsRun:
    """A run that is ready to start.

    Attributes:
        plan: The shards, and the fingerprint but for what a reduction will add.
        task: What a worker does to render.
        manifest: The canonical manifest, of which the run's folder gets a copy.
        scratch: Where it lies until then.
        reduced: Fingerprint parts that come with the faces of another run.
    """

    plan: Plan
    task: PairsTask
    manifest: StoredManifest
    scratch: _Scratch
    reduced: dict[str, str] = field(default_factory=dict)

    @property
    def analyzes_first(self) -> bool:
        """Whether a phase of its own finds the faces."""
        pipeline = self.task.pipeline
        return self.task.faces is None and (pipeline.detect.policy is FacePolicy.TRACK or pipeline.normalize.own_neutral)


def plan_pairs(
    manifest: ManifestSource,
    root: Root,
    out: Path,
    pipeline: Pipeline,
    build: Callable[[Pipeline], Models] = build_models,
    *,
    faces: Path | None = None,
) -> PairsRun:
    """Cut the manifest into shards and fingerprint everything that decides about the output.

    The manifest is streamed into a temporary folder; memory does not hold it, and nothing is written to `out`.

    Args:
        manifest: The rows.
        root: Where their files are.
        out: The run's folder.
        pipeline: Configuration.
        build: Makes the models.
        faces: Folder of a finished run whose faces are rendered, in the place of finding them.

    Raises:
        UsageError: the manifest has problems or no rows, `out` is ROOT or `faces`, or the identity photo cannot be read.
        IncompatibleRunError: `faces` does not fit, or a withdrawal from `out` was interrupted.
        NormpipeError: a model is missing.
    """
    folder = root.local_path(".")
    if folder is not None and folder.resolve() == out.resolve():
        raise UsageError("OUT is the folder that the input lies in; name another, which may be a subfolder")
    if faces is not None and faces.resolve() == out.resolve():
        raise UsageError("--faces is OUT itself; name another OUT")
    surroundings = environment(pipeline)
    scratch = _Scratch()
    withdrawn = withdrawn_rows(out)
    stored = store_manifest(manifest, scratch.folder / MANIFEST_FILE, pipeline.limit)
    if withdrawn:
        stored = _without(stored, out, withdrawn, scratch, pipeline.limit)
    identity = _identity_sha256(pipeline.normalize.identity)  # first: that it cannot be read is said here
    models = fingerprints_of(build(pipeline))
    fingerprint = _fingerprint(pipeline, identity, models, stored.sha256, surroundings)
    plan = Plan(stored.rows, pipeline.shard_size, fingerprint, producer=f"normpipe {__version__}")
    task = PairsTask(out.absolute(), _absolute(root), pipeline, surroundings, models, build, withdrawn)
    reduced = {}
    if faces is not None:
        task.faces, theirs = finished_faces(faces, fingerprint, pipeline)
        reduced = {name: value for name, value in theirs.fingerprint.parts.items() if name == TRACKS_PART}
    return PairsRun(plan, task, stored, scratch, reduced)


def _without(
    stored: StoredManifest, out: Path, withdrawn: frozenset[int], scratch: _Scratch, limit: int | None
) -> StoredManifest:
    """The manifest as the run has it since rows were withdrawn."""
    known = out / MANIFEST_FILE
    if not known.is_file():
        raise IncompatibleRunError(
            f"{out.name}: people were withdrawn from this run and its {MANIFEST_FILE} is gone, so it is not known which rows "
            "theirs were; choose another OUT, and leave them out of the manifest"
        )
    return laid_beside(stored, known, withdrawn, scratch.folder / f"withdrawn-{MANIFEST_FILE}", limited=limit is not None)


@dataclass(frozen=True, slots=True)
class Directions:
    """How to go about a run; none of it decides about a row's bytes.

    Attributes:
        executor: Where the work is done.
        progress: Told of every step.
        retry_failed: Also redo committed shards with rows that may pass now.
        accept_failures: Commit shards whose rows failed for reasons that may pass.
        hash_ids: Whether messages name samples by hash.
    """

    executor: Executor
    progress: Progress
    retry_failed: bool = False
    accept_failures: bool = False
    hash_ids: bool = False


def execute_pairs(
    run: PairsRun,
    executor: Executor,
    progress: Progress,
    retry_failed: bool = False,
    *,
    accept_failures: bool = False,
    hash_ids: bool = False,
    takeover: bool = False,
) -> RunSummary:
    """Start the run or take it up where it was left.

    Args:
        run: What to do.
        executor: See Directions, also for the next three.
        progress: See Directions.
        retry_failed: See Directions.
        accept_failures: See Directions.
        hash_ids: See Directions.
        takeover: Take over a lease that stands still.

    Returns:
        The summary; that of the analysis where the run could not get beyond it.

    Raises:
        IncompatibleRunError: the folder belongs to another configuration, a live run holds it, or source files of shards that
            are done have been replaced.
        UsageError: ROOT is not there.
        Interrupted: SIGINT or SIGTERM; what is committed stays.
    """
    directions = Directions(executor, progress, retry_failed, accept_failures, hash_ids)
    with interruptible(), locked(run.task.out, takeover):
        _settle_plan(run)
        run.scratch.remove()
        with progress:
            if run.analyzes_first:
                analyzed = _analyze(run, directions)
                if not analyzed.complete:
                    return analyzed
            task, plan = _reduced(run, progress)
            return _execute(task, plan, directions, (FACES_FOLDER, SHARDS_FOLDER), checked=run.analyzes_first)


def build_executor(pipeline: Pipeline, progress: Progress) -> Executor:
    """The executor that `execution` asks for; Dask is imported only where it is used."""
    execution = pipeline.execution
    if execution.workers == 1 and execution.scheduler is None:
        return SerialExecutor(execution.deadline)
    from normpipe.engine.dask import DaskExecutor

    return DaskExecutor(
        execution.workers, execution.scheduler, execution.deadline, gpu=execution.device == "cuda", announce=progress.note
    )


def _settle_plan(run: PairsRun) -> None:
    """Leave the plan and the manifest in the run's folder, or make sure that those there are the same."""
    out, plan = run.task.out, run.plan
    found = read_plan(out)
    journals = [Journal(out, plan.fingerprint.digest, folder) for folder in (JOURNAL_FOLDER, ANALYZE_JOURNAL)]
    # What was withdrawn stays so, also where nothing else is left to bind the run.
    begun = bool(run.task.withdrawn) or not all(journal.is_empty() for journal in journals)
    if begun and found is None:
        raise IncompatibleRunError(f"{out.name}: holds shards of a run whose plan.json is gone; choose another OUT")
    # A plan under which nothing was committed, say because a model was missing, binds nobody.
    if found is not None and begun:
        check_same_run(out, without_parts(found), plan)
        if (out / MANIFEST_FILE).is_file():
            return
    with AtomicFile(out / MANIFEST_FILE) as target, run.manifest.path.open("rb") as source:
        shutil.copyfileobj(source, target)
    if found is None or without_parts(found) != plan:
        write_plan(out, plan)


def _analyze(run: PairsRun, directions: Directions) -> RunSummary:
    """The first of two phases: all faces of all frames."""
    task = run.task
    analyze = AnalyzeTask(task.out, task.root, task.pipeline, task.environment, task.fingerprints, task.build, task.withdrawn)
    return _execute(analyze, _analysis_plan(run), directions, (ANALYSIS_FOLDER,), phase="analyze")


def _reduced(run: PairsRun, progress: Progress) -> tuple[PairsTask, Plan]:
    """How to render when all faces are known, and the plan that says so."""
    task, plan, pipeline = run.task, run.plan, run.task.pipeline
    faces = _analyzed_faces(run) if run.analyzes_first else task.faces
    if faces is None:
        return task, plan
    plan = with_parts(plan, {**run.reduced, **reduce_faces(faces, plan, task.out, pipeline, progress.note)})
    if read_plan(task.out) != plan:
        write_plan(task.out, plan)
    return replace(task, faces=faces), plan


def _analyzed_faces(run: PairsRun) -> FacesTable:
    """What the first of two phases has found."""
    out, plan, detect = run.task.out, _analysis_plan(run), run.task.pipeline.detect
    digest = faces_digest(Journal(out, plan.fingerprint.digest, ANALYZE_JOURNAL).committed(plan.shards))
    tracked = detect.policy is FacePolicy.TRACK
    return FacesTable(out, ANALYSIS_FOLDER, plan.rows, plan.shard_size, digest, tracked, detect.smoothing)


def _analysis_plan(run: PairsRun) -> Plan:
    return replace(run.plan, fingerprint=analysis_fingerprint(run.plan.fingerprint, run.task.pipeline))


def _execute(
    task: PairsTask | AnalyzeTask,
    plan: Plan,
    directions: Directions,
    folders: Sequence[str],
    phase: str = "",
    checked: bool = False,
) -> RunSummary:
    """One phase. `checked` says that an earlier one has looked at the source files."""
    journal = Journal(task.out, plan.fingerprint.digest, ANALYZE_JOURNAL if phase else JOURNAL_FOLDER)
    records = journal.committed(plan.shards)
    if (len(records) < len(plan.shards) or directions.retry_failed) and task.root.is_local and not task.root.exists_as_folder():
        raise UsageError("ROOT: the folder of the source files is not there; bring it back, or name its new place with --root")
    if records and not checked:
        progress = directions.progress
        check_sources(task.root, task.out / MANIFEST_FILE, journal, records, progress.note, directions.hash_ids)
    execution = task.pipeline.execution
    return execute(
        task.out,
        plan,
        task,
        directions.executor,
        directions.progress,
        folders=folders,
        phase=phase,
        retry_failed=directions.retry_failed,
        accept_failures=directions.accept_failures,
        attempts=execution.attempts,
        retry_pause=execution.retry_pause,
    )


def _fingerprint(
    pipeline: Pipeline, identity: str, models: dict[str, str], manifest_sha256: str, surroundings: dict[str, str]
) -> Fingerprint:
    # Files count by content, and what only one normalizer takes counts in its own fingerprint.
    by_content = {"identity", "weights", "batch", "decoder"}
    config = pipeline.model_dump(mode="json", exclude={"execution": True, "gates": True, "normalize": by_content})
    return Fingerprint(
        {
            **dict(flatten(config, "config")),
            "config.normalize.identity": identity,
            "manifest": manifest_sha256,
            **models,
            **{f"algorithm.{stage}": str(version) for stage, version in ALGORITHM_VERSIONS.items()},
            **{f"environment.{name}": value for name, value in surroundings.items()},
        }
    )


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
