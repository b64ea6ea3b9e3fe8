"""`normpipe audit` without its command line: measure on the engine, reduce on the driver, judge, show.

`OUT/audit` is a run's folder of its own: plan, journal, log. Its features are worth a resume and go when all is done.
"""

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from normpipe import __version__
from normpipe.audit import reduce
from normpipe.audit.document import AUDIT_FILE, FORMAT_VERSION, Document, read_document, rounded, write_document
from normpipe.audit.features import FEATURES_FOLDER, FeatureStore
from normpipe.audit.figures import Json, document
from normpipe.audit.gates import judged, passed
from normpipe.audit.page import write_page
from normpipe.audit.plan import AuditPlan, check_parts, part_files
from normpipe.audit.reduce import Reduce
from normpipe.audit.rows import ROWS_FOLDER, write_rows
from normpipe.audit.table import read_table
from normpipe.config import Gates
from normpipe.engine.journal import Journal
from normpipe.engine.lock import locked
from normpipe.engine.plan import read_plan, write_plan
from normpipe.engine.progress import Progress
from normpipe.engine.run import RunSummary, execute
from normpipe.engine.signals import interruptible
from normpipe.engine.work import Executor
from normpipe.shards.commits import JOURNAL_FOLDER
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
        IncompatibleRunError: a live run holds the folder.
        UsageError: a part of the run is damaged.
        Interrupted: SIGINT or SIGTERM; what is measured stays.
    """
    with interruptible(), locked(plan.run.out, takeover), progress:
        done = _done(plan)
        summary = None
        if done is None:
            check_parts(plan.run)
            summary = _measure(plan, executor, progress)
            if not summary.complete:
                return Audit(summary, None)
            done = _reduced(plan, progress)
        verdicts = judged(done, gates)
        final = {**done, "gates": verdicts, "passed": passed(verdicts)}
        page = write_page(plan, final, compare)
        write_document(plan.folder, final)  # last: where it is, all is
        if not plan.options.keep_features:
            shutil.rmtree(plan.folder / FEATURES_FOLDER, ignore_errors=True)
        return Audit(summary, final, page)


def _done(plan: AuditPlan) -> Document | None:
    """An earlier audit by the same means of the same run, if its files are there."""
    found = read_document(plan.folder)
    rows = all((plan.folder / ROWS_FOLDER / f"{part}.parquet").is_file() for part in part_files(plan.run))
    return found if found is not None and found.get("inputs") == _inputs(plan) and rows else None


def _inputs(plan: AuditPlan) -> str:
    """Hex digest of all that decides about the findings."""
    versions = {library: library_version(library) for library in _STATISTICS}
    text = json.dumps([plan.plan.fingerprint.digest, _options(plan), reduce.ALGORITHM_VERSION, versions], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _measure(plan: AuditPlan, executor: Executor, progress: Progress) -> RunSummary:
    folder = plan.folder
    folder.mkdir(exist_ok=True)
    for stale in (AUDIT_FILE, "index.html"):
        (folder / stale).unlink(missing_ok=True)
    earlier = read_plan(folder)
    if earlier is not None and earlier.fingerprint.digest != plan.plan.fingerprint.digest:
        if not Journal(folder, earlier.fingerprint.digest).is_empty():
            changed = "; ".join(earlier.fingerprint.differences(plan.plan.fingerprint)[:3])
            progress.note(f"audited again, since something has changed: {changed}")
        shutil.rmtree(folder / JOURNAL_FOLDER, ignore_errors=True)
    write_plan(folder, plan.plan)
    return execute(folder, plan.plan, plan.task, executor, progress, folders=(FEATURES_FOLDER,))


def _reduced(plan: AuditPlan, progress: Progress) -> Document:
    run, folder = plan.run, plan.folder
    parts = part_files(run)
    table = read_table(run.out, parts, plan.options.columns)
    files = tuple(folder / FEATURES_FOLDER / f"{part}.parquet" for part in parts)
    store = FeatureStore(files, np.concatenate([[0], np.cumsum(run.row_counts)]).astype(np.intp))
    found, rows = Reduce(table, store, plan.task.columns, plan.options, progress.note).findings()
    write_rows(folder, parts, store, plan.task.columns, table, rows)
    failed: Counter[str] = Counter()
    for record in run.records:
        failed.update({reason.value: count for reason, count in record.result.failed.items()})
    return {
        "format_version": FORMAT_VERSION,
        "producer": f"normpipe {__version__}",
        "run": {
            "fingerprint": run.plan.fingerprint.digest,
            "content": run.content,
            "manifest": run.plan.fingerprint.parts["manifest"],
            "rows": sum(run.row_counts),
            "failed_rows": failed.total(),
            "failed": dict(failed),
            "configuration": {
                name.removeprefix("config."): value
                for name, value in run.plan.fingerprint.parts.items()
                if name.startswith("config.")
            },
        },
        "instruments": {name.removeprefix("instrument."): value for name, value in plan.instruments.items()},
        "options": _options(plan),
        "inputs": _inputs(plan),
        "findings": rounded(document(found)),
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
