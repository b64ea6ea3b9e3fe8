"""The ranks of a training on the workers of a Dask cluster: started, listened to, and ended together.

Each worker keeps one rank (rank_task.py) in a process of its own (rank_process.py). Nothing is started again: a rank that is
lost ends the others, and the same command goes on from the last checkpoint.
"""

# mypy: disallow-untyped-calls=False
# (distributed types its classes but not their constructors)

import pickle
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from distributed import Client, Future

from normpipe.classify.rank_process import Finished, RankWork, Refused, Said
from normpipe.classify.rank_task import Begun, Lost, Outcome, Over, Ticket, Told, keep_rank
from normpipe.classify.seats import GPU, Seat, seats, variables
from normpipe.engine.scheduler import connected, quieten
from normpipe.engine.window import GOING, is_connected
from normpipe.engine.work import describe
from normpipe.errors import NormpipeError, RankLostError

_LOOK_SECONDS = 2.0
_BUSY_SECONDS = 10.0
_GRACE_SECONDS = 5.0  # for the ranks to say why they have ended
_END_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where ranks run.

    Attributes:
        scheduler: Address of a running scheduler, or the file that it writes, see scheduler.connected.
        ranks: How many of its workers share the training.
    """

    scheduler: str
    ranks: int


def train_on_cluster(work: RankWork, cluster: Cluster, watch: Callable[[str], None]) -> Path:
    """Call session.train_classifiers on every rank, in the folder that this process is in.

    Args:
        work: The training.
        cluster: Where.
        watch: Told what happens, a line each time.

    Returns:
        As train_classifiers.

    Raises:
        UsageError: the cluster cannot be reached or has too few workers; or as of train_classifiers.
        IncompatibleRunError: a worker has other versions; or as of train_classifiers.
        NormpipeError: a rank, its worker or the scheduler is gone; or as of train_classifiers.
        OSError: OUT cannot be written.
    """
    with connected(cluster.scheduler) as client:
        quieten()
        gpu = work.device == "cuda"
        launch = _Launch(client, seats(client, cluster.ranks, Path.cwd(), gpu=gpu), GPU if gpu else {}, watch)
        return launch.run(pickle.dumps(work))


class _Launch:
    """The ranks of one call."""

    def __init__(
        self, client: Client, taken: Sequence[Seat], resources: dict[str, float], watch: Callable[[str], None]
    ) -> None:
        self._client = client
        self._seats = taken
        self._resources = resources
        self._watch = watch
        self._arrived: SimpleQueue[Future[Outcome | None] | Told] = SimpleQueue()
        self._futures: dict[Future[Outcome | None], int] = {}
        self._begun: set[int] = set()
        self._over: set[int] = set()
        self._outcomes: dict[int, Outcome] = {}

    def run(self, work: bytes) -> Path:
        """See train_on_cluster."""
        topic = f"normpipe-{secrets.token_hex(4)}"  # a scheduler that outlives this keeps topics by name
        self._client.subscribe_topic(topic, self._hear)
        try:
            for rank, (seat, own) in enumerate(zip(self._seats, variables(self._seats), strict=True)):
                ticket = Ticket(rank, seat.offer.worker, topic, work, own, Path.cwd())
                future = self._client.submit(
                    keep_rank, ticket, pure=False, workers=[seat.address], allow_other_workers=False, resources=self._resources
                )
                self._futures[future] = rank
                future.add_done_callback(self._arrived.put)
            self._listen()
        finally:
            self._end()
        return _scores(self._outcomes)

    def _hear(self, event: tuple[float, bytes]) -> None:
        """Take a message of a worker, from the client's thread."""
        self._arrived.put(pickle.loads(event[1]))  # noqa: S301  # from our own worker

    def _listen(self) -> None:
        """Until all ranks have come to their end, or one has to a bad one and the others had time to say theirs."""
        started = looked = time.monotonic()
        told = False
        ill: float | None = None
        while len(self._outcomes) < len(self._seats):
            self._take(_LOOK_SECONDS)
            now = time.monotonic()
            if now - looked >= _LOOK_SECONDS:
                looked = now
                self._miss_workers()
            if ill is None and not all(isinstance(each, Finished) for each in self._outcomes.values()):
                ill = now
            if ill is not None and now - ill > _GRACE_SECONDS:
                return
            waiting = len(self._seats) - len(self._begun)
            if waiting and not told and now - started > _BUSY_SECONDS:
                told = True
                self._watch(f"waiting for {waiting} of {len(self._seats)} workers, which are busy")

    def _take(self, seconds: float) -> None:
        """Deal with one arrival, for which it waits."""
        try:
            item = self._arrived.get(timeout=seconds)
        except Empty:
            return
        if isinstance(item, Future):
            self._settle(item)
        else:
            self._note(item)

    def _note(self, told: Told) -> None:
        if isinstance(told, Said):
            self._watch(told.line)
        else:
            (self._begun if isinstance(told, Begun) else self._over).add(told.rank)

    def _settle(self, future: "Future[Outcome | None]") -> None:
        """What became of a rank's task."""
        if future.status == "cancelled":
            raise _scheduler_is_gone()
        outcome: Outcome | None
        if future.status == "finished":
            try:
                outcome = future.result(timeout=_LOOK_SECONDS)
            except GOING:  # the worker has died with it, which is told next
                return
        else:
            error = future.exception()
            assert error is not None, "it has ended, and not well"
            outcome = Refused(NormpipeError(f"a rank of the training cannot be started ({describe(error)})"))
        self._outcomes.setdefault(self._futures[future], outcome or Lost("its worker is leaving"))

    def _miss_workers(self) -> None:
        try:
            there = self._client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise _scheduler_is_gone() from error
        for rank, seat in enumerate(self._seats):
            if seat.address not in there:
                self._outcomes.setdefault(rank, Lost("its worker is gone"))
                self._over.add(rank)

    def _end(self) -> None:
        """End the ranks that are left, and wait until they have ended: the same command finds nobody in its way."""
        if not is_connected(self._client):
            return
        with suppress(*GOING, Empty):
            self._client.cancel(list(self._futures))
            until = time.monotonic() + _END_SECONDS
            while self._begun - self._over and time.monotonic() < until:
                item = self._arrived.get(timeout=_END_SECONDS)
                if isinstance(item, Begun | Over):
                    self._note(item)


def _scores(outcomes: dict[int, Outcome]) -> Path:
    """Of the first rank, if all have finished; else the error that stands behind those of the others."""
    refused = [outcome.error for _, outcome in sorted(outcomes.items()) if isinstance(outcome, Refused)]
    for error in refused:
        if not isinstance(error, RankLostError):
            raise error
    for rank, outcome in outcomes.items():  # in the order in which they were heard of
        if isinstance(outcome, Lost):
            raise RankLostError(f"rank {rank} of the training is lost ({outcome.how}); the same command goes on")
    if refused:
        raise refused[0]
    first = outcomes[0]
    assert isinstance(first, Finished)
    return first.scores


def _scheduler_is_gone() -> NormpipeError:
    return NormpipeError("the Dask scheduler is gone; the same command resumes the training")
