"""What the engine runs: any job that can be cut into shards of rows.

The engine plans, runs, records and resumes; it knows nothing of what a task does with its rows. Normalizing faces is one such
task; an audit or a classifier's prediction is another.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from normpipe.records import Reason
from normpipe.shards.commits import part_name

Advance = Callable[[int, int, int], None]
"""Called by a task as it goes, with what came since the last call: input rows done, output rows ok, output rows failed.

Input rows are counted in their order, so that the engine knows where a process died. Three zeros say that the task is alive: a
process from which nothing is heard for the deadline is taken for hung. The engine itself passes negative numbers on when it
takes a shard's count back, because the shard starts over or is not committed.
"""


@dataclass(frozen=True, slots=True)
class Shard:
    """Input rows [start, stop) of the plan's manifest, and the number that names the shard's files."""

    index: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Stem of the shard's files: "part-00000"."""
        return part_name(self.index)

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
        sources: Hex digest over what the file system says of the shard's source files (size, times, inode); "" without any.
        settled: Those of `failed` that an earlier phase has tried as often as it may: no reason to hold the shard.
    """

    files: tuple[OutputFile, ...]
    rows: int
    ok: int
    failed: dict[Reason, int] = field(default_factory=dict)
    seconds_by_stage: dict[str, float] = field(default_factory=dict)
    sources: str = ""
    settled: dict[Reason, int] = field(default_factory=dict)


class EventKind(StrEnum):
    """What may happen to a shard on its way to an outcome."""

    DIED = "worker died"
    HUNG = "worker hung"
    PROBING = "probing"
    EXCLUDED = "row excluded"
    NO_CULPRIT = "no single row does it"
    LOST = "worker lost"


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth a line in the run's log.

    Attributes:
        kind: What happened.
        shard: To which shard.
        row: Manifest row it concerns: the first one probed, or the excluded one; None when it is about no single row.
        detail: Few words, free of ids and paths: "killed by SIGKILL", "nothing heard for 300 s", a Reason's value.
    """

    kind: EventKind
    shard: Shard
    row: int | None = None
    detail: str = ""


Observe = Callable[[Event], None]
"""Told of events as they happen, possibly from another thread."""


class ShardTask(Protocol):
    """A picklable description of the work; the process that does it receives a copy."""

    def prepare(self) -> None:
        """Load models and set thread counts: once per process, before the first shard.

        Raises:
            NormpipeError: this process cannot do the work.
        """
        ...

    def run(self, shard: Shard, advance: Advance, excluded: Mapping[int, Reason]) -> ShardResult:
        """Do one shard and leave its files in place, atomically.

        A row that cannot be processed is a failed row of the result; only what spoils the whole shard is raised. An OSError
        therefore means that the run's folder cannot be read or written.

        Args:
            shard: The rows.
            advance: Called as rows are finished, in their order.
            excluded: Manifest rows of this shard that killed or stopped their process, with the reason they fail with; they are
                not touched, and every other row's bytes are as if they were sound.
        """
        ...

    def probe(self, row: int) -> None:
        """Process one manifest row alone and discard it: it may kill the process, and that is what is asked."""
        ...
