import os
import signal
import threading
import time

import pytest

from engine.stub import FOLDER, Death, Harm, RowsTask, plan_of
from normpipe.engine.journal import Journal, ShardRecord
from normpipe.engine.serial import SerialExecutor
from normpipe.engine.signals import Interrupted, interruptible
from normpipe.engine.work import ShardFailure, ShardHeld, Work
from normpipe.errors import UsageError


@pytest.fixture
def out(tmp_path):
    for folder in (FOLDER, "journal"):
        (tmp_path / folder).mkdir()
    return tmp_path


def outcomes_of(task, plan, accepted=frozenset(), **options):
    return SerialExecutor(**options).run(Work(task, Journal(task.out, "digest"), accepted), plan.shards, lambda *_: None)


def test_shards_are_done_in_order_and_each_has_its_outcome(out):
    task = RowsTask(out, {1: Death.ERROR_BEFORE}, failing_rows=frozenset({6, 9}))
    outcomes = list(outcomes_of(task, plan_of(12, 3), accepted=frozenset({3})))
    assert [type(outcome) for outcome in outcomes] == [ShardRecord, ShardFailure, ShardHeld, ShardRecord]
    assert [outcome.shard.index for outcome in outcomes] == [0, 1, 2, 3]
    assert len(task.pids) == 1


def test_a_shard_is_done_when_it_is_asked_for(out):
    task = RowsTask(out)
    outcomes = outcomes_of(task, plan_of(6, 3))
    next(outcomes)
    assert task.done == [0]
    outcomes.close()
    assert task.done == [0]
    assert not is_running(task.pids[0])


def test_what_the_task_refuses_to_prepare_for_is_raised(out):
    class Refuses(RowsTask):
        def prepare(self):
            raise UsageError("no model here")

    with pytest.raises(UsageError, match="no model here"):
        list(outcomes_of(Refuses(out), plan_of(2, 1)))


@pytest.mark.parametrize("harm", [Harm.HANGS, Harm.STOPS])
def test_a_signal_ends_child_and_run_within_seconds(out, harm):
    task = RowsTask(out, harms={4: harm})

    def ask_to_end():
        while not list((out / FOLDER).glob(".part-00001*")):
            time.sleep(0.02)
        asked.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    asked = []
    threading.Thread(target=ask_to_end).start()
    with pytest.raises(Interrupted), interruptible():
        list(outcomes_of(task, plan_of(9, 3)))
    assert time.monotonic() - asked[0] < 5
    assert not is_running(task.pids[0])
    if harm is Harm.HANGS:  # a process that runs tidies up; after one that is stopped, the next run does
        assert not list((out / FOLDER).glob(".part*"))


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
