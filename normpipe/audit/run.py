"""`normpipe audit` without its command line: measure on the engine, reduce on the driver, judge, show.

`OUT/audit` is a run's folder of its own: plan, journal, log. Its features are worth a resume and go when all is done.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from normpipe import __version__
from normpipe.audit import reduce
from normpipe.audit.document import AUDIT_FILE, FORMAT_VERSION, Document, entries, read_document, rounded, write_document
from normpipe.audit.features import FEATURES_FOLDER, FeatureStore
from normpipe.audit.figures import Json, document
from normpipe.audit.gates import judged, passed
from normpipe.audit.page import PAGE_FILE, SHEETS, write_page
from normpipe.audit.plan import AuditedRun, AuditPlan, check_parts, part_files
from normpipe.audit.reduce import Reduce
from normpipe.audit.rows import ROWS_FOLDER, write_rows
from normpipe.audit.scoreboard import read_others
from normpipe.audit.table import read_table
from normpipe.audit.task import AUDIT_FOLDER
from normpipe.config import Gates
from normpipe.engine.journal import Journal
from normpipe.engine.lock import locked
from normpipe.engine.plan import read_plan, write_plan
from normpipe.engine.progress import Progress
from normpipe.engine.run import RunSummary, execute
from normpipe.engine.signals import interruptible
from normpipe.engine.summary import answerable
from normpipe.engine.work import Executor
from normpipe.errors import IncompatibleRunError, NormpipeError, UsageError
from normpipe.shards.commits import JOURNAL_FOLDER
from normpipe.shards.reader import open_part
from normpipe.stages.environment import library_version

_STATISTICS = ("numpy", "scipy", "scikit-learn")


@dataclass(frozen=True, slots=True)
class Audit:
    """How an audit ended.

    Attributes:
        summary: Of the measurement, None where an earlier one was still good.
        document: audit.json, None where the measurement is not complete.
        page: The page.
    """

    summary: RunSummary | None
    document: Document | None
    page: Path | None = None


def run_audit(
    plan: AuditPlan,
    gates: Gates,
    executor: Executor,
    progress: Progress,
    *,
    compare: tuple[Path, ...] = (),
    takeover: bool = False,
) -> Audit:
    """Start the audit or take it up where it was left; where all is as it was, only judge and draw again.

    Args:
        plan: What to do.
        gates: Limits.
        executor: Where to measure.
        progress: Told of every step.
        compare: Other audited runs of the same rows, for the scoreboard.
        takeover: Take over a lease that stands still.

    Raises:
        IncompatibleRunError: a live run holds the folder, or a run to compare with has other rows or instruments.
        UsageError: a part of the run is damaged, or a run to compare with is not audited.
        NormpipeError: the folder cannot be written.
        Interrupted: SIGINT or SIGTERM; what is measured stays.
    """
    with interruptible(), locked(plan.run.out, takeover), progress:
        others = read_others(_known(plan), compare)  # refused, if at all, before hours of measuring
        done = _done(plan)
        summary = None
        if done is None:
            check_parts(plan.run)
            summary = _measure(plan, executor, progress)
            if not summary.complete:
                return Audit(summary, None)
        try:
            return _finished(plan, done, summary, gates, others, progress)
        except OSError as error:
            raise NormpipeError(
                f"{plan.run.out.name}/{AUDIT_FOLDER} cannot be written ({error.strerror}); the same command goes on from "
                f"there. {AUDIT_FOLDER}/{FEATURES_FOLDER}/ holds biometric data until then"
            ) from error


def _finished(
    plan: AuditPlan,
    done: Document | None,
    summary: RunSummary | None,
    gates: Gates,
    others: Sequence[Document],
    progress: Progress,
) -> Audit:
    """Reduce what is measured, judge, draw, and let the features go."""
    # What is told of the run is never from before: an older audit.json may count who withdrew as failed.
    found = _reduced(plan, progress) if done is None else {**done, "run": _audited(plan.run)}
    verdicts = judged(found, gates)
    if not verdicts and done is not None:
        earlier = done.get("gates")
        verdicts = earlier if isinstance(earlier, list) else []  # drawing again takes no verdict back
    final = {**found, "gates": verdicts, "passed": passed(verdicts)}
    page = write_page(plan, final, others)
    write_document(plan.folder, final)  # last: where it is, all is
    features = plan.folder / FEATURES_FOLDER
    if not plan.options.keep_features and features.exists():
        shutil.rmtree(features)
    return Audit(summary, final, page)


def _done(plan: AuditPlan) -> Document | None:
    """An earlier audit by the same means of the same run, if its files are there.

    Raises:
        UsageError: the earlier one had instruments that are not given now.
    """
    found = read_document(plan.folder)
    if found is None:
        return None
    given_up = sorted({name for name, _ in entries(found, "instruments")} - plan.instruments.keys())
    if given_up:
        raise UsageError(
            f"{plan.run.out.name}: the audit there was made with {', '.join(given_up)}; give what it was made with again, or "
            f"delete {AUDIT_FOLDER}/ to do without"
        )
    return found if found.get("inputs") == _inputs(plan) and _has_rows(plan) else None


def _has_rows(plan: AuditPlan) -> bool:
    """Whether the columns per row are there and can be read."""
    try:
        for part in part_files(plan.run):
            with open_part(plan.folder / ROWS_FOLDER / f"{part}.parquet"):
                pass
    except (OSError, UsageError):
        return False
    return True


def _known(plan: AuditPlan) -> Document:
    """What audit.json will hold that is known before anything is measured."""
    return {
        "run": {"manifest": plan.run.plan.fingerprint.parts["manifest"]},
        "instruments": dict(plan.instruments),
        "options": _options(plan),
    }


def _inputs(plan: AuditPlan) -> str:
    """Hex digest of all that decides about the findings."""
    versions = {library: library_version(library) for library in _STATISTICS}
    text = json.dumps([plan.plan.fingerprint.digest, _options(plan), reduce.ALGORITHM_VERSION, versions], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _measure(plan: AuditPlan, executor: Executor, progress: Progress) -> RunSummary:
    folder = plan.folder
    folder.mkdir(exist_ok=True)
    changes = _changes(plan)
    if changes:
        progress.note(f"audited again, since something has changed: {'; '.join(changes[:3])}")
    for stale in (AUDIT_FILE, PAGE_FILE, *(f"{name}.png" for name in SHEETS)):
        (folder / stale).unlink(missing_ok=True)
    shutil.rmtree(folder / ROWS_FOLDER, ignore_errors=True)
    if not _resumable(plan):
        shutil.rmtree(folder / JOURNAL_FOLDER, ignore_errors=True)
    write_plan(folder, plan.plan)
    return execute(folder, plan.plan, plan.task, executor, progress, folders=(FEATURES_FOLDER,))


def _changes(plan: AuditPlan) -> list[str]:
    """What differs from the audit that is there, instruments first, and options last."""
    try:
        earlier, document = read_plan(plan.folder), read_document(plan.folder)
    except (IncompatibleRunError, UsageError) as error:
        return [str(error)]
    found = [] if earlier is None else earlier.fingerprint.differences(plan.plan.fingerprint)
    found.sort(key=lambda each: not each.startswith("instrument"))
    before = dict(entries(document, "options")) if document is not None else {}
    return found + [
        f"{name} {before[name]} -> {value}"
        for name, value in _options(plan).items()
        if name in before and before[name] != value
    ]


def _resumable(plan: AuditPlan) -> bool:
    """Whether what is in the journal is of this plan, and can be read."""
    try:
        earlier = read_plan(plan.folder)
        if earlier is None or earlier.fingerprint.digest != plan.plan.fingerprint.digest:
            return False
        Journal(plan.folder, earlier.fingerprint.digest).committed(plan.plan.shards)
    except (IncompatibleRunError, UsageError):
        return False
    return True


def stored_features(plan: AuditPlan) -> FeatureStore:
    """What the audit has measured of each row; its files are there until the audit is complete, longer if so asked."""
    files = tuple(plan.folder / FEATURES_FOLDER / f"{part}.parquet" for part in part_files(plan.run))
    return FeatureStore(files, np.concatenate([[0], np.cumsum(plan.run.row_counts)]).astype(np.intp))


def _reduced(plan: AuditPlan, progress: Progress) -> Document:
    run, folder = plan.run, plan.folder
    parts = part_files(run)
    table = read_table(run.out, parts, plan.options.columns)
    store = stored_features(plan)
    found, rows = Reduce(table, store, plan.task.columns, plan.options, progress.note).findings()
    write_rows(folder, parts, store, plan.task.columns, table, rows)
    return {
        "format_version": FORMAT_VERSION,
        "producer": f"normpipe {__version__}",
        "run": _audited(run),
        "instruments": dict(plan.instruments),
        "options": _options(plan),
        "inputs": _inputs(plan),
        "findings": rounded(document(found)),
    }


def _audited(run: AuditedRun) -> dict[str, Json]:
    """What audit.json says of the run: its rows, those whose people withdrew apart from those that failed."""
    rows = sum(run.row_counts)
    left, failed = answerable(rows, run.failed)
    parts = run.plan.fingerprint.parts
    return {
        "fingerprint": run.plan.fingerprint.digest,
        "content": run.content,
        "manifest": parts["manifest"],
        "rows": rows,
        "withdrawn_rows": rows - left,
        "failed_rows": sum(failed.values()),
        "failed": {reason.value: count for reason, count in failed.items()},
        "configuration": {name.removeprefix("config."): value for name, value in parts.items() if name.startswith("config.")},
    }


def _options(plan: AuditPlan) -> dict[str, Json]:
    options = plan.options
    return {
        "seed": options.seed,
        "pairs": options.pairs,
        "rows": options.rows,
        "repetitions": options.repetitions,
        "draws": options.draws,
        "permutations": options.permutations,
        "columns": list(options.columns),
    }
