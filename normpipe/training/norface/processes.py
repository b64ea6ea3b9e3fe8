"""Work shared out among processes of one thread each: parts of examples, and of targets to draw, are made so."""

import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection

from normpipe.engine.signals import held_back
from normpipe.engine.threads import limit_libraries, steady_environment
from normpipe.errors import NormpipeError


def done_in_processes(tasks: Sequence[Callable[[], None]], workers: int, folder: str) -> Generator[int]:
    """Do tasks, each a function of a module with its arguments, and give the number of each as it is done; in any order.

    Whoever closes the generator, or dies, ends the processes too.

    Raises:
        NormpipeError: a process died; `folder` is named. What a task raises is raised as well.
    """
    if not tasks:
        return
    context = get_context("spawn")
    hears, speaks = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(hears,))
    try:
        with held_back(), _steady():  # processes are started as work comes in
            pending = {pool.submit(task): number for number, task in enumerate(tasks)}
        for future in as_completed(pending):
            future.result()
            yield pending[future]
    except BrokenProcessPool as error:
        raise NormpipeError(
            f"{folder}: a process that makes {folder} died, perhaps for want of memory; the finished parts are kept: "
            "build again, with fewer workers"
        ) from error
    finally:
        speaks.close()  # whoever is still at work leaves at once
        hears.close()
        pool.shutdown(cancel_futures=True)


def _begin(parent: Connection) -> None:
    """First of all in each process."""
    limit_libraries()
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: Connection) -> None:
    """End this process when the other end is closed, by intent or because its process died."""
    with suppress(EOFError):
        parent.recv_bytes()
    os._exit(1)


@contextmanager
def _steady() -> Iterator[None]:
    """Processes started in this block compute with one thread, and with nothing that would change their results."""
    before = dict(os.environ)
    steady = steady_environment(before)
    try:
        _set_environment(steady)
        yield
    finally:
        _set_environment(before)


def _set_environment(variables: dict[str, str]) -> None:
    for name in set(os.environ) - set(variables):
        del os.environ[name]
    os.environ.update(variables)
