"""Real processes that really die, hang and stop."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from engine.stub import FOLDER, Death, Harm, RowsTask, plan_of
from normpipe.engine.journal import Journal, ShardRecord
from normpipe.engine.supervisor import Supervisor, SupervisorClosedError, pack
from normpipe.engine.tasks import EventKind, Shard
from normpipe.engine.work import ShardFailure, Work
from normpipe.errors import IncompatibleRunError, NormpipeError
from normpipe.records import Reason

DEADLINE = 0.7
SHARD = Shard(0, 0, 10)


@dataclass
class Watcher:
    """What a supervisor tells its owner."""

    counts: list[int] = field(default_factory=lambda: [0, 0, 0])
    events: list = field(default_factory=list)

    def advance(self, *counts):
        self.counts = [told + more for told, more in zip(self.counts, counts, strict=True)]

    @property
    def kinds(self):
        return [event.kind for event in self.events]


@pytest.fixture
def out(tmp_path):
    for folder in (FOLDER, "journal"):
        (tmp_path / folder).mkdir()
    return tmp_path


@contextmanager
def supervised(task, deadline=20.0):
    with Supervisor(pack(Work(task, Journal(task.out, "digest"))), deadline) as supervisor:
        yield supervisor


def do(task, shard=SHARD, **options):
    watcher = Watcher()
    with supervised(task, **options) as supervisor:
        return supervisor.do(shard, watcher.advance, watcher.events.append), watcher


def lines(out, shard=SHARD):
    return (out / FOLDER / f"{shard.name}.txt").read_text().splitlines()


def is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def eventually(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
    return True


def test_one_child_prepares_once_and_does_all_shards(out):
    task, watcher = RowsTask(out), Watcher()
    with supervised(task) as supervisor:
        supervisor.prepare()
        for shard in plan_of(9, 3).shards:
            assert isinstance(supervisor.do(shard, watcher.advance, watcher.events.append), ShardRecord)
        (child,) = task.pids
        assert child != os.getpid()
    assert is_gone(child)
    assert (watcher.counts, watcher.events) == ([9, 9, 0], [])


def test_a_row_that_kills_is_excluded_and_the_others_are_undisturbed(out):
    outcome, watcher = do(RowsTask(out, harms={6: Harm.KILLS}))
    assert lines(out) == [f"{row} poison" if row == 6 else f"{row}" for row in range(10)]
    assert outcome.result.failed == {Reason.POISON: 1}
    assert watcher.counts == [10, 9, 1]
    assert watcher.kinds == [EventKind.DIED, EventKind.PROBING, EventKind.EXCLUDED]
    assert [(event.row, event.detail) for event in watcher.events] == [(None, "killed by SIGKILL"), (6, ""), (6, "poison")]


@pytest.mark.parametrize("harm", [Harm.HANGS, Harm.STOPS])
def test_a_row_that_hangs_is_excluded_as_a_timeout(out, harm):
    task = RowsTask(out, harms={2: harm})
    outcome, watcher = do(task, deadline=DEADLINE)
    assert outcome.result.failed == {Reason.TIMEOUT: 1}
    assert (watcher.kinds[0], watcher.events[0].detail) == (EventKind.HUNG, "nothing heard for 0.7 s")
    assert all(is_gone(pid) for pid in task.pids)


def test_two_harmful_rows_side_by_side_are_both_found(out):
    outcome, _ = do(RowsTask(out, harms={4: Harm.KILLS, 5: Harm.KILLS}))
    assert outcome.result.failed == {Reason.POISON: 2}
    assert [line for line in lines(out) if "poison" in line] == ["4 poison", "5 poison"]


def test_a_death_by_accident_costs_no_row(out):
    outcome, watcher = do(RowsTask(out, harms_once={6: Harm.KILLS}))
    assert (outcome.result.ok, watcher.counts) == (10, [10, 10, 0])
    assert watcher.kinds == [EventKind.DIED, EventKind.PROBING, EventKind.NO_CULPRIT]


def test_a_row_that_survives_its_second_probe_is_no_culprit(out):
    @dataclass
    class DiesTwice(RowsTask):
        def probe(self, row):
            if row == 3 and self._lines("met").count("3") < 2:
                self._note("met", row)
                os.kill(os.getpid(), signal.SIGKILL)

    assert do(DiesTwice(out))[0].result.failed == {}


def test_a_shard_that_dies_three_times_without_a_culprit_fails(out):
    @dataclass
    class DiesAsAWhole(RowsTask):
        def run(self, shard, advance, excluded):
            os.abort()

    task = DiesAsAWhole(out)
    outcome, watcher = do(task)
    assert isinstance(outcome, ShardFailure)
    assert "lost 3 times (killed by SIGABRT) and no single row does it" in outcome.message
    assert watcher.kinds == [EventKind.DIED, EventKind.PROBING, EventKind.NO_CULPRIT] * 3


def test_an_interrupt_raised_by_the_task_is_a_death_like_any_other(out):
    outcome, watcher = do(RowsTask(out, {0: Death.KILL_AFTER}))
    assert "(exit code 1)" in outcome.message
    assert watcher.counts == [0, 0, 0]


def test_a_child_killed_between_shards_is_replaced_without_a_word(out):
    task, watcher = RowsTask(out), Watcher()
    with supervised(task) as supervisor:
        supervisor.prepare()
        os.kill(task.pids[0], signal.SIGKILL)
        time.sleep(0.3)
        assert isinstance(supervisor.do(SHARD, watcher.advance, watcher.events.append), ShardRecord)
    assert (len(task.pids), watcher.events) == (2, [])


def test_counts_of_what_is_not_committed_are_taken_back(out):
    held, watcher = do(RowsTask(out, failing_rows=frozenset({3})))
    assert (held.failed, watcher.counts) == ({Reason.VANISHED: 1}, [0, 0, 0])


@pytest.mark.parametrize("kind", [NormpipeError, IncompatibleRunError])
def test_a_task_that_cannot_be_prepared_speaks_for_itself(out, kind):
    with supervised(Refuses(out, error=kind("what to do"))) as supervisor, pytest.raises(NormpipeError) as refusal:
        supervisor.prepare()
    assert (type(refusal.value), str(refusal.value)) == (kind, "what to do")


def test_any_other_error_of_preparing_is_one_line_without_paths(out):
    with supervised(Refuses(out, error=ValueError("/home/jane"))) as supervisor, pytest.raises(NormpipeError) as refusal:
        supervisor.prepare()
    assert re.fullmatch(r"a process cannot be prepared for the work: ValueError at normpipe/\S+", str(refusal.value))


def test_a_death_while_preparing_is_told(out):
    with supervised(Refuses(out, error=None)) as supervisor, pytest.raises(NormpipeError, match="killed by SIGKILL"):
        supervisor.prepare()


@dataclass
class Refuses(RowsTask):
    """Raises, or dies, in prepare."""

    error: Exception | None = None

    def prepare(self):
        if self.error is None:
            os.kill(os.getpid(), signal.SIGKILL)
        raise self.error


def test_closing_ends_a_child_that_hangs(out):
    task = RowsTask(out, harms={0: Harm.HANGS})
    with supervised(task) as supervisor:
        supervisor.prepare()
        started = time.monotonic()
        threading.Timer(0.3, supervisor.close).start()
        with pytest.raises(SupervisorClosedError):
            supervisor.do(SHARD, lambda *_: None, lambda _: None)
    assert time.monotonic() - started < 5
    assert is_gone(task.pids[0])


def test_what_native_code_prints_goes_nowhere(out, capfd):
    @dataclass
    class Prints(RowsTask):
        def prepare(self):
            super().prepare()
            for descriptor in (1, 2):
                os.write(descriptor, b"/home/jane/secret.jpg")

    do(Prints(out))
    assert capfd.readouterr() == ("", "")


def test_a_child_has_one_thread_no_telemetry_and_writes_no_core(out):
    @dataclass
    class WritesItsEnvironment(RowsTask):
        def prepare(self):
            import resource

            names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK")
            values = [os.environ.get(name, "unset") for name in names]
            values.append(str(resource.getrlimit(resource.RLIMIT_CORE)[0]))
            (self.out / "environment").write_text(" ".join(values))

    do(WritesItsEnvironment(out))
    assert (out / "environment").read_text() == "1 1 1 1 0"


OWNER = """
import sys
from pathlib import Path
from engine.stub import Harm, RowsTask
from normpipe.engine.journal import Journal
from normpipe.engine.supervisor import Supervisor, pack
from normpipe.engine.tasks import Shard
from normpipe.engine.work import Work

task = RowsTask(Path(sys.argv[1]), harms={5: Harm[sys.argv[2]]}, token="owned")
with Supervisor(pack(Work(task, Journal(task.out, "digest"))), 60) as supervisor:
    supervisor.do(Shard(0, 0, 10), lambda *_: None, lambda _: None)
"""


@pytest.mark.parametrize("harm", ["HANGS", "STOPS"])
def test_a_child_dies_with_its_owner(out, harm):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(out), harm], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    )
    task = RowsTask(out, token="owned")
    assert eventually(lambda: task.pids and list((out / FOLDER).glob(".*")))
    owner.kill()
    owner.wait()
    assert eventually(lambda: is_gone(task.pids[0]), seconds=2)
