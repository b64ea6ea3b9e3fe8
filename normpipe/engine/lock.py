"""One live run per output folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from normpipe.errors import IncompatibleRunError, UsageError

_LOCK_FILE = ".lock"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Create `out` and hold its lock; the system frees it when the process dies, however it dies.

    Raises:
        IncompatibleRunError: another live run holds it.
        UsageError: the folder cannot be created or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / _LOCK_FILE)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise IncompatibleRunError(f"{out.name}: another run is writing there; wait for it or choose another OUT") from error
    except OSError as error:
        raise UsageError(f"{out.name}: cannot write to this folder ({error.strerror}); choose another OUT") from error
    try:
        yield
    finally:
        lock.release()


def is_locked(out: Path) -> bool:
    """Whether a live run holds the folder."""
    if not (out / _LOCK_FILE).is_file():
        return False
    lock = FileLock(out / _LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
