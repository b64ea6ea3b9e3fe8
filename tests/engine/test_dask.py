"""Real clusters, whose workers and children really die."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from distributed import LocalCluster

from engine.stub import FOLDER, Death, Harm, RowsTask, plan_of
from normpipe.engine.dask import DaskExecutor
from normpipe.engine.journal import Journal, ShardRecord
from normpipe.engine.tasks import EventKind
from normpipe.engine.work import ShardFailure, Work
from normpipe.errors import NormpipeError, UsageError

ANY_PORT = {"host": "127.0.0.1", "dashboard_address": None, "threads_per_worker": 1}


@dataclass
class Finished:
    """All that an executor said."""

    outcomes: list = field(default_factory=list)
    counts: list[int] = field(default_factory=lambda: [0, 0, 0])
    events: list = field(default_factory=list)

    def advance(self, *counts):
        self.counts = [told + more for told, more in zip(self.counts, counts, strict=True)]

    @property
    def committed(self):
        return sorted(outcome.shard.index for outcome in self.outcomes if isinstance(outcome, ShardRecord))

    @property
    def failures(self):
        return [outcome for outcome in self.outcomes if isinstance(outcome, ShardFailure)]


def run(task, plan, executor, finished=None):
    finished = finished or Finished()
    for folder in (FOLDER, "journal"):
        (task.out / folder).mkdir(exist_ok=True)
    work = Work(task, Journal(task.out, plan.fingerprint.digest))
    finished.outcomes.extend(executor.run(work, plan.shards, finished.advance, finished.events.append))
    return finished


def rows_in(out):
    return [line for path in sorted((out / FOLDER).iterdir()) for line in path.read_text().splitlines()]


@dataclass
class Slow(RowsTask):
    seconds: float = 0.05

    def probe(self, row):
        time.sleep(self.seconds)
        super().probe(row)


@dataclass
class Refuses(RowsTask):
    def prepare(self):
        raise UsageError("no model here")


def children_of(task):
    return [psutil.Process(pid) for pid in task.pids if psutil.pid_exists(pid)]


def eventually(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_workers_write_every_row_once_and_a_failed_shard_is_an_outcome(tmp_path):
    finished = run(RowsTask(tmp_path, {2: Death.ERROR_BEFORE}), plan_of(20, 3), DaskExecutor(workers=2))
    assert [(failure.shard.index, failure.message) for failure in finished.failures] == [(2, "No space left on device")]
    assert rows_in(tmp_path) == [f"{row}" for row in range(20) if row not in (6, 7, 8)]
    assert finished.counts == [17, 17, 0]


def test_a_row_that_kills_is_excluded_and_no_worker_is_lost(tmp_path):
    finished = run(RowsTask(tmp_path, harms={5: Harm.KILLS}), plan_of(8, 4), DaskExecutor(workers=1))
    assert rows_in(tmp_path) == [f"{row} poison" if row == 5 else f"{row}" for row in range(8)]
    assert [event.kind for event in finished.events] == [EventKind.DIED, EventKind.PROBING, EventKind.EXCLUDED]
    assert finished.counts == [8, 7, 1]


def test_a_task_that_cannot_be_prepared_ends_the_run_with_its_own_words(tmp_path):
    with pytest.raises(UsageError, match="no model here"):
        run(Refuses(tmp_path), plan_of(2, 1), DaskExecutor(workers=1))


def test_a_worker_stays_thin():
    look = "import sys, normpipe.engine.dask; print({'cv2', 'av', 'PIL', 'ai_edge_litert'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", look], stdout=-1, text=True, check=True).stdout == "set()\n"


@pytest.mark.slow
def test_a_worker_killed_in_mid_run_costs_nothing(tmp_path):
    task, plan = Slow(tmp_path), plan_of(80, 8)
    killed = []

    def kill_a_worker():
        eventually(lambda: len(task.pids) == 2 and len(task.done) >= 2)
        child = children_of(task)[0]
        killed.append(child)
        child.parent().send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    finished = run(task, plan, DaskExecutor(workers=2))
    killer.join()
    assert rows_in(tmp_path) == [f"{row}" for row in range(80)]
    assert finished.committed == list(range(10))
    assert finished.counts == [80, 80, 0]
    assert {event.kind for event in finished.events} <= {EventKind.LOST}
    assert not killed[0].is_running()


@pytest.mark.slow
def test_a_stopped_worker_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr("normpipe.engine.dask._SETTINGS", {"distributed.scheduler.worker-ttl": "3 s"})
    task, plan = Slow(tmp_path), plan_of(40, 4)

    def stop_a_worker():
        eventually(lambda: len(task.pids) == 2 and len(task.done) >= 2)
        children_of(task)[0].parent().send_signal(signal.SIGSTOP)

    stopper = threading.Thread(target=stop_a_worker)
    stopper.start()
    finished = run(task, plan, DaskExecutor(workers=2))
    stopper.join()
    assert rows_in(tmp_path) == [f"{row}" for row in range(40)]
    assert finished.committed == list(range(10))
    assert finished.counts == [40, 40, 0]


@pytest.mark.slow
def test_a_run_that_is_left_early_leaves_no_process(tmp_path):
    for folder in (FOLDER, "journal"):
        (tmp_path / folder).mkdir()
    task, plan = RowsTask(tmp_path, harms={5: Harm.HANGS}), plan_of(8, 4)
    outcomes = DaskExecutor(workers=1).run(Work(task, Journal(tmp_path, "digest")), plan.shards, lambda *_: None)
    next(outcomes)
    children = children_of(task)
    started = time.monotonic()
    outcomes.close()
    assert time.monotonic() - started < 15
    assert children
    assert not any(child.is_running() for child in children)


def test_a_running_scheduler_serves_two_runs_by_address_and_by_file(tmp_path):
    with LocalCluster(n_workers=1, **ANY_PORT) as cluster:
        file = tmp_path / "scheduler.json"
        file.write_text(f'{{"address": "{cluster.scheduler_address}"}}')
        for name, scheduler in (("first", cluster.scheduler_address), ("second", f"file:{file}")):
            out = tmp_path / name
            out.mkdir()
            task = RowsTask(out)
            run(task, plan_of(5, 2), DaskExecutor(workers=1, scheduler=scheduler))
            assert rows_in(out) == [f"{row}" for row in range(5)]
            assert not children_of(task)


def test_a_gpu_is_asked_for_before_the_start(tmp_path):
    with (
        LocalCluster(n_workers=1, **ANY_PORT) as cluster,
        pytest.raises(UsageError, match="no worker there offers a GPU"),
    ):
        run(RowsTask(tmp_path), plan_of(5, 2), DaskExecutor(1, cluster.scheduler_address, gpu=True))


@pytest.mark.slow
def test_a_run_whose_workers_are_all_gone_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("normpipe.engine.window._GONE_SECONDS", 2.0)
    task = RowsTask(tmp_path, harms={0: Harm.HANGS})
    with LocalCluster(n_workers=1, **ANY_PORT) as cluster:

        def take_away():
            eventually(lambda: task.pids)
            cluster.scale(0)

        threading.Thread(target=take_away).start()
        with pytest.raises(NormpipeError, match="no worker has been there for 2 s"):
            run(task, plan_of(4, 2), DaskExecutor(1, cluster.scheduler_address))


@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_run_with_one_line(tmp_path, capfd):
    file = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(file), "--no-dashboard"]
    surroundings = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    programs = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{name}", *common, *options],
            stderr=subprocess.DEVNULL,
            env=surroundings,
        )
        for name, options in (("scheduler", ["--host", "127.0.0.1", "--port", "0"]), ("worker", ["--nthreads", "1"]))
    ]
    task = Slow(tmp_path)

    def kill_the_scheduler():
        eventually(lambda: task.done)
        programs[0].kill()

    threading.Thread(target=kill_the_scheduler).start()
    with pytest.raises(NormpipeError, match="the Dask scheduler is gone"):
        run(task, plan_of(200, 5), DaskExecutor(1, f"file:{file}"))
    for program in programs:
        program.terminate()
        program.wait()
    assert not children_of(task)
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_workers_that_join_later_take_part(tmp_path):
    task = Slow(tmp_path, seconds=0.1)
    with LocalCluster(n_workers=1, **ANY_PORT) as cluster:

        def add_one():
            eventually(lambda: task.done)
            cluster.scale(2)

        threading.Thread(target=add_one).start()
        run(task, plan_of(120, 4), DaskExecutor(1, cluster.scheduler_address))
    assert len(task.pids) == 2
    assert rows_in(tmp_path) == [f"{row}" for row in range(120)]


@pytest.mark.parametrize("scheduler", ["tcp://127.0.0.1:9", "file:nowhere.json"])
def test_a_scheduler_that_does_not_answer_is_named(tmp_path, monkeypatch, scheduler):
    monkeypatch.setattr("normpipe.engine.scheduler._CONNECT_SECONDS", 1)
    with pytest.raises(UsageError, match=f"--scheduler {scheduler}: no Dask scheduler"):
        run(RowsTask(tmp_path), plan_of(5, 2), DaskExecutor(workers=1, scheduler=scheduler))


# In a process of its own and without collecting garbage: a client that was refused closes itself when it is collected, and
# waits for a lock for ever if that happens while another one starts.
_KNOCK = """
import gc, sys
from distributed import Client
gc.disable()
kept = []
for door in sys.argv[1:]:
    try:
        Client(door, timeout="2s")
        print("open", flush=True)
    except (OSError, TypeError) as error:
        kept.append(error)
        print("refused", flush=True)
"""


def test_strangers_on_the_machine_cannot_use_the_workers(tmp_path):
    seen = {}

    def knock():
        """What a client without the certificate gets from every port that the run listens on."""
        doors = [f"{scheme}://127.0.0.1:{port}" for port in seen["ports"] - {seen["dashboard"]} for scheme in ("tcp", "tls")]
        answers = subprocess.check_output([sys.executable, "-c", _KNOCK, *doors], text=True, timeout=100)
        seen["answers"] = dict(zip(doors, answers.split(), strict=True))

    def ports(family):
        return {one.laddr.port for process in family for one in process.net_connections() if one.status == psutil.CONN_LISTEN}

    task = Slow(tmp_path, seconds=0.2)
    me, before = psutil.Process(), ports([psutil.Process()])
    lines = []

    def watch():
        eventually(lambda: task.done)
        seen["dashboard"] = int(lines[0].rsplit(":", 1)[1].split("/")[0])
        seen["ports"] = ports([me, *me.children(recursive=True)]) - before
        knock()

    watcher = threading.Thread(target=watch)
    watcher.start()
    run(task, plan_of(60, 4), DaskExecutor(workers=1, announce=lines.append))
    watcher.join()
    assert len(seen["answers"]) >= 4  # the scheduler's and the worker's, by either scheme
    assert set(seen["answers"].values()) == {"refused"}


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
    run(RowsTask(tmp_path), plan_of(1, 1), DaskExecutor(workers=1, announce=lines.append))
    assert not [warning for warning in recwarn if "8787" in str(warning.message)]
    assert len(lines) == 1
    assert lines[0].startswith("dashboard: http://127.0.0.1:")
    assert ":8787/" not in lines[0]
