"""`normpipe classify predict` without its command line: pairs and a classifier become a folder of predictions.

OUT is a run's folder of its own: plan, journal, log, summary. What another classifier, other pairs or another environment
would write is refused, and the same command takes up what is pending.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from normpipe import __version__
from normpipe.audit.plan import AuditedRun
from normpipe.classify.predicted_parts import PredictedSource, predicted_source
from normpipe.classify.predicted_rows import PREDICTIONS_FOLDER
from normpipe.classify.prediction_task import ALGORITHM_VERSION, Device, PredictionTask, prediction_environment
from normpipe.classify.saved import (
    CLASSIFIER_FILE,
    SavedClassifier,
    classifier_folder,
    classifier_sha256,
    read_classifier,
)
from normpipe.classify.shard_sources import run_folder
from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.journal import Journal, altered_files
from normpipe.engine.lock import locked
from normpipe.engine.plan import Plan, check_same_run, read_plan, write_plan
from normpipe.engine.progress import Progress
from normpipe.engine.run import RunSummary, execute
from normpipe.engine.signals import interruptible
from normpipe.engine.work import Executor
from normpipe.errors import IncompatibleRunError, UsageError
from normpipe.shards.atomic import AtomicFile
from normpipe.stages.parts import SHARDS_FOLDER


@dataclass(frozen=True, slots=True)
class PredictionRun:
    """A prediction that is ready to start.

    Attributes:
        source: The pairs that are looked at.
        folder: Of the classifier's files.
        classifier: What it was trained for.
        plan: A shard for each part of the source, and the fingerprint of the predictions.
        task: What a worker does.
    """

    source: PredictedSource
    folder: Path
    classifier: SavedClassifier
    plan: Plan
    task: PredictionTask

    @property
    def out(self) -> Path:
        """Folder of the predictions."""
        return self.task.out


def plan_predictions(where: str, shards: str, out: Path, *, partial: bool = False, device: Device = "cpu") -> PredictionRun:
    """Look at the classifier and at the pairs, and fingerprint all that decides about the predictions; nothing is written.

    Args:
        where: The classifier, see saved.classifier_folder.
        shards: The pairs, see shard_sources.shard_files.
        out: Folder of the predictions.
        partial: Take what is committed of a run that is not finished.
        device: Where the network is to be.

    Raises:
        ModelUnavailableError: there is no such classifier, or a package is missing.
        UsageError: the classifier or the pairs cannot be used, see predicted_source, or OUT is one of the two.
    """
    folder = classifier_folder(where)
    classifier, sha256 = read_classifier(folder), classifier_sha256(folder)
    source, out = predicted_source(shards, classifier.arm, partial=partial), out.absolute()
    _check_apart(out, source, folder)
    surroundings = prediction_environment(device)
    fingerprint = Fingerprint(
        {
            **source.fingerprint,
            "classifier": sha256,
            "algorithm.predict": str(ALGORITHM_VERSION),
            **{f"environment.{name}": value for name, value in surroundings.items()},
        }
    )
    *starts, rows = source.starts
    plan = Plan(rows, max(part.inputs for part in source.parts), fingerprint, f"normpipe {__version__}", tuple(starts))
    if source.run is not None:
        plan = replace(plan, shard_size=source.run.plan.shard_size, starts=())
    given = where if where.startswith("hf://") else str(folder.absolute())
    task = PredictionTask(out, source.parts, tuple(starts), source.side, given, sha256, surroundings, device)
    return PredictionRun(source, folder, classifier, plan, task)


def run_predictions(planned: PredictionRun, executor: Executor, progress: Progress, *, takeover: bool = False) -> RunSummary:
    """Start a prediction or take it up where it was left.

    Args:
        planned: What to do.
        executor: Where.
        progress: Told of every step.
        takeover: Take over a lease that stands still.

    Raises:
        IncompatibleRunError: OUT holds something else, or a live run holds it.
        UsageError: a part of a run is not what its journal tells of.
        NormpipeError: OUT cannot be written, or the processes cannot work.
        Interrupted: SIGINT or SIGTERM; what is committed stays.
    """
    out, plan = planned.out, planned.plan
    with interruptible(), locked(out, takeover), progress:
        journal = Journal(out, plan.fingerprint.digest)
        _settle_plan(planned, journal)
        if len(journal.committed(plan.shards)) < len(plan.shards):
            _check_parts(planned.source.run)
        return execute(out, plan, planned.task, executor, progress, folders=(PREDICTIONS_FOLDER,))


def _settle_plan(planned: PredictionRun, journal: Journal) -> None:
    """Leave the plan in OUT, with what the scores are of, or make sure that the one there is the same."""
    out, found = planned.out, read_plan(planned.out)
    begun = not journal.is_empty()
    if begun and found is None:
        raise IncompatibleRunError(f"{out.name}: holds shards of a run whose plan.json is gone; choose another OUT")
    if found is not None and begun:
        check_same_run(out, found, planned.plan)
    with AtomicFile(out / CLASSIFIER_FILE) as target, (planned.folder / CLASSIFIER_FILE).open("rb") as source:
        shutil.copyfileobj(source, target)
    if found != planned.plan:
        write_plan(out, planned.plan)


def _check_apart(out: Path, source: PredictedSource, classifier: Path) -> None:
    """OUT must be a folder of its own, and none where pairs are looked for."""
    own = out.resolve()
    for name, taken in (("SHARDS", source.folder), ("CLASSIFIER", classifier)):
        if taken is not None and own == taken.resolve():
            raise UsageError(f"OUT is {name} itself; name another folder")
    folder = source.folder
    if folder is not None and run_folder(str(folder)) is None and own.is_relative_to(folder.resolve()):
        raise UsageError("OUT lies in SHARDS, where all Parquet files are taken for pairs; name a folder elsewhere")


def _check_parts(run: AuditedRun | None) -> None:
    """Make sure that a run's parts are those that its journal tells of; of other files, workers look at the footers."""
    if run is None:
        return
    for file in altered_files(run.out, run.records, {SHARDS_FOLDER}):
        raise UsageError(
            f"{run.out.name}: {file} is not the file that the journal tells of; delete it and finish the run again"
        )
