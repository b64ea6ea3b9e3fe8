"""What the engine runs: any job that can be cut into shards of rows.

The engine plans, runs, records and resumes; it knows nothing of what a task does with its rows. Normalizing faces is one such
task; an audit or a classifier's prediction is another.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from normpipe.records import Reason

Advance = Callable[[int, int, int], None]
"""Called by a task as it goes, with what came since the last call: input rows done, output rows ok, output rows failed."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Input rows [start, stop) of the plan's manifest, and the number that names the shard's files."""

    index: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Stem of the shard's files: "part-00000"."""
        return f"part-{self.index:05d}"

    @property
    def rows(self) -> int:
        """Number of input rows."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that a task has finished: path relative to the run's folder, hex sha256, bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What a task says of a finished shard: small, since it travels through the scheduler and stays in the journal.

    Attributes:
        files: The shard's files, complete and in place.
        rows: Output rows.
        ok: Output rows that succeeded.
        failed: Output rows that failed, by reason.
        seconds_by_stage: Wall-clock seconds of each stage.
    """

    files: tuple[OutputFile, ...]
    rows: int
    ok: int
    failed: dict[Reason, int] = field(default_factory=dict)
    seconds_by_stage: dict[str, float] = field(default_factory=dict)


class ShardTask(Protocol):
    """A picklable description of the work; workers receive a copy."""

    def prepare(self) -> None:
        """Load models and set thread counts: once per worker, before the first shard.

        Raises:
            NormpipeError: this worker cannot do the work.
        """
        ...

    def run(self, shard: Shard, advance: Advance) -> ShardResult:
        """Do one shard and leave its files in place, atomically.

        A row that cannot be processed is a failed row of the result; only what spoils the whole shard is raised.
        """
        ...
