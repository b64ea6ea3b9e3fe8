"""The process that does the work: it holds the task, runs shards one after the other, and may die without harm to anybody.

Its owner is a `Supervisor`. The first thing that comes is the pickled Work; then each command (a shard, or rows to probe) is
answered by progress and one closing word. The process ends with its supervisor's.
"""

import os
import pickle
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from normpipe.engine.process import channel_to_owner
from normpipe.engine.tasks import Shard, ShardTask
from normpipe.engine.work import Outcome, Work, describe
from normpipe.errors import NormpipeError
from normpipe.records import Reason


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
    """Serve the supervisor that started this process."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # `with` blocks remove what is half written
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the supervisor to act on
    channel = channel_to_owner()
    code = 1
    try:
        _serve(channel)
        code = 0
    finally:
        os._exit(code)  # at once, and without a word: nothing here is worth the seconds that libraries take to unload


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
