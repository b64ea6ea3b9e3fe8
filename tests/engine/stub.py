"""A task with real files and no faces: it writes the numbers of its rows, and dies where it is told to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.plan import Plan
from normpipe.engine.tasks import Advance, OutputFile, Shard, ShardResult
from normpipe.records import Reason
from normpipe.shards.atomic import AtomicFile

FOLDER = "rows"


class Death(Enum):
    """Where a shard goes wrong."""

    ERROR_BEFORE = "an error before anything is written"
    ERROR_WHILE = "an error while the file is being written"
    KILL_WHILE = "an interrupt while the file is being written"
    KILL_AFTER = "an interrupt between the file and its record"


class KilledError(KeyboardInterrupt):
    """What a signal raises."""


@dataclass
class RowsTask:
    out: Path
    deaths: Mapping[int, Death] = field(default_factory=dict)
    failing_rows: frozenset[int] = frozenset()
    done: list[int] = field(default_factory=list)

    def prepare(self) -> None:
        pass

    def run(self, shard: Shard, advance: Advance) -> ShardResult:
        death = self.deaths.get(shard.index)
        if death is Death.ERROR_BEFORE:
            raise OSError(28, "No space left on device")
        path = f"{FOLDER}/{shard.name}.txt"
        with AtomicFile(self.out / path) as file:
            for row in range(shard.start, shard.stop):
                file.write(f"{row}\n".encode())
                if death is Death.ERROR_WHILE:
                    raise ValueError("broken row")
                if death is Death.KILL_WHILE:
                    raise KilledError
                advance(1, 1, 0)
        if death is Death.KILL_AFTER:
            raise KilledError
        self.done.append(shard.index)
        assert file.written is not None
        failed = sum(row in self.failing_rows for row in range(shard.start, shard.stop))
        return ShardResult(
            files=(OutputFile(path, file.written.sha256, file.written.size),),
            rows=shard.rows,
            ok=shard.rows - failed,
            failed={Reason.VANISHED: failed} if failed else {},
            seconds_by_stage={"write": 0.5},
        )


def plan_of(rows: int, shard_size: int, **parts: str) -> Plan:
    return Plan(rows, shard_size, Fingerprint({"rows": str(rows), "shard_size": str(shard_size), **parts}), "test 1")


def rows_written(out: Path) -> list[int]:
    """Rows in all committed files, in plan order."""
    records = sorted((out / "journal").glob("*.json"))
    return [int(line) for record in records for line in (out / FOLDER / f"{record.stem}.txt").read_text().split()]
