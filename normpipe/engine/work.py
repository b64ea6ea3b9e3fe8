"""One shard, from start to commit, as every executor runs it; and the only place where any exception becomes an outcome."""

import os
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from normpipe.engine.journal import Journal, ShardRecord
from normpipe.engine.tasks import Advance, Shard, ShardTask
from normpipe.errors import NormpipeError

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class ShardFailure:
    """A shard that was not committed and stays pending. `message` holds no path of the user's."""

    shard: Shard
    message: str


Outcome = ShardRecord | ShardFailure


@dataclass(frozen=True, slots=True)
class Work:
    """A task and the journal it commits to: picklable, so that workers get their own copy."""

    task: ShardTask
    journal: Journal

    def do(self, shard: Shard, advance: Advance) -> Outcome:
        """Run and commit one shard."""
        try:
            return self.journal.commit(shard, self.task.run(shard, advance))
        except Exception as error:  # noqa: BLE001  # the boundary: one shard's error, whatever it is, must not end a long run
            return ShardFailure(shard, describe(error))


class Executor(Protocol):
    """Runs shards somewhere and yields their outcomes as they complete, in any order."""

    def run(self, work: Work, shards: Sequence[Shard], advance: Advance) -> Iterator[Outcome]:
        """Prepare the workers, run all `shards`, yield one outcome for each.

        Leaving the iterator early (an exception, an interrupt) drops what is in flight; what was committed stays.

        Raises:
            NormpipeError: the workers cannot be started or prepared.
        """
        ...


def describe(error: BaseException) -> str:
    """One line on an exception, free of paths: our own messages whole, the system's word, or type and place in the code."""
    if isinstance(error, NormpipeError):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    if isinstance(error, MemoryError):
        return "out of memory"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(_PACKAGE)]
    place = f" at {Path(own[-1].filename).relative_to(_PACKAGE.parent)}:{own[-1].lineno}" if own else ""
    return f"{type(error).__name__}{place}"
