"""A task with real files and no faces: it writes the numbers of its rows, and goes wrong where it is told to."""

import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.plan import Plan
from normpipe.engine.tasks import Advance, Observe, OutputFile, Shard, ShardResult
from normpipe.engine.work import Outcome, Work
from normpipe.records import Reason
from normpipe.shards.atomic import AtomicFile
from normpipe.shards.commits import JOURNAL_FOLDER, committed_names

FOLDER = "rows"


class Death(Enum):
    """Where a shard goes wrong."""

    ERROR_BEFORE = "an error before anything is written"
    ERROR_WHILE = "an error while the file is being written"
    KILL_WHILE = "an interrupt while the file is being written"
    KILL_AFTER = "an interrupt between the file and its record"


class Harm(Enum):
    """What a row does to its process."""

    KILLS = "SIGKILL, as an access to wild memory or the kernel's memory killer would end it"
    HANGS = "sleeps forever"
    STOPS = "SIGSTOP"


class KilledError(KeyboardInterrupt):
    """What a signal raises."""


@dataclass
class RowsTask:
    """A ShardTask that can be pickled; its processes find this module because they inherit the import path.

    Attributes:
        out: The run's folder.
        deaths: By shard.
        failing_rows: Fail as vanished.
        harms: By row, every time.
        harms_once: By row, the first time any process meets it.
    """

    out: Path
    deaths: Mapping[int, Death] = field(default_factory=dict)
    failing_rows: frozenset[int] = frozenset()
    harms: Mapping[int, Harm] = field(default_factory=dict)
    harms_once: Mapping[int, Harm] = field(default_factory=dict)
    token: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def done(self) -> list[int]:
        """Shards that any copy of this very task has finished."""
        return sorted(int(line) for line in self._lines("done"))

    @property
    def pids(self) -> list[int]:
        """Processes that have prepared a copy, in order."""
        return [int(line) for line in self._lines("pids")]

    def prepare(self) -> None:
        self._note("pids", os.getpid())

    def run(self, shard: Shard, advance: Advance, excluded: Mapping[int, Reason]) -> ShardResult:
        death = self.deaths.get(shard.index)
        if death is Death.ERROR_BEFORE:
            raise OSError(28, "No space left on device")
        path = f"{FOLDER}/{shard.name}.txt"
        failed: Counter[Reason] = Counter()
        with AtomicFile(self.out / path) as file:
            for row in range(shard.start, shard.stop):
                reason = excluded.get(row, Reason.VANISHED if row in self.failing_rows else None)
                if row not in excluded:
                    self.probe(row)
                file.write(f"{row}\n".encode() if reason is None else f"{row} {reason}\n".encode())
                if death is Death.ERROR_WHILE:
                    raise ValueError("broken row")
                if death is Death.KILL_WHILE:
                    raise KilledError
                failed.update([] if reason is None else [reason])
                advance(1, reason is None, reason is not None)
        if death is Death.KILL_AFTER:
            raise KilledError
        self._note("done", shard.index)
        assert file.written is not None
        return ShardResult(
            files=(OutputFile(path, file.written.sha256, file.written.size),),
            rows=shard.rows,
            ok=shard.rows - failed.total(),
            failed=dict(failed),
            seconds_by_stage={"write": 0.5},
        )

    def probe(self, row: int) -> None:
        harm = self.harms.get(row)
        if harm is None and row in self.harms_once and str(row) not in self._lines("met"):
            self._note("met", row)
            harm = self.harms_once[row]
        if harm is Harm.HANGS:
            time.sleep(3600)
        elif harm is not None:
            os.kill(os.getpid(), signal.SIGKILL if harm is Harm.KILLS else signal.SIGSTOP)

    def _note(self, name: str, number: int) -> None:
        with (self.out / f"{name}-{self.token}").open("a") as file:
            file.write(f"{number}\n")

    def _lines(self, name: str) -> list[str]:
        path = self.out / f"{name}-{self.token}"
        return path.read_text().split() if path.exists() else []


class InlineExecutor:
    """Runs in this very process: for tests of what is around an executor, whose many runs would mostly wait for processes."""

    def run(
        self, work: Work, shards: Sequence[Shard], advance: Advance, observe: Observe = lambda _: None
    ) -> Iterator[Outcome]:
        work.task.prepare()
        for shard in shards:
            yield work.do(shard, advance, {})


def plan_of(rows: int, shard_size: int, **parts: str) -> Plan:
    return Plan(rows, shard_size, Fingerprint({"rows": str(rows), "shard_size": str(shard_size), **parts}), "test 1")


def rows_written(out: Path) -> list[int]:
    """Rows in all committed files, in plan order."""
    files = [(out / FOLDER / f"{name}.txt").read_text().splitlines() for name in committed_names(out / JOURNAL_FOLDER)]
    return [int(line.split()[0]) for lines in files for line in lines]
