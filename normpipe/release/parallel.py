"""Several files at a time, and of each its next rows while the last are written.

The first file that fails ends the others at their next piece, and so does a signal.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


class HaltedError(Exception):
    """Another file failed or the user interrupted; raised in threads whose outcome nobody asks for any more."""


class Halt:
    """Tells threads to stop where they can."""

    def __init__(self) -> None:
        self._event = Event()

    def set(self) -> None:
        """From now on `check` raises."""
        self._event.set()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            HaltedError: not.
        """
        if self._event.is_set():
            raise HaltedError


def in_parallel(work: Callable[[_T], _R], items: Iterable[_T], jobs: int, halt: Halt) -> list[_R]:
    """Results of `work` for every item, in order, found by `jobs` threads. Raises what the first of them raises."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in as_completed(futures):
                future.result()
            return [future.result() for future in futures]
        except BaseException:
            halt.set()
            for future in futures:
                future.cancel()
            raise


def ahead(items: Iterator[_T]) -> Iterator[_T]:
    """The same items, each made by another thread while the caller works on the one before."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(_next, items)
        while made := coming.result():
            coming = maker.submit(_next, items)
            yield made[0]


def _next(items: Iterator[_T]) -> tuple[_T] | tuple[()]:
    for item in items:
        return (item,)
    return ()
