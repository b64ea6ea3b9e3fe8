"""The keeper of one child process: it survives whatever a picture does to the process that decodes it.

A shard's process may be killed by a damaged file, by the kernel when memory runs out, or hang in a decoder. The supervisor
notices (the socket closes, or nothing is heard for the deadline), starts a fresh child and looks for the culprit by *probing*:
from the last reported progress on, rows are processed one by one. A row that ends two children is excluded, the shard is run
again without it, and every other row's bytes are as if nothing had happened.
"""

import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import Pipe
from types import TracebackType
from typing import Self

import cloudpickle

from normpipe.engine.child import Advanced, Answer, Command, Prepared, ProbeRows, Probing, Refused, RunShard, Survived
from normpipe.engine.tally import Tally
from normpipe.engine.tasks import Advance, Event, EventKind, Observe, Shard
from normpipe.engine.threads import steady_environment
from normpipe.engine.work import Outcome, ShardFailure, Work
from normpipe.errors import NormpipeError
from normpipe.records import Reason

_MOST_PROBED = 64
_MOST_DEATHS = 3
_MOST_STARTS = 3
_PREPARE_SECONDS = 600.0  # big networks from a cold disk
_GRACE_SECONDS = 2.0
_REAP_SECONDS = 5.0


class SupervisorClosedError(Exception):
    """The supervisor was closed from another thread while a shard was being done."""


class _LostError(Exception):
    """The child died or hung; the message says how."""

    def __init__(self, kind: EventKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind

    @property
    def reason(self) -> Reason:
        return Reason.TIMEOUT if self.kind is EventKind.HUNG else Reason.POISON


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
        self._child: _Child | None = None
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
            except _LostError as lost:
                observe(Event(lost.kind, shard, None, str(lost)))
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
        except _LostError as lost:
            return None if row is None else (row, lost.reason)
        return None

    def _ready_child(self) -> "_Child":
        if self._child is not None and self._child.is_alive:
            return self._child
        end = ""
        for _ in range(_MOST_STARTS):
            child = self._start_child()
            try:
                answer = self._hear(child, _PREPARE_SECONDS)
            except _LostError as lost:
                end = str(lost)
                continue
            if isinstance(answer, Refused):
                child.end()
                child.close()
                raise answer.error
            return child
        raise NormpipeError(f"{_MOST_STARTS} processes were lost while they loaded the models ({end}); is there enough memory?")

    def _start_child(self) -> "_Child":
        try:
            self._starter.submit(self._start).result()
        except OSError as error:
            raise NormpipeError(f"cannot start a process: {error.strerror}") from error
        assert self._child is not None
        return self._child

    def _start(self) -> None:
        if self._closed:
            raise SupervisorClosedError
        self._child = _Child(self._work)

    def _hear(self, child: "_Child", deadline: float) -> Answer:
        try:
            return child.hear(deadline)
        except _LostError:
            if self._closed:
                raise SupervisorClosedError from None
            raise


class _Child:
    """One process, and the socket to it."""

    def __init__(self, work: bytes) -> None:
        self._channel, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module, no shell
                # -P: the current folder, which may hold anything, is no place to import from.
                [sys.executable, "-P", "-c", "from normpipe.engine.child import main; main()", str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={
                    **steady_environment(os.environ),
                    "PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path),
                },
                process_group=0,  # so that processes of its own end with it, and a terminal's Ctrl-C passes it by
            )
        with suppress(OSError):
            self._channel.send_bytes(work)

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended and was not given up."""
        return not self._channel.closed and self._process.poll() is None

    def send(self, command: Command) -> None:
        """Send a command; that the child is dead comes out on hearing from it."""
        with suppress(OSError):
            self._channel.send(command)

    def hear(self, deadline: float) -> Answer:
        """The next answer.

        Raises:
            _LostError: the child is dead, or hung and now dead as well.
        """
        # Counted in short waits, so that time during which this very process was stopped does not count.
        wait = min(1.0, deadline)
        try:
            for _ in range(math.ceil(deadline / wait)):
                if self._channel.poll(wait):
                    answer: Answer = self._channel.recv()
                    return answer
        except (EOFError, OSError):
            end = self._kill()
            self.close()
            raise _LostError(EventKind.DIED, end) from None
        self._kill()
        self.close()
        raise _LostError(EventKind.HUNG, f"nothing heard for {deadline:g} s")

    def end(self) -> None:
        """Ask it to end, then make it; safe while another thread is hearing it."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        self._kill()

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

    def _kill(self) -> str:
        """End it and all it has started, and say how it ended if it did so by itself."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        try:
            code = self._process.wait(_REAP_SECONDS)
        except subprocess.TimeoutExpired:  # stuck in the kernel, say on a dead network file system; it is left behind
            return "cannot be ended"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
