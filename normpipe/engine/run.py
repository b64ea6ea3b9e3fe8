"""A run from plan to summary: what is committed is skipped, what is pending is executed, and the journal has the last word."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from normpipe.engine.journal import JOURNAL_FOLDER, Journal, ShardRecord
from normpipe.engine.plan import PLAN_FILE, Plan, read_plan
from normpipe.engine.progress import Progress
from normpipe.engine.tasks import ShardTask
from normpipe.engine.work import Executor, ShardFailure, Work
from normpipe.errors import UsageError
from normpipe.records import FORMAT_VERSION, Reason, ReasonClass
from normpipe.shards.atomic import remove_leftovers, write_bytes

RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run's folder holds now.

    Attributes:
        shards: Shards of the plan.
        committed: Shards that are done.
        frames: Input rows of the committed shards.
        rows: Output rows, of which `ok` succeeded and the rest `failed`, by reason.
        frames_per_second: Input rows per wall-clock second while this run (or the last one that had work) was executing.
        seconds_by_stage: Summed over all committed shards.
        failures: Shards that this run could not commit.
    """

    shards: int
    committed: int
    frames: int
    rows: int
    ok: int
    failed: dict[Reason, int]
    frames_per_second: float | None
    seconds_by_stage: dict[str, float]
    failures: tuple[ShardFailure, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every shard is committed."""
        return self.committed == self.shards


def execute(
    out: Path,
    plan: Plan,
    task: ShardTask,
    executor: Executor,
    progress: Progress,
    *,
    folders: Sequence[str],
    retry_failed: bool = False,
) -> RunSummary:
    """Run what is pending of `plan` into `out`; the caller holds the folder's lock and has checked the plan.

    Args:
        out: The run's folder, with its plan.json.
        plan: The plan.
        task: What to do with a shard.
        executor: Where to do it.
        progress: Told of every step.
        folders: Subfolders that the task writes to.
        retry_failed: Also redo committed shards with rows that failed for a reason of the environment.

    Returns:
        The summary, also written to run.json.
    """
    for folder in (*folders, JOURNAL_FOLDER):
        (out / folder).mkdir(exist_ok=True)
        remove_leftovers(out / folder)
    remove_leftovers(out)
    journal = Journal(out, plan.fingerprint.digest)
    done = set()
    for record in journal.committed(plan.shards):
        if retry_failed and _may_pass_again(record):
            journal.withdraw(record.shard)
            continue
        done.add(record.shard)
        progress.resume(record.shard.rows, record.result.ok, sum(record.result.failed.values()))
    pending = [shard for shard in plan.shards if shard not in done]
    failures = []
    frames, started = 0, time.monotonic()
    if pending:
        for outcome in executor.run(Work(task, journal), pending, progress.advance):
            if isinstance(outcome, ShardFailure):
                failures.append(outcome)
                progress.note(f"{outcome.shard.name}: not committed: {outcome.message}")
            else:
                frames += outcome.shard.rows
    seconds = time.monotonic() - started
    rate = frames / seconds if frames else _earlier_rate(out)
    summary = summarize(plan, journal, rate, tuple(failures))
    write_bytes(out / RUN_FILE, _to_json(summary))
    return summary


def summarize(
    plan: Plan, journal: Journal, frames_per_second: float | None, failures: tuple[ShardFailure, ...] = ()
) -> RunSummary:
    """Add up the journal."""
    records = journal.committed(plan.shards)
    failed: Counter[Reason] = Counter()
    stages: Counter[str] = Counter()
    for record in records:
        failed.update(record.result.failed)
        stages.update(record.result.seconds_by_stage)
    return RunSummary(
        shards=len(plan.shards),
        committed=len(records),
        frames=sum(record.shard.rows for record in records),
        rows=sum(record.result.rows for record in records),
        ok=sum(record.result.ok for record in records),
        failed=dict(sorted(failed.items(), key=lambda item: (-item[1], item[0]))),
        frames_per_second=frames_per_second,
        seconds_by_stage=dict(stages),
        failures=failures,
    )


def read_summary(out: Path) -> RunSummary:
    """What a run's folder holds, whether the run is finished, interrupted or going on.

    Raises:
        UsageError: `out` is not the folder of a run.
    """
    plan = read_plan(out)
    if plan is None:
        raise UsageError(f"{out.name}: not a run's folder (it has no {PLAN_FILE}); name the OUT of `normpipe run`")
    return summarize(plan, Journal(out, plan.fingerprint.digest), _earlier_rate(out))


def _may_pass_again(record: ShardRecord) -> bool:
    return any(reason.reason_class is ReasonClass.ENVIRONMENT for reason in record.result.failed)


def _earlier_rate(out: Path) -> float | None:
    """The rate of the run that did the work, when this one found nothing to do."""
    try:
        rate = json.loads((out / RUN_FILE).read_bytes())["frames_per_second"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return rate if isinstance(rate, float) else None


def _to_json(summary: RunSummary) -> bytes:
    document = {
        "format_version": FORMAT_VERSION,
        "shards": summary.shards,
        "committed": summary.committed,
        "frames": summary.frames,
        "rows": summary.rows,
        "ok": summary.ok,
        "failed": {reason.value: count for reason, count in summary.failed.items()},
        "frames_per_second": None if summary.frames_per_second is None else round(summary.frames_per_second, 3),
        "seconds_by_stage": {stage: round(seconds, 3) for stage, seconds in summary.seconds_by_stage.items()},
    }
    return (json.dumps(document, indent=2) + "\n").encode()
