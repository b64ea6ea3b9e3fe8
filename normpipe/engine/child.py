"""The process that does the work: it holds the task, runs shards one after the other, and may die without harm to anybody.

Its other end is a `Supervisor`, which starts it with a socket as standard input. The first thing that comes is the pickled
Work; then each command (a shard, or rows to probe) is answered by progress and one closing word. Nothing is printed: what
native libraries have to say on standard output and error goes nowhere, for it may hold paths. The process ends with its
supervisor's.
"""

import ctypes
import os
import pickle
import resource
import select
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from normpipe.engine.tasks import Shard, ShardTask
from normpipe.engine.work import Outcome, Work, describe
from normpipe.errors import NormpipeError
from normpipe.records import Reason

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class RunShard:
    """Command: run a shard; answered by Advanced, closed by an Outcome."""

    shard: Shard
    excluded: Mapping[int, Reason]


@dataclass(frozen=True, slots=True)
class ProbeRows:
    """Command: process manifest rows one by one; answered by Probing before each, closed by Survived."""

    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Ready for commands."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The task cannot be prepared here; the process ends."""

    error: NormpipeError


@dataclass(frozen=True, slots=True)
class Advanced:
    """What a task told its Advance."""

    done: int
    ok: int
    failed: int


@dataclass(frozen=True, slots=True)
class Probing:
    """The row that comes next."""

    row: int


@dataclass(frozen=True, slots=True)
class Survived:
    """No probed row did any harm."""


Command = RunShard | ProbeRows
Answer = Prepared | Refused | Advanced | Probing | Survived | Outcome


def main() -> None:
    """Serve the supervisor whose socket is standard input and whose process id is the only argument."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # `with` blocks remove what is half written
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the supervisor to act on
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold photos
    channel = Connection(os.dup(0))
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123  # a device, not a path
        os.dup2(nothing.fileno(), 0)
    _end_with_supervisor(channel, int(sys.argv[1]))
    code = 1
    try:
        _serve(channel)
        code = 0
    finally:
        os._exit(code)  # at once, and without a word: nothing here is worth the seconds that libraries take to unload


def _end_with_supervisor(channel: Connection, supervisor: int) -> None:
    """Make sure that this process does not outlive its supervisor, whatever it is doing then.

    The thread works everywhere, but not while native code holds the interpreter; on Linux, the kernel sees to that.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != supervisor:  # it died before the line above
            os._exit(0)
    threading.Thread(target=_exit_on_hang_up, args=(channel.fileno(),), daemon=True).start()


def _exit_on_hang_up(socket: int) -> None:
    hang_up = select.poll()
    hang_up.register(socket, 0)  # no event but the other end's closing
    hang_up.poll()
    os._exit(0)


def _serve(channel: Connection) -> None:
    try:
        work: Work = pickle.loads(channel.recv_bytes())  # noqa: S301  # from the supervisor
        work.task.prepare()
    except NormpipeError as error:
        channel.send(Refused(error))
        return
    except Exception as error:  # noqa: BLE001  # whatever a model's library raises, the user gets one line
        channel.send(Refused(NormpipeError(f"a process cannot be prepared for the work: {describe(error)}")))
        return
    channel.send(Prepared())
    while True:
        command: Command = channel.recv()
        if isinstance(command, RunShard):
            advance = lambda *counts: channel.send(Advanced(*counts))  # noqa: E731
            channel.send(work.do(command.shard, advance, command.excluded))
        else:
            _probe(work.task, command.rows, channel)
            channel.send(Survived())


def _probe(task: ShardTask, rows: tuple[int, ...], channel: Connection) -> None:
    for row in rows:
        channel.send(Probing(row))
        with suppress(Exception):  # an error is a failed row of the shard, not the death that is looked for
            task.probe(row)
