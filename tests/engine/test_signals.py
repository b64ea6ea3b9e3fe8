import os
import signal
import subprocess
import sys

import pytest

from normpipe.engine.signals import Interrupted, held_back, interruptible


@pytest.fixture(autouse=True)
def heeded():
    """Also where the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_becomes_an_exception_with_its_exit_code(number, exit_code):
    with pytest.raises(Interrupted) as stop, interruptible():
        os.kill(os.getpid(), number)
    assert stop.value.exit_code == exit_code


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_old_handlers_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted), interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_held_back_arrives_when_the_block_ends(number):
    reached = []

    def work():
        with interruptible(), held_back():
            os.kill(os.getpid(), number)
            reached.append("the end")

    with pytest.raises(Interrupted):
        work()
    assert reached == ["the end"]


def test_a_signal_that_is_held_back_wins_over_the_error_it_caused():
    def work():
        with interruptible(), held_back():
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError("a child died of the same signal")

    with pytest.raises(Interrupted):
        work()


def test_processes_started_while_signals_are_held_back_do_not_see_ctrl_c():
    with held_back():
        child = subprocess.Popen([sys.executable, "-c", "import os; os.kill(os.getpid(), 2); print('alive')"], stdout=-1)
    assert child.communicate()[0] == b"alive\n"
