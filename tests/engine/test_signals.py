import os
import signal

import pytest

from normpipe.engine.signals import Interrupted, interruptible


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_becomes_an_exception_with_its_exit_code(number, exit_code):
    with pytest.raises(Interrupted) as stop, interruptible():
        os.kill(os.getpid(), number)
    assert stop.value.exit_code == exit_code


def test_the_old_handlers_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted), interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
