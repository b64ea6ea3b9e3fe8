"""One shard, from start to outcome, as every executor runs it; and the only place where any exception becomes an outcome."""

import os
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from normpipe.engine.journal import Journal, ShardRecord
from normpipe.engine.renewal import kept
from normpipe.engine.tasks import Advance, Observe, Shard, ShardResult, ShardTask
from normpipe.errors import NormpipeError
from normpipe.records import Reason, ReasonClass

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class ShardHeld:
    """A shard that was finished and is not committed, since some rows failed for reasons that may pass.

    Its files are gone; where it had been committed before, those of the earlier record are in their place.

    Attributes:
        shard: Which one.
        failed: The rows in question, by reason.
    """

    shard: Shard
    failed: dict[Reason, int]


@dataclass(frozen=True, slots=True)
class ShardFailure:
    """A shard that could not be finished and stays pending.

    Attributes:
        shard: Which one.
        message: Why, in words that hold no path of the user's.
        unwritable: Whether the run's folder was the trouble, as it will be for the next shard.
    """

    shard: Shard
    message: str
    unwritable: bool = False


Outcome = ShardRecord | ShardHeld | ShardFailure


@dataclass(frozen=True, slots=True)
class Work:
    """A task and the journal it commits to: picklable, so that every process gets its own copy.

    Attributes:
        task: What to do with a shard.
        journal: Where finished shards are recorded.
        accepted: Indices of shards that are committed whatever their rows failed of.
        renewed: Records of shards that are done again, by index: they stand unless fewer rows fail now.
    """

    task: ShardTask
    journal: Journal
    accepted: frozenset[int] = frozenset()
    renewed: Mapping[int, ShardRecord] = field(default_factory=dict)

    def do(self, shard: Shard, advance: Advance, excluded: Mapping[int, Reason]) -> Outcome:
        """Run one shard and commit it, or say why not."""
        try:
            earlier = self.renewed.get(shard.index)
            if earlier is not None:
                return self._renew(earlier, advance, excluded)
            result = self.task.run(shard, advance, excluded)
            passing = {} if shard.index in self.accepted else _may_pass(result, excluded)
            if passing:
                for file in result.files:
                    (self.journal.out / file.path).unlink(missing_ok=True)
                return ShardHeld(shard, passing)
            return self.journal.commit(shard, result)
        except Exception as error:  # noqa: BLE001  # the boundary: one shard's error, whatever it is, must not end a long run
            return ShardFailure(shard, describe(error), unwritable=isinstance(error, OSError))

    def _renew(self, earlier: ShardRecord, advance: Advance, excluded: Mapping[int, Reason]) -> Outcome:
        with kept(self.journal.out, earlier.result.files) as old:
            result = self.task.run(earlier.shard, advance, excluded)
            left = {reason: count for reason, count in result.failed.items() if reason.may_pass_again}
            if sum(left.values()) >= _worth_another_attempt(earlier.result):
                return ShardHeld(earlier.shard, left)
            record = self.journal.commit(earlier.shard, result)
            old.forget()
            return record


class Executor(Protocol):
    """Runs shards somewhere and yields their outcomes as they complete, in any order."""

    def run(
        self, work: Work, shards: Sequence[Shard], advance: Advance, observe: Observe = lambda _: None
    ) -> Iterator[Outcome]:
        """Prepare the processes, run all `shards`, yield one outcome for each.

        When an outcome is yielded, `advance` has been told exactly what that outcome says: nothing for a shard that was not
        committed. Both callbacks may come from another thread. Leaving the iterator early (an exception, an interrupt) drops
        what is in flight; what was committed stays.

        Raises:
            NormpipeError: the processes cannot be started or prepared, or all workers are gone.
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
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        return f"the module {error.name} is not installed"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(_PACKAGE)]
    place = f" at {Path(own[-1].filename).relative_to(_PACKAGE.parent)}:{own[-1].lineno}" if own else ""
    return f"{type(error).__name__}{place}"


def _may_pass(result: ShardResult, excluded: Mapping[int, Reason]) -> dict[Reason, int]:
    """Failed rows that may succeed when the shard is done again; the excluded ones (all poison is) have had their attempts."""
    tried = Counter(excluded.values()) + Counter(result.settled)
    left = {reason: count - tried[reason] for reason, count in result.failed.items() if reason is not Reason.POISON}
    return {reason: count for reason, count in left.items() if count > 0 and reason.reason_class is ReasonClass.ENVIRONMENT}


def _worth_another_attempt(result: ShardResult) -> int:
    return sum(count for reason, count in result.failed.items() if reason.may_pass_again)
