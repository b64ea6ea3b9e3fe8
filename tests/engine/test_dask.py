import io
import os
import signal
import socket
from dataclasses import dataclass

import pytest
from distributed import LocalCluster
from rich.console import Console

from engine.stub import FOLDER, Death, RowsTask, plan_of, rows_written
from normpipe.engine.dask import DaskExecutor
from normpipe.engine.journal import Journal
from normpipe.engine.progress import Progress
from normpipe.engine.run import execute
from normpipe.errors import UsageError


def run(out, plan, task, executor):
    return execute(out, plan, task, executor, Progress(plan.rows, Console(file=io.StringIO())), folders=[FOLDER])


@dataclass
class KillsItsWorker(RowsTask):
    victim: int = 0

    def run(self, shard, advance):
        if shard.index == self.victim:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(shard, advance)


@dataclass
class CannotPrepare(RowsTask):
    def prepare(self):
        raise UsageError("no model here")


def test_processes_write_every_row_once_and_report_failed_shards(tmp_path):
    plan = plan_of(20, 3)
    summary = run(tmp_path, plan, RowsTask(tmp_path, {2: Death.ERROR_BEFORE}), DaskExecutor(workers=2))
    assert [(failure.shard.index, failure.message) for failure in summary.failures] == [(2, "No space left on device")]
    assert rows_written(tmp_path) == [row for row in range(20) if row not in (6, 7, 8)]


def test_workers_see_one_thread_and_no_telemetry(tmp_path):
    @dataclass
    class WritesItsEnvironment(RowsTask):
        def run(self, shard, advance):
            names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK")
            (self.out / "environment").write_text(" ".join(os.environ.get(name, "unset") for name in names))
            return super().run(shard, advance)

    run(tmp_path, plan_of(1, 1), WritesItsEnvironment(tmp_path), DaskExecutor(workers=1))
    assert (tmp_path / "environment").read_text() == "1 1 1 1"


@pytest.mark.slow
def test_a_shard_that_kills_its_workers_stays_pending_and_the_rest_is_done(tmp_path):
    plan = plan_of(8, 2)
    summary = run(tmp_path, plan, KillsItsWorker(tmp_path, victim=1), DaskExecutor(workers=2))
    assert [failure.shard.index for failure in summary.failures] == [1]
    assert "workers died" in summary.failures[0].message
    committed = Journal(tmp_path, plan.fingerprint.digest).committed(plan.shards)
    assert [record.shard.index for record in committed] == [0, 2, 3]


def test_a_worker_that_cannot_prepare_ends_the_run_with_its_own_words(tmp_path):
    with pytest.raises(UsageError, match="no model here"):
        run(tmp_path, plan_of(2, 1), CannotPrepare(tmp_path), DaskExecutor(workers=1))


def test_a_running_scheduler_serves_two_runs(tmp_path):
    with LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        for name in ("first", "second"):
            out = tmp_path / name
            out.mkdir()
            run(out, plan_of(5, 2), RowsTask(out), DaskExecutor(workers=1, scheduler=cluster.scheduler_address))
            assert rows_written(out) == list(range(5))


def test_a_scheduler_that_does_not_answer_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("normpipe.engine.dask._CONNECT_SECONDS", 1)
    with pytest.raises(UsageError, match=r"tcp://127\.0\.0\.1:9: no Dask scheduler"):
        run(tmp_path, plan_of(5, 2), RowsTask(tmp_path), DaskExecutor(workers=1, scheduler="tcp://127.0.0.1:9"))


@pytest.fixture
def taken_port():
    """Somebody listens on the dashboard's usual port: this test, or whoever was there before."""
    try:
        holder = socket.create_server(("127.0.0.1", 8787))
    except OSError:
        yield
        return
    with holder:
        yield


@pytest.mark.usefixtures("taken_port")
def test_a_taken_dashboard_port_is_no_trouble(tmp_path, recwarn):
    lines = []
    run(tmp_path, plan_of(1, 1), RowsTask(tmp_path), DaskExecutor(workers=1, announce=lines.append))
    assert not [warning for warning in recwarn if "8787" in str(warning.message)]
    assert len(lines) == 1
    assert lines[0].startswith("dashboard: http://127.0.0.1:")
    assert ":8787/" not in lines[0]
