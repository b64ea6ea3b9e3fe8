"""A run is interrupted, killed, starved and resumed in every way; what it leaves is what one undisturbed run leaves."""

import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fixtures.kills import Bomb
from fixtures.kills import KilledError as KilledAtError
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from engine.stub import FOLDER, Death, InlineExecutor, KilledError, RowsTask, plan_of, rows_written
from normpipe.engine import run as run_module
from normpipe.engine.journal import Journal
from normpipe.engine.plan import write_plan
from normpipe.engine.progress import Progress
from normpipe.engine.renewal import recover
from normpipe.engine.run import execute
from normpipe.engine.summary import read_summary
from normpipe.engine.tasks import Event, EventKind
from normpipe.errors import NormpipeError, UsageError
from normpipe.records import Reason


def run(out, plan, task, executor=None, **options):
    progress = Progress(plan.rows, Console(file=io.StringIO()))
    options = {"retry_pause": 0, **options}
    return execute(out, plan, task, executor or InlineExecutor(), progress, folders=[FOLDER], **options)


def committed(out, plan):
    return [record.shard.index for record in Journal(out, plan.fingerprint.digest).committed(plan.shards)]


def log(out):
    """Words and texts of the log's lines, without their moments."""
    return [line.partition("Z ")[2] for line in (out / "run.log").read_text().splitlines()]


@dataclass(frozen=True)
class Try:
    """One run and what goes wrong in it."""

    kill_after: int | None
    deaths: dict[int, Death]
    failing: frozenset[int]
    retry_failed: bool
    accept_failures: bool


tries = st.builds(
    Try,
    kill_after=st.none() | st.integers(0, 60),
    deaths=st.dictionaries(st.integers(0, 12), st.sampled_from([Death.ERROR_BEFORE, Death.ERROR_WHILE]), max_size=4),
    failing=st.frozensets(st.integers(0, 39), max_size=4),
    retry_failed=st.booleans(),
    accept_failures=st.booleans(),
)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 40), shard_size=st.integers(1, 12), runs=st.lists(tries, max_size=5), compact_every=st.integers(1, 4)
)
def test_every_row_is_written_exactly_once_whatever_happened_before(rows, shard_size, runs, compact_every):
    plan = plan_of(rows, shard_size)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "_COMPACT_EVERY", compact_every)
        out = Path(folder)
        for this in runs:
            before = committed(out, plan)
            task = RowsTask(out, this.deaths, this.failing)
            options = {"retry_failed": this.retry_failed, "accept_failures": this.accept_failures}
            try:
                if this.kill_after is None:
                    summary = run(out, plan, task, **options)
                    assert summary.committed == len(committed(out, plan))
                    pending = {record.shard.index for record in summary.pending}
                    assert summary.stopped or pending == set(range(len(plan.shards))) - set(committed(out, plan))
                else:
                    with Bomb(this.kill_after):
                        run(out, plan, task, **options)
            except KilledAtError:  # the next run begins by putting back what a shard that was done again had
                recover(out, [FOLDER], Journal(out, plan.fingerprint.digest).files)
            after = committed(out, plan)
            assert set(before) <= set(after)
            assert rows_written(out) == [row for index in after for row in rows_of(plan, index)]
        summary = run(out, plan, RowsTask(out), retry_failed=True)
        assert (summary.rows, summary.ok, summary.failed, summary.complete) == (rows, rows, {}, True)
        assert (summary.failures, summary.pending) == ((), ())
        assert contents(out) == {
            f"{shard.name}.txt": "".join(f"{row}\n" for row in range(shard.start, shard.stop)) for shard in plan.shards
        }
        assert not list(out.rglob("*.part"))
        assert not list(out.rglob("part-*.json"))


def rows_of(plan, index):
    return range(plan.shards[index].start, plan.shards[index].stop)


def contents(out):
    return {path.name: path.read_text() for path in (out / FOLDER).iterdir()}


def test_a_finished_run_does_nothing_again(tmp_path):
    plan = plan_of(10, 4)
    first = run(tmp_path, plan, RowsTask(tmp_path))
    task = RowsTask(tmp_path)
    second = run(tmp_path, plan, task)
    assert task.done == []
    assert second.frames_per_second == pytest.approx(first.frames_per_second, abs=1e-3)


def test_a_shard_whose_file_was_cut_is_done_again(tmp_path):
    plan = plan_of(10, 4)
    run(tmp_path, plan, RowsTask(tmp_path))
    (tmp_path / FOLDER / "part-00002.txt").write_bytes(b"8\n")
    task = RowsTask(tmp_path)
    run(tmp_path, plan, task)
    assert task.done == [2]
    assert rows_written(tmp_path) == list(range(10))


def test_one_failing_shard_does_not_end_the_run_and_says_why_it_is_pending(tmp_path):
    summary = run(tmp_path, plan_of(10, 4), RowsTask(tmp_path, {0: Death.ERROR_WHILE}))
    assert [failure.shard.index for failure in summary.failures] == [0]
    assert (summary.committed, summary.shards, summary.complete) == (2, 3, False)
    assert "pending: part-00000: ValueError" in summary.text
    lines = log(tmp_path)
    assert lines[0] == "started: 3 of 3 shards pending, 10 of 10 rows"
    assert lines[1].startswith("shard failed: part-00000: ValueError")
    assert lines[2] == "second pass: 1 shards once more, after 0 s"


def test_the_summary_adds_up_and_is_written(tmp_path):
    summary = run(tmp_path, plan_of(10, 4), RowsTask(tmp_path, failing_rows=frozenset({1, 9})), accept_failures=True)
    assert (summary.frames, summary.rows, summary.ok, summary.failed) == (10, 10, 8, {Reason.VANISHED: 2})
    assert summary.seconds_by_stage == {"write": 1.5}
    document = json.loads((tmp_path / "run.json").read_text())
    assert (document["rows"], document["ok"], document["failed"]) == (10, 8, {"vanished": 2})
    assert (document["pending"], document["held"]) == (0, {})
    assert document["frames_per_second"] > 0


def test_the_log_ends_with_the_summarys_own_lines(tmp_path):
    summary = run(tmp_path, plan_of(10, 4), RowsTask(tmp_path))
    assert log(tmp_path)[-len(summary.text.splitlines()) :] == [f"finished: {line}" for line in summary.text.splitlines()]
    assert summary.text.splitlines()[2:] == [
        "stage    seconds  share  ms/frame",
        "write       1.50  100 %    150.00",
    ]


@dataclass
class ComesBack(RowsTask):
    """Rows that are there again when they are asked for the second time."""

    def run(self, shard, advance, excluded):
        result = super().run(shard, advance, excluded)
        self.failing_rows = frozenset()
        return result


def test_what_comes_back_in_time_is_not_missed(tmp_path):
    summary = run(tmp_path, plan_of(10, 4), ComesBack(tmp_path, failing_rows=frozenset({1})))
    assert (summary.ok, summary.complete) == (10, True)
    assert log(tmp_path)[1:4] == [
        "shard held: part-00000: vanished 1",
        "second pass: 1 shards once more, after 0 s",
        "shard committed: part-00000",
    ]


def test_a_shard_with_vanished_rows_is_held_and_committed_by_the_last_attempt(tmp_path):
    plan, task = plan_of(10, 4), RowsTask(tmp_path, failing_rows=frozenset({5}))
    for attempt in (1, 2):
        summary = run(tmp_path, plan, task)
        assert committed(tmp_path, plan) == [0, 2]
        assert not (tmp_path / FOLDER / "part-00001.txt").exists()
        assert [(record.attempts, record.failed) for record in summary.pending] == [(attempt, {Reason.VANISHED: 1})]
        assert f"part-00001: held for vanished 1; tried {'once' if attempt == 1 else '2 times'}" in summary.text
        assert "--accept-failures" in summary.text
        assert json.loads((tmp_path / "run.json").read_text())["held"] == {"vanished": 1}
    summary = run(tmp_path, plan, task)
    assert (summary.complete, summary.failed, summary.pending) == (True, {Reason.VANISHED: 1}, ())
    assert "shard committed: part-00001, with its failures (vanished 1)" in log(tmp_path)


def test_failures_that_are_accepted_are_committed_without_a_second_pass(tmp_path):
    task = RowsTask(tmp_path, failing_rows=frozenset({5}))
    summary = run(tmp_path, plan_of(10, 4), task, accept_failures=True)
    assert (summary.complete, summary.failed) == (True, {Reason.VANISHED: 1})
    assert task.done == [0, 1, 2]


def test_retry_redoes_the_shards_with_rows_that_may_pass_alone(tmp_path):
    plan = plan_of(10, 4)
    run(tmp_path, plan, RowsTask(tmp_path, failing_rows=frozenset({5})), accept_failures=True)
    task = RowsTask(tmp_path)
    summary = run(tmp_path, plan, task, retry_failed=True)
    assert task.done == [1]
    assert (summary.ok, summary.failed) == (10, {})


def test_a_retry_that_is_killed_leaves_what_was_there(tmp_path):
    plan = plan_of(10, 4)
    run(tmp_path, plan, RowsTask(tmp_path, failing_rows=frozenset({5})), accept_failures=True)
    with pytest.raises(KilledError):
        run(tmp_path, plan, RowsTask(tmp_path, {1: Death.KILL_AFTER}), retry_failed=True)
    assert committed(tmp_path, plan) == [0, 1, 2]
    assert log(tmp_path)[-1].startswith("interrupted: ")


@pytest.mark.parametrize("failing", [{5}, {4, 5}, {4, 6}])
def test_a_retry_that_is_no_better_leaves_what_was_there(tmp_path, failing):
    plan = plan_of(10, 4)
    run(tmp_path, plan, RowsTask(tmp_path, failing_rows=frozenset({5})), accept_failures=True)
    before = Journal(tmp_path, plan.fingerprint.digest).committed(plan.shards)
    summary = run(tmp_path, plan, RowsTask(tmp_path, failing_rows=frozenset(failing)), retry_failed=True)
    assert (summary.complete, summary.failed, summary.pending) == (True, {Reason.VANISHED: 1}, ())
    assert Journal(tmp_path, plan.fingerprint.digest).committed(plan.shards) == before
    assert rows_written(tmp_path) == list(range(10))
    assert not list(tmp_path.rglob("*.kept"))
    assert "shards kept: 1 shards keep what they had, since no more rows succeed now: part-00001" in log(tmp_path)


def test_an_output_that_cannot_be_written_stops_the_run_early(tmp_path):
    task = RowsTask(tmp_path, dict.fromkeys(range(1, 10), Death.ERROR_BEFORE))
    summary = run(tmp_path, plan_of(20, 2), task)
    assert [failure.shard.index for failure in summary.failures] == [1, 2, 3]
    assert summary.stopped == "OUT cannot be written (No space left on device); stopped; the same command resumes"
    assert summary.stopped in summary.text.splitlines()
    assert task.done == [0]
    assert "second pass" not in (tmp_path / "run.log").read_text()
    assert run(tmp_path, plan_of(20, 2), RowsTask(tmp_path)).complete


@dataclass
class TellsOfADeath(InlineExecutor):
    """What a supervisor tells."""

    closed: list[bool] = field(default_factory=list)

    def run(self, work, shards, advance, observe=lambda _: None) -> Iterator:
        observe(Event(EventKind.DIED, shards[0], detail="killed by SIGKILL"))
        observe(Event(EventKind.EXCLUDED, shards[0], row=3, detail="poison"))
        try:
            yield from super().run(work, shards, advance, observe)
        finally:
            self.closed.append(True)


def test_events_become_lines_of_the_log(tmp_path):
    run(tmp_path, plan_of(10, 4), RowsTask(tmp_path), TellsOfADeath())
    assert log(tmp_path)[1:3] == ["worker died: part-00000: killed by SIGKILL", "row excluded: part-00000: row 3, poison"]


def test_a_run_that_stops_early_closes_its_executor_at_once(tmp_path):
    executor = TellsOfADeath()
    run(tmp_path, plan_of(20, 2), RowsTask(tmp_path, dict.fromkeys(range(10), Death.ERROR_BEFORE)), executor)
    assert executor.closed == [True]


class CannotPrepare(RowsTask):
    def prepare(self):
        raise NormpipeError("the model is missing; pull it")


def test_an_executor_that_cannot_work_is_told_in_the_log(tmp_path):
    with pytest.raises(NormpipeError):
        run(tmp_path, plan_of(10, 4), CannotPrepare(tmp_path))
    assert log(tmp_path)[-1] == "failed: the model is missing; pull it"
    assert not (tmp_path / "progress.json").exists()


def test_a_phase_has_its_own_journal_and_leaves_the_summary_to_the_last_one(tmp_path):
    plan = plan_of(10, 4)
    summary = run(tmp_path, plan, RowsTask(tmp_path), phase="analyze")
    assert summary.complete
    assert not (tmp_path / "run.json").exists()
    assert committed(tmp_path, plan) == []
    assert log(tmp_path)[0] == "analyze: started: 3 of 3 shards pending, 10 of 10 rows"
    task = RowsTask(tmp_path)
    assert run(tmp_path, plan, task).complete
    assert task.done == [0, 1, 2]


def test_the_state_of_an_interrupted_run_can_be_read(tmp_path):
    plan = plan_of(10, 4)
    write_plan(tmp_path, plan)
    with pytest.raises(KilledError):
        run(tmp_path, plan, RowsTask(tmp_path, {1: Death.KILL_WHILE}))
    summary = read_summary(tmp_path)
    assert (summary.committed, summary.rows, summary.complete) == (1, 4, False)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"no plan\.json"):
        read_summary(tmp_path)
