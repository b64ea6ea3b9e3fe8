import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from engine.stub import FOLDER, Death, KilledError, RowsTask, plan_of, rows_written
from normpipe.engine.journal import Journal
from normpipe.engine.plan import write_plan
from normpipe.engine.progress import Progress
from normpipe.engine.run import execute, read_summary
from normpipe.engine.serial import SerialExecutor
from normpipe.errors import UsageError
from normpipe.records import Reason


def run(out, plan, task, **options):
    progress = Progress(plan.rows, Console(file=io.StringIO()))
    return execute(out, plan, task, SerialExecutor(), progress, folders=[FOLDER], **options)


deaths = st.dictionaries(st.integers(0, 12), st.sampled_from(Death), max_size=6)


@settings(deadline=None, max_examples=60)
@given(rows=st.integers(1, 40), shard_size=st.integers(1, 12), attempts=st.lists(deaths, max_size=4))
def test_every_row_is_written_exactly_once_whatever_happened_before(rows, shard_size, attempts):
    plan = plan_of(rows, shard_size)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for planned in attempts:
            committed_before = rows_written(out)
            try:
                summary = run(out, plan, RowsTask(out, planned))
            except KilledError:
                pass
            else:
                failing = set(planned) & {shard.index for shard in plan.shards}
                assert {failure.shard.index for failure in summary.failures} <= failing
                assert summary.complete == (not summary.failures)
            assert set(committed_before) <= set(rows_written(out))
        summary = run(out, plan, RowsTask(out))
        assert rows_written(out) == list(range(rows))
        assert (summary.rows, summary.complete, summary.failures) == (rows, True, ())
        assert not list(out.rglob("*.part"))


def test_a_finished_run_does_nothing_again(tmp_path):
    plan = plan_of(10, 4)
    first = run(tmp_path, plan, RowsTask(tmp_path))
    task = RowsTask(tmp_path)
    second = run(tmp_path, plan, task)
    assert task.done == []
    assert second.frames_per_second == pytest.approx(first.frames_per_second, abs=1e-3)


def test_only_what_is_pending_is_done(tmp_path):
    plan = plan_of(10, 4)
    run(tmp_path, plan, RowsTask(tmp_path, {1: Death.ERROR_BEFORE}))
    task = RowsTask(tmp_path)
    run(tmp_path, plan, task)
    assert task.done == [1]


def test_a_shard_whose_file_was_cut_is_done_again(tmp_path):
    plan = plan_of(10, 4)
    run(tmp_path, plan, RowsTask(tmp_path))
    (tmp_path / FOLDER / "part-00002.txt").write_bytes(b"8\n")
    task = RowsTask(tmp_path)
    run(tmp_path, plan, task)
    assert task.done == [2]
    assert rows_written(tmp_path) == list(range(10))


def test_one_failing_shard_does_not_end_the_run(tmp_path):
    summary = run(tmp_path, plan_of(10, 4), RowsTask(tmp_path, {0: Death.ERROR_WHILE}))
    assert [failure.shard.index for failure in summary.failures] == [0]
    assert (summary.committed, summary.shards, summary.complete) == (2, 3, False)


def test_the_summary_adds_up_and_is_written(tmp_path):
    summary = run(tmp_path, plan_of(10, 4), RowsTask(tmp_path, failing_rows=frozenset({1, 9})))
    assert (summary.frames, summary.rows, summary.ok, summary.failed) == (10, 10, 8, {Reason.VANISHED: 2})
    assert summary.seconds_by_stage == {"write": 1.5}
    document = json.loads((tmp_path / "run.json").read_text())
    assert (document["rows"], document["ok"], document["failed"]) == (10, 8, {"vanished": 2})
    assert document["frames_per_second"] > 0


def test_retry_redoes_the_shards_with_environment_failures_alone(tmp_path):
    plan = plan_of(10, 4)
    run(tmp_path, plan, RowsTask(tmp_path, failing_rows=frozenset({5})))
    task = RowsTask(tmp_path)
    summary = run(tmp_path, plan, task, retry_failed=True)
    assert task.done == [1]
    assert (summary.ok, summary.failed) == (10, {})


def test_a_retry_that_is_killed_leaves_its_shard_pending(tmp_path):
    plan = plan_of(10, 4)
    run(tmp_path, plan, RowsTask(tmp_path, failing_rows=frozenset({5})))
    with pytest.raises(KilledError):
        run(tmp_path, plan, RowsTask(tmp_path, {1: Death.KILL_AFTER}), retry_failed=True)
    committed = Journal(tmp_path, plan.fingerprint.digest).committed(plan.shards)
    assert [record.shard.index for record in committed] == [0, 2]


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
