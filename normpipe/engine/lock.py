"""One live run per output folder.

Where the file system has locks, the system holds one for the process and frees it however the process dies. Where it has none
(some network and object-store mounts), a lease stands in: a file with a random token and a counter that the holder raises every
few seconds. No clock is compared, since machines disagree on the time: who wants the folder watches whether the counter moves.
A counter that stands still may belong to a dead run or to one that is merely stopped, so only the user can take it over; a
holder that finds another token in its lease ends at once.
"""

import errno
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from normpipe.errors import IncompatibleRunError, UsageError
from normpipe.shards.atomic import write_bytes

LEASE_SECONDS = 3.0
"""Pause between two raises of the counter; three pauses without one count as standing still."""

_LOCK_FILE = ".lock"
_LEASE_FILE = ".lease"
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_HELD = "another run is writing there; wait for it or choose another OUT"


@contextmanager
def locked(out: Path, takeover: bool = False) -> Iterator[None]:
    """Create `out` and hold it for this process.

    Args:
        out: The run's folder.
        takeover: Take a lease that stands still; without meaning where the file system has locks.

    Raises:
        IncompatibleRunError: another live run holds it, a lease stands still and `takeover` is not given, or, at any moment,
            the lease was taken over by another run.
        UsageError: the folder cannot be created or written.
    """
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            lock = FileLock(out / _LOCK_FILE, fallback_to_soft=False)
            try:
                lock.acquire(timeout=0)
                stack.callback(lock.release)
            except OSError as error:
                if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
                    raise
                stack.enter_context(_leased(out, takeover))
        except Timeout as error:
            raise IncompatibleRunError(f"{out.name}: {_HELD}") from error
        except OSError as error:
            raise UsageError(f"{out.name}: cannot write to this folder ({error.strerror}); choose another OUT") from error
        yield


def is_locked(out: Path) -> bool:
    """Whether a live run holds the folder; of a lease, this takes some seconds to see."""
    if (out / _LEASE_FILE).is_file() and _moves(out / _LEASE_FILE):
        return True
    if not (out / _LOCK_FILE).is_file():
        return False
    lock = FileLock(out / _LOCK_FILE, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False  # no locks here, or a folder that may only be read: nobody can hold it
    lock.release()
    return False


@contextmanager
def _leased(out: Path, takeover: bool) -> Iterator[None]:
    path = out / _LEASE_FILE
    token = secrets.token_hex(8)
    if not _create(path, _content(token, 0)):
        if _moves(path):
            raise IncompatibleRunError(f"{out.name}: {_HELD}")
        if not takeover:
            raise IncompatibleRunError(
                f"{out.name}: another run holds this folder but gives no sign of life; "
                "make sure that it is dead, then give the command again with --takeover"
            )
        write_bytes(path, _content(token, 0))
        time.sleep(LEASE_SECONDS)  # of two that take over at once the later one stays
        if not _is_ours(path, token):
            raise IncompatibleRunError(f"{out.name}: {_HELD}")
    holder = _Holder(path, token)
    holder.start()
    try:
        yield
    except KeyboardInterrupt as stop:
        if holder.lost:
            raise IncompatibleRunError(f"{out.name}: another run has taken this folder over; this one has stopped") from stop
        raise
    finally:
        holder.stop()
        if not holder.lost and _is_ours(path, token):
            path.unlink(missing_ok=True)


class _Holder(threading.Thread):
    """Raises the counter of a lease, and interrupts the main thread when the lease is another's."""

    def __init__(self, path: Path, token: str) -> None:
        super().__init__(name="lease", daemon=True)
        self._path = path
        self._token = token
        self._stopped = threading.Event()
        self.lost = False

    def run(self) -> None:
        """See Thread."""
        count = 0
        while not self._stopped.wait(LEASE_SECONDS):
            if not _is_ours(self._path, self._token):
                self.lost = True
                _interrupt_main()
                return
            count += 1
            with suppress(OSError):  # a disk that is full or away for a while; the file stays ours
                write_bytes(self._path, _content(self._token, count), durable=False)

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self.join()


def _interrupt_main() -> None:
    """As a request to stop would, which `interruptible` makes an exception: also a main thread that waits wakes up."""
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGTERM)


def _create(path: Path, content: bytes) -> bool:
    """Write a new file; False when there is one already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return True


def _moves(path: Path) -> bool:
    """Whether the lease changes, or goes, within three pauses."""
    seen = _read(path)
    for _ in range(12):
        time.sleep(LEASE_SECONDS / 4)
        if _read(path) != seen:
            return True
    return False


def _is_ours(path: Path, token: str) -> bool:
    """A lease that cannot be read for the moment counts as ours: only another's token ends a run."""
    content = _read(path)
    return content is None or content.split(b" ")[0] == token.encode()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _content(token: str, count: int) -> bytes:
    return f"{token} {count}\n".encode()
