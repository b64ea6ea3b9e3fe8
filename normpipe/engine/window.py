"""The driver's view of shards on a Dask cluster: which are out, what was told of them, who is there to do them.

Everything that arrives (progress, events, finished shards) goes through one queue and is dealt with in the driver's own thread,
in the order in which it was sent. Workers may come, leave and die at any time: their shards are done elsewhere.
"""

# mypy: disallow-untyped-calls=False
# (distributed types its classes but not their constructors)

import pickle
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from distributed import Client, Future, KilledWorker

from normpipe.engine.tally import Tally
from normpipe.engine.tasks import Advance, Event, EventKind, Observe, Shard
from normpipe.engine.work import Outcome, ShardFailure, describe
from normpipe.errors import NormpipeError

_SHARDS_PER_WORKER = 2
_LOOK_SECONDS = 2.0
_GONE_SECONDS = 60.0
_MOST_KILLED = 3

GOING = (OSError, RuntimeError, CancelledError)
"""What a client raises whose scheduler is going away at this moment."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What a task told its Advance of a shard, in an attempt of which no other has the name."""

    shard: Shard
    attempt: str
    done: int
    ok: int
    failed: int


def packed(told: Counted | Event) -> bytes:
    """What a worker has to tell, as a message that a scheduler passes on."""
    return pickle.dumps(told)


@dataclass(slots=True)
class _Out:
    """A shard that is out, and the attempt at it that was last heard of."""

    shard: Shard
    tally: Tally
    attempt: str = ""
    killed: int = 0


class Window:
    """Keeps a few shards per worker out, and yields what becomes of them.

    Args:
        client: Connected.
        do: The function that a worker runs on a shard.
        resources: What a worker must offer to be given shards, as {"GPU": 1}.
        advance: Told of progress.
        observe: Told of events.
    """

    def __init__(
        self,
        client: Client,
        do: Callable[[Shard], Outcome],
        resources: dict[str, float],
        advance: Advance,
        observe: Observe,
    ) -> None:
        self._client = client
        self._do = do
        self._resources = resources
        self._advance = advance
        self._observe = observe
        self._arrived: SimpleQueue[Future[Outcome] | Counted | Event] = SimpleQueue()
        self._futures: dict[Future[Outcome], _Out] = {}
        self._out: dict[int, _Out] = {}

    def hear(self, event: tuple[float, bytes]) -> None:
        """Take a message of a worker, from the client's thread."""
        self._arrived.put(pickle.loads(event[1]))  # noqa: S301  # from our own worker

    def workers(self) -> int:
        """Workers that can be given shards now.

        Raises:
            NormpipeError: the scheduler does not answer.
        """
        try:
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise _scheduler_is_gone() from error
        return sum(all(worker["resources"].get(name, 0) >= n for name, n in self._resources.items()) for worker in workers)

    def run(self, shards: Sequence[Shard]) -> Iterator[Outcome]:
        """See Executor.

        Raises:
            NormpipeError: all workers, or the scheduler, are gone for good.
        """
        waiting = deque(shards)
        workers = self.workers()
        looked = seen = time.monotonic()
        try:
            while waiting or self._out:
                while waiting and len(self._out) < _SHARDS_PER_WORKER * max(workers, 1):
                    shard = waiting.popleft()
                    self._out[shard.index] = _Out(shard, Tally(self._advance))
                    self._submit(self._out[shard.index])
                yield from self._next_outcome()
                now = time.monotonic()
                if now - looked < _LOOK_SECONDS:
                    continue
                looked, workers = now, self.workers()
                if workers:
                    seen = now
                elif now - seen > _GONE_SECONDS:
                    raise NormpipeError(
                        f"no worker has been there for {_GONE_SECONDS:.0f} s; start some and give the same command to resume"
                    )
        finally:
            if is_connected(self._client):
                with suppress(*GOING):
                    self._client.cancel(list(self._futures))

    def _submit(self, out: _Out) -> None:
        future = self._client.submit(self._do, out.shard, pure=False, resources=self._resources)
        self._futures[future] = out
        future.add_done_callback(self._arrived.put)

    def _next_outcome(self) -> Iterator[Outcome]:
        """Deal with one arrival, for which it waits a moment; at most one outcome."""
        try:
            item = self._arrived.get(timeout=_LOOK_SECONDS)
        except Empty:
            return
        if isinstance(item, Future):
            outcome = self._outcome(item)
            if outcome is not None:
                self._out.pop(outcome.shard.index).tally.settle(outcome)
                yield outcome
        elif item.shard.index not in self._out:
            return  # told by a worker that was taken for dead
        elif isinstance(item, Counted):
            self._count(self._out[item.shard.index], item)
        else:
            self._observe(item)

    def _count(self, out: _Out, told: Counted) -> None:
        if out.attempt not in ("", told.attempt):
            out.tally.reset()
            self._observe(Event(EventKind.LOST, out.shard, None, "done again elsewhere"))
        out.attempt = told.attempt
        out.tally.add(told.done, told.ok, told.failed)

    def _outcome(self, future: "Future[Outcome]") -> Outcome | None:
        """What became of a shard; None while that is not known yet."""
        out = self._futures[future]
        if future.status == "cancelled":
            raise _scheduler_is_gone()
        if future.status == "finished":
            try:
                outcome = future.result(timeout=_LOOK_SECONDS)
            except (OSError, CancelledError):  # the worker has died with the record, or the scheduler; its next word tells
                future.add_done_callback(self._arrived.put)
                return None
            del self._futures[future]
            return outcome
        error = future.exception()
        del self._futures[future]
        if not isinstance(error, KilledWorker):
            return ShardFailure(out.shard, describe(error))
        # A shard cannot kill a worker, so somebody else did, again and again.
        out.killed += 1
        out.tally.reset()
        if out.killed < _MOST_KILLED:
            self._submit(out)
            return None
        return ShardFailure(out.shard, "its workers were killed again and again; have they enough memory?")


def is_connected(client: Client) -> bool:
    """Whether the scheduler can be told anything; trying takes a minute when it is gone."""
    return bool(client.status == "running")


def _scheduler_is_gone() -> NormpipeError:
    return NormpipeError("the Dask scheduler is gone; the same command resumes the run")
