"""SIGINT, SIGTERM and SIGHUP as an exception in the main thread: `with` blocks clean up, and the exit code tells which."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _heeded() -> list[int]:
    """All but a SIGHUP that nohup has made this process ignore."""
    return [number for number in _SIGNALS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


class Interrupted(KeyboardInterrupt):
    """The user or the system asked the run to stop; it can be resumed."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def held_back() -> Iterator[None]:
    """Let a signal wait for the end of the block, in which processes are being started.

    They never see SIGINT: a terminal sends Ctrl-C to them as well, and they would answer it with tracebacks of their own.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    previous = {number: signal.signal(number, lambda which, _: caught.append(which)) for number in _heeded()}
    resource_tracker.ensure_running()  # its start, which every spawn makes sure of, lifts the mask
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # threads and processes inherit it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in previous.items():
            signal.signal(number, handler)
        if caught:  # also when the block failed, which the signal may have caused
            signal.raise_signal(caught[0])


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted on the first signal; a second one ends the process at once, which is safe as well."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        for each in previous:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)

    previous = {number: signal.signal(number, stop) for number in _heeded()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
