"""The keeper of one child process: it survives whatever a picture does to the process that decodes it.

A shard's process may be killed by a damaged file, by the kernel when memory runs out, or hang in a decoder. The supervisor
notices (the socket closes, or nothing is heard for the deadline), starts a fresh child and looks for the culprit by *probing*:
from the last reported progress on, rows are processed one by one. A row that ends two children is excluded, the shard is run
again without it, and every other row's bytes are as if nothing had happened.
"""

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import cloudpickle

from normpipe.engine.child import Advanced, Answer, Prepared, ProbeRows, Probing, Refused, RunShard, Survived
from normpipe.engine.process import LostError, OwnedProcess
from normpipe.engine.tally import Tally
from normpipe.engine.tasks import Advance, Event, EventKind, Observe, Shard
from normpipe.engine.work import Outcome, ShardFailure, Work
from normpipe.errors import NormpipeError
from normpipe.records import Reason

_MOST_PROBED = 64
_MOST_DEATHS = 3
_MOST_STARTS = 3
_PREPARE_SECONDS = 600.0  # big networks from a cold disk


class SupervisorClosedError(Exception):
    """The supervisor was closed from another thread while a shard was being done."""


def pack(work: Work) -> bytes:
    """The work as a Supervisor takes it: only a child unpacks it, so that its owner's process need not load what it uses."""
    packed: bytes = cloudpickle.dumps(work)
    return packed


class Supervisor:
    """Does shards in a child process; use as a context manager, or close it. One shard at a time; `close` from any thread.

    Args:
        work: From `pack`.
        deadline: Seconds without any sign of life after which a child that does a shard counts as hung.
    """

    def __init__(self, work: bytes, deadline: float) -> None:
        self._work = work
        self._deadline = deadline
        self._child: OwnedProcess | None = None
        self._closed = False
        self._turn, self._closing = threading.Lock(), threading.Lock()
        # Linux ends a child with the *thread* that started it, so that must be one that lives as long as the supervisor.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="supervisor")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def prepare(self) -> None:
        """Start the child and have it prepare the task.

        Raises:
            NormpipeError: what the task raised there, or that the process could not be started or died.
        """
        with self._turn:
            self._ready_child()

    def do(self, shard: Shard, advance: Advance, observe: Observe) -> Outcome:
        """Run one shard to its outcome, whatever happens to the processes it runs in.

        Raises:
            SupervisorClosedError: somebody closed it meanwhile.
        """
        with self._turn:
            try:
                return self._do(shard, advance, observe)
            except NormpipeError as error:  # a fresh child could not be prepared
                return ShardFailure(shard, str(error))

    def close(self) -> None:
        """End the child, within a few seconds and whatever it is doing."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._starter.submit(lambda: None).result()  # a start that is under way has come to its end
            if self._child is not None:
                self._child.end()
                with self._turn:
                    self._child.close()
            self._starter.shutdown()

    def _do(self, shard: Shard, advance: Advance, observe: Observe) -> Outcome:
        excluded: dict[int, Reason] = {}
        deaths = 0
        while True:
            tally = Tally(advance)
            try:
                outcome = self._run(shard, excluded, tally)
                tally.settle(outcome)
                return outcome
            except LostError as lost:
                observe(Event(EventKind.HUNG if lost.hung else EventKind.DIED, shard, None, str(lost)))
                end = str(lost)
            start = shard.start + tally.done
            tally.reset()
            culprit = self._culprit([row for row in range(start, shard.stop) if row not in excluded], shard, observe)
            if culprit is not None:
                row, reason = culprit
                excluded[row] = reason
                observe(Event(EventKind.EXCLUDED, shard, row, reason.value))
                continue
            deaths += 1
            observe(Event(EventKind.NO_CULPRIT, shard))
            if deaths == _MOST_DEATHS:
                return ShardFailure(
                    shard,
                    f"its process was lost {deaths} times ({end}) and no single row does it; "
                    "it may need more memory: try fewer --workers",
                )

    def _run(self, shard: Shard, excluded: Mapping[int, Reason], tally: Tally) -> Outcome:
        child = self._ready_child()
        child.send(RunShard(shard, excluded))
        while True:
            answer = self._hear(child, self._deadline)
            if isinstance(answer, Advanced):
                tally.add(answer.done, answer.ok, answer.failed)
            else:
                assert not isinstance(answer, Prepared | Refused | Probing | Survived)
                return answer

    def _culprit(self, rows: list[int], shard: Shard, observe: Observe) -> tuple[int, Reason] | None:
        """The first of the rows that ends two children, among as many as may have been under way."""
        rows = rows[:_MOST_PROBED]
        if rows:
            observe(Event(EventKind.PROBING, shard, rows[0]))
        while rows:
            suspect = self._first_harmful(rows)
            if suspect is None:
                return None
            row, _ = suspect
            again = self._first_harmful([row])
            if again is not None:
                return again
            rows = rows[rows.index(row) + 1 :]
        return None

    def _first_harmful(self, rows: Iterable[int]) -> tuple[int, Reason] | None:
        child = self._ready_child()
        row = None
        try:
            child.send(ProbeRows(tuple(rows)))
            while isinstance(answer := self._hear(child, self._deadline), Probing):
                row = answer.row
        except LostError as lost:
            return None if row is None else (row, Reason.TIMEOUT if lost.hung else Reason.POISON)
        return None

    def _ready_child(self) -> OwnedProcess:
        if self._child is not None and self._child.is_alive:
            return self._child
        end = ""
        for _ in range(_MOST_STARTS):
            child = self._start_child()
            try:
                answer = self._hear(child, _PREPARE_SECONDS)
            except LostError as lost:
                end = str(lost)
                continue
            if isinstance(answer, Refused):
                child.end()
                child.close()
                raise answer.error
            return child
        raise NormpipeError(f"{_MOST_STARTS} processes were lost while they loaded the models ({end}); is there enough memory?")

    def _start_child(self) -> OwnedProcess:
        try:
            self._starter.submit(self._start).result()
        except OSError as error:
            raise NormpipeError(f"cannot start a process: {error.strerror}") from error
        assert self._child is not None
        return self._child

    def _start(self) -> None:
        if self._closed:
            raise SupervisorClosedError
        self._child = OwnedProcess("normpipe.engine.child", self._work)

    def _hear(self, child: OwnedProcess, deadline: float) -> Answer:
        try:
            answer = child.hear(deadline)
        except LostError:
            if self._closed:
                raise SupervisorClosedError from None
            raise
        assert isinstance(answer, Answer)
        return answer
