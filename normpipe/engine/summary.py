"""What a run's folder holds, added up from its journal: run.json, the last words of a run, the answer of `normpipe status`."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from normpipe.engine.journal import PENDING_FOLDER, Journal, PendingRecord, ShardRecord
from normpipe.engine.plan import PLAN_FILE, Plan, read_plan
from normpipe.engine.work import ShardFailure
from normpipe.errors import UsageError
from normpipe.records import FORMAT_VERSION, Reason
from normpipe.shards.atomic import write_bytes
from normpipe.shards.commits import JOURNAL_FOLDER, committed_names

RUN_FILE = "run.json"

_SHOWN_SHARDS = 10


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
        failures: Shards that this run could not finish.
        pending: Of the shards that are not done, those that a run has tried, and why they were left.
        stopped: Why this run ended before its last shard, if it did.
        phase: Which of several phases this tells of; "" for the last or only one.
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
    pending: tuple[PendingRecord, ...] = ()
    stopped: str = ""
    phase: str = ""

    @property
    def complete(self) -> bool:
        """Whether every shard is committed."""
        return self.committed == self.shards

    @property
    def held(self) -> dict[Reason, int]:
        """Rows that hold finished shards back, by reason, most first."""
        return by_count(sum((Counter(record.failed) for record in self.pending), Counter()))

    @property
    def state(self) -> str:
        """What is done and what is not, in a few lines."""
        return "\n".join(_lines(self))

    @property
    def text(self) -> str:
        """The end of a run: its state, and what to do about what is pending."""
        return "\n".join([self.state, *_advice(self)])


def summarize(
    plan: Plan,
    journal: Journal,
    frames_per_second: float | None,
    failures: Sequence[ShardFailure] = (),
    *,
    stopped: str = "",
    phase: str = "",
) -> RunSummary:
    """Add up the journal."""
    records = journal.committed(plan.shards)
    done = {record.shard for record in records}
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
        failed=by_count(failed),
        frames_per_second=frames_per_second,
        seconds_by_stage=dict(stages),
        failures=tuple(failures),
        pending=tuple(record for record in journal.postponed().values() if record.shard not in done),
        stopped=stopped,
        phase=phase,
    )


def read_summary(out: Path) -> RunSummary:
    """What a run's folder holds, whether the run is finished, interrupted or going on.

    Raises:
        UsageError: `out` is not the folder of a run.
    """
    plan = read_plan(out)
    if plan is None:
        raise UsageError(f"{out.name}: not a run's folder (it has no {PLAN_FILE}); name the OUT of `normpipe run`")
    return summarize(plan, Journal(out, plan.fingerprint.digest), earlier_rate(out))


def phases_done(out: Path) -> dict[str, int]:
    """Shards that are done in each phase with a journal of its own, by the phase's name."""
    folder = out / JOURNAL_FOLDER
    found = sorted(path for path in folder.glob("*") if path.is_dir() and path.name != PENDING_FOLDER)
    return {path.name: len(committed_names(path)) for path in found}


def write_summary(out: Path, summary: RunSummary) -> None:
    """Write run.json."""
    document = {
        "format_version": FORMAT_VERSION,
        "shards": summary.shards,
        "committed": summary.committed,
        "pending": summary.shards - summary.committed,
        "held": _named(summary.held),
        "frames": summary.frames,
        "rows": summary.rows,
        "ok": summary.ok,
        "failed": _named(summary.failed),
        "frames_per_second": None if summary.frames_per_second is None else round(summary.frames_per_second, 3),
        "seconds_by_stage": {stage: round(seconds, 3) for stage, seconds in summary.seconds_by_stage.items()},
    }
    write_bytes(out / RUN_FILE, (json.dumps(document, indent=2) + "\n").encode())


def earlier_rate(out: Path) -> float | None:
    """The rate of the run that did the work, when this one found nothing to do."""
    try:
        rate = json.loads((out / RUN_FILE).read_bytes())["frames_per_second"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return rate if isinstance(rate, float) else None


def by_count(failed: Mapping[Reason, int]) -> dict[Reason, int]:
    """Most first, then by name."""
    return dict(sorted(failed.items(), key=lambda item: (-item[1], item[0])))


def answerable(rows: int, failed: Mapping[Reason, int]) -> tuple[int, dict[Reason, int]]:
    """Rows and failures that a gate holds against each other: a row whose person withdrew is neither."""
    left = dict(failed)
    withdrawn = left.pop(Reason.WITHDRAWN, 0)
    return rows - withdrawn, left


def spoken(failed: Mapping[Reason, int]) -> str:
    """Reasons as messages tell them: "vanished 3, io_error 1"."""
    return ", ".join(f"{reason.value} {count}" for reason, count in by_count(failed).items())


def may_pass_again(record: ShardRecord) -> bool:
    """Whether a committed shard holds rows that are worth another attempt."""
    return any(reason.may_pass_again for reason in record.result.failed)


def _named(failed: Mapping[Reason, int]) -> dict[str, int]:
    return {reason.value: count for reason, count in failed.items()}


def _lines(summary: RunSummary) -> Iterator[str]:
    phase = f"{summary.phase}: " if summary.phase else ""
    total = f"{phase}{summary.committed}/{summary.shards} shards committed: {summary.rows} rows, {summary.ok} ok"
    failed = f", {sum(summary.failed.values())} failed ({spoken(summary.failed)})" if summary.failed else ""
    yield total + failed
    if summary.frames_per_second is not None:
        yield f"{summary.frames_per_second:.1f} frames per second"
    yield from _stage_table(summary)
    if not summary.complete:
        yield from _what_is_pending(summary)


def _stage_table(summary: RunSummary) -> Iterator[str]:
    total = sum(summary.seconds_by_stage.values())
    if total <= 0 or not summary.frames:
        return
    width = max(5, *map(len, summary.seconds_by_stage))
    yield f"{'stage':<{width}}  {'seconds':>9}  share  ms/frame"
    for stage, seconds in summary.seconds_by_stage.items():
        yield f"{stage:<{width}}  {seconds:>9.2f}  {100 * seconds / total:>3.0f} %  {1e3 * seconds / summary.frames:>8.2f}"


def _what_is_pending(summary: RunSummary) -> Iterator[str]:
    for record in summary.pending[:_SHOWN_SHARDS]:
        if record.failed:
            times = "once" if record.attempts == 1 else f"{record.attempts} times"
            yield f"pending: {record.shard.name}: held for {spoken(record.failed)}; tried {times}"
        else:
            yield f"pending: {record.shard.name}: {record.message}"
    more = len(summary.pending) - _SHOWN_SHARDS
    if more > 0:
        yield f"pending: and {more} more"


def _advice(summary: RunSummary) -> Iterator[str]:
    if summary.held:
        yield (
            f"{sum(summary.held.values())} rows failed for reasons that may pass ({spoken(summary.held)}): put that right, "
            "or add --accept-failures to commit them as failed"
        )
    if summary.stopped:
        yield summary.stopped
    if not summary.complete:
        yield "not complete; the same command takes up what is pending"
