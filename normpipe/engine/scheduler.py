"""A Dask scheduler that somebody else has started, as a client meets it: found by address or file, or told of in one line."""

# mypy: disallow-untyped-calls=False
# (distributed types its classes but not their constructors)

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from distributed import Client

from normpipe.engine.window import GOING
from normpipe.engine.work import describe
from normpipe.errors import NormpipeError, UsageError

_CONNECT_SECONDS = 60
_FILE_PREFIX = "file:"


@contextmanager
def connected(scheduler: str) -> Iterator[Client]:
    """A client of a scheduler that has workers; it is closed at the end of the block.

    Args:
        scheduler: Its address ("tcp://host:8786"), or the file that it writes ("file:scheduler.json").

    Raises:
        UsageError: none answers there, it has no workers, or it wants a certificate.
    """
    started = time.monotonic()
    try:
        client = Client(_address(scheduler), timeout=_CONNECT_SECONDS)
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--scheduler {spoken(scheduler)}: no Dask scheduler with workers answers there "
            f"(after {time.monotonic() - started:.0f} s); check the address and that workers have joined"
        ) from error
    except TypeError as error:  # what Dask raises for want of a certificate
        raise UsageError(
            f"--scheduler {spoken(scheduler)}: it wants encryption; set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, "
            "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"
        ) from error
    try:
        yield client
    finally:
        with suppress(*GOING):  # a scheduler is often stopped together with its driver
            client.close()


def spoken(scheduler: str) -> str:
    """The address, or the name of the scheduler's file without its folders."""
    if not scheduler.startswith(_FILE_PREFIX):
        return scheduler
    return f"{_FILE_PREFIX}{Path(scheduler.removeprefix(_FILE_PREFIX)).name}"


def unprepared(error: Exception) -> NormpipeError:
    """What to say of whatever stands in the way on a foreign worker."""
    return NormpipeError(f"a worker cannot be prepared ({describe(error)}); is the same normpipe installed where it runs?")


def quieten() -> None:
    """Keep tracebacks of the driver's event loop off the terminal: a call that a signal interrupts leaves some.

    For good: its thread may log after everything has been closed. What fails in a run is told by its outcomes.
    """
    for name in ("tornado.application", "asyncio", "distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _address(scheduler: str) -> str:
    """The address itself, or what the scheduler writes to its file as soon as it is up."""
    if not scheduler.startswith(_FILE_PREFIX):
        return scheduler
    end = time.monotonic() + _CONNECT_SECONDS
    while True:
        try:
            return str(json.loads(Path(scheduler.removeprefix(_FILE_PREFIX)).read_bytes())["address"])
        except (OSError, ValueError, KeyError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
