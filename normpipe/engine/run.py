"""A run from plan to summary: what is committed is skipped, what is pending is executed, and the journal has the last word.

A shard ends in one of three ways. It is committed; or it was finished and is held back, since some of its rows failed for
reasons that may pass; or it could not be finished. What is not committed is tried once more when all others are done, and then
stays pending: the same command takes it up, until a shard that is held has had its attempts and is committed with its failures.
"""

import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from normpipe.engine.journal import Journal, PendingRecord, ShardRecord
from normpipe.engine.log import RunLog
from normpipe.engine.plan import Plan
from normpipe.engine.progress import Progress, ProgressFile
from normpipe.engine.renewal import recover
from normpipe.engine.summary import (
    RunSummary,
    earlier_rate,
    may_pass_again,
    read_summary,
    spoken,
    summarize,
    write_summary,
)
from normpipe.engine.tasks import Event, Shard, ShardTask
from normpipe.engine.work import Executor, Outcome, ShardFailure, ShardHeld, Work
from normpipe.errors import NormpipeError
from normpipe.shards.atomic import remove_leftovers
from normpipe.shards.commits import JOURNAL_FOLDER

__all__ = ["RunSummary", "execute", "read_summary"]

_COMPACT_EVERY = 1000
"""Commits; so that a run of any length has few small files, also when it is killed and takes up its work again."""

_UNWRITABLE_IN_A_ROW = 3
_SHOWN_KEPT = 10


def execute(
    out: Path,
    plan: Plan,
    task: ShardTask,
    executor: Executor,
    progress: Progress,
    *,
    folders: Sequence[str],
    phase: str = "",
    retry_failed: bool = False,
    accept_failures: bool = False,
    attempts: int = 3,
    retry_pause: float = 5.0,
) -> RunSummary:
    """Run what is pending of `plan` into `out`; the caller holds the folder's lock and has checked the plan.

    Args:
        out: The run's folder, with its plan.json.
        plan: The plan.
        task: What to do with a shard.
        executor: Where to do it.
        progress: Told of every step.
        folders: Subfolders that the task writes to.
        phase: Name of one of several phases. It has a journal of its own, `journal/PHASE`, and leaves run.json to the last one.
        retry_failed: Also redo committed shards with rows that may pass when tried again.
        accept_failures: Commit what would be held back.
        attempts: Number of the run that commits a held shard with its failures.
        retry_pause: Seconds before what is not committed is tried once more.

    Returns:
        The summary, also written to run.json.

    Raises:
        NormpipeError: the journal is damaged, or the executor cannot work.
        KeyboardInterrupt: as raised by a signal; what is committed stays.
    """
    journal = Journal(out, plan.fingerprint.digest, f"{JOURNAL_FOLDER}/{phase}" if phase else JOURNAL_FOLDER)
    _prepare(out, folders, journal)
    log = RunLog(out, phase)
    progress.begin(plan.rows, len(plan.shards), phase)
    run = _Execution(Work(task, journal), executor, progress, log)
    try:
        pending, renewed = _pending(plan, journal, progress, retry_failed)
        run.work = Work(task, journal, renewed=renewed)
        if pending:
            word = "started" if len(pending) == len(plan.shards) else "resumed"
            rows = sum(shard.rows for shard in pending)
            log.write(word, f"{len(pending)} of {len(plan.shards)} shards pending, {rows} of {plan.rows} rows")
            with ProgressFile(out, progress):
                run.both_passes(pending, accept_failures, attempts, retry_pause)
            _tidy(out, folders, journal)  # processes that were killed leave what they had begun
        with suppress(OSError):  # a full disk: the records stay as they are and are gathered another time
            journal.compact()
        rate = run.frames / run.seconds if run.frames else earlier_rate(out)
        summary = summarize(plan, journal, rate, tuple(run.failures.values()), stopped=run.stopped, phase=phase)
        log.write("finished", summary.text.removeprefix(f"{phase}: "))  # the log names the phase itself
        if not phase:
            with suppress(OSError):
                write_summary(out, summary)
        return summary
    except KeyboardInterrupt as stop:
        log.write("interrupted", f"{stop or 'SIGINT'}; the same command resumes the run")
        raise
    except NormpipeError as error:
        log.write("failed", str(error))
        raise


def _prepare(out: Path, folders: Sequence[str], journal: Journal) -> None:
    for folder in folders:
        (out / folder).mkdir(parents=True, exist_ok=True)
    journal.open()
    _tidy(out, folders, journal)


def _tidy(out: Path, folders: Sequence[str], journal: Journal) -> None:
    """Remove what no living process will finish."""
    with suppress(OSError):  # a disk that cannot be written now is told of elsewhere
        for folder in (*folders, "."):
            remove_leftovers(out / folder)
        recover(out, folders, journal.files)


def _pending(
    plan: Plan, journal: Journal, progress: Progress, retry_failed: bool
) -> tuple[list[Shard], dict[int, ShardRecord]]:
    """Shards that are to be done, and the records of those among them that are done again."""
    journal.compact()
    records = journal.committed(plan.shards)
    renewed = {record.shard.index: record for record in records if retry_failed and may_pass_again(record)}
    done = {record.shard: record.result for record in records if record.shard.index not in renewed}
    for record in journal.postponed().values():
        if record.shard in done:  # a run was killed between committing it and forgetting why it had been pending
            journal.settle(record.shard)
    rows = sum(shard.rows for shard in done)
    ok, failed = sum(result.ok for result in done.values()), sum(sum(result.failed.values()) for result in done.values())
    progress.resume(rows, ok, failed, shards=len(done))
    return [shard for shard in plan.shards if shard not in done], renewed


@dataclass(slots=True)
class _Execution:
    """The part of a run in which shards are being done.

    Attributes:
        frames: Input rows committed.
        seconds: Spent on executing, without the pause before the second pass.
        failures: What could not be finished, by shard.
        held: What was held back, by shard.
        stopped: Why no further shard is tried.
    """

    work: Work
    executor: Executor
    progress: Progress
    log: RunLog
    frames: int = 0
    seconds: float = 0.0
    failures: dict[Shard, ShardFailure] = field(default_factory=dict)
    held: dict[Shard, ShardHeld] = field(default_factory=dict)
    stopped: str = ""
    _unwritable: int = 0

    def both_passes(self, pending: Sequence[Shard], accept_failures: bool, attempts: int, retry_pause: float) -> None:
        """Do the shards, then once more those that were not committed, and note what is left."""
        renewed = self.work.renewed
        earlier = self.work.journal.postponed()
        tried = {shard.index: earlier[shard.index].attempts if shard.index in earlier else 0 for shard in pending}
        self._do(pending, frozenset(tried) if accept_failures else frozenset())
        left = sorted((*self.held, *self.failures), key=lambda shard: shard.index)
        if left and not self.stopped:
            self.log.write("second pass", f"{len(left)} shards once more, after {retry_pause:g} s")
            time.sleep(retry_pause)
            self.held.clear()
            self.failures.clear()
            due = frozenset(index for index, count in tried.items() if accept_failures or count + 1 >= attempts)
            self._do(left, due, announce=True)
        for shard, outcome in self.held.items():
            if shard.index not in renewed:
                self._note(PendingRecord(shard, tried[shard.index] + 1, outcome.failed))
        for shard, failure in self.failures.items():
            if shard.index not in renewed:
                self._note(PendingRecord(shard, tried[shard.index], message=failure.message))
        kept = sorted(shard.name for shard in (*self.held, *self.failures) if shard.index in renewed)
        if kept:
            text = f"{len(kept)} shards keep what they had, since no more rows succeed now: {', '.join(kept[:_SHOWN_KEPT])}"
            self._tell("shards kept", text, shown=text)

    def _do(self, shards: Sequence[Shard], accepted: frozenset[int], announce: bool = False) -> None:
        started = time.monotonic()
        work = replace(self.work, accepted=accepted)
        outcomes = self.executor.run(work, shards, self.progress.advance, self._observe)
        try:
            for done, outcome in enumerate(outcomes, start=1):
                self._take(outcome, announce)
                if done % _COMPACT_EVERY == 0:
                    with suppress(OSError):
                        work.journal.compact()
                if self._unwritable == _UNWRITABLE_IN_A_ROW:
                    assert isinstance(outcome, ShardFailure)
                    self.stopped = f"OUT cannot be written ({outcome.message}); stopped; the same command resumes"
                    self._tell("stopped", self.stopped, shown=self.stopped)
                    return
        finally:
            if isinstance(outcomes, Generator):
                outcomes.close()  # now, and not when it is collected: it drops what is in flight and ends the processes
            self.seconds += time.monotonic() - started

    def _take(self, outcome: Outcome, announce: bool) -> None:
        name = outcome.shard.name
        self._unwritable = self._unwritable + 1 if isinstance(outcome, ShardFailure) and outcome.unwritable else 0
        if isinstance(outcome, ShardRecord):
            self.frames += outcome.shard.rows
            self.progress.commit(name)
            with suppress(OSError):
                self.work.journal.settle(outcome.shard)
            if announce:
                failed = {reason: count for reason, count in outcome.result.failed.items() if reason.may_pass_again}
                self.log.write("shard committed", f"{name}, with its failures ({spoken(failed)})" if failed else name)
        elif isinstance(outcome, ShardHeld):
            self.held[outcome.shard] = outcome
            self.progress.hold(name, outcome.failed)
            reasons = spoken(outcome.failed)
            self._tell("shard held", f"{name}: {reasons}", shown=f"{name}: not committed: held for {reasons}")
        else:
            self.failures[outcome.shard] = outcome
            self._tell("shard failed", f"{name}: {outcome.message}", shown=f"{name}: not committed: {outcome.message}")

    def _observe(self, event: Event) -> None:
        row = "" if event.row is None else f"row {event.row}"
        text = f"{event.shard.name}: {', '.join(filter(None, (row, event.detail)))}".removesuffix(": ")
        self._tell(event.kind.value, text, shown=f"{event.kind.value}: {text}")

    def _tell(self, word: str, text: str, shown: str) -> None:
        self.log.write(word, text)
        self.progress.note(shown)

    def _note(self, record: PendingRecord) -> None:
        with suppress(OSError):  # where nothing can be written, that was told already
            self.work.journal.postpone(record)
