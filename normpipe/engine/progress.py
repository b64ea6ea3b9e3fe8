"""Progress of a run: a bar on a terminal, a log line every few seconds elsewhere, and a small file for `normpipe status`.

All three show the same counts: rows done, ok and failed, the rate since this run began, and the time that is left at that rate.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from normpipe.records import Reason
from normpipe.shards.atomic import write_bytes

PROGRESS_FILE = "progress.json"

_LOG_SECONDS = 10.0
_FILE_SECONDS = 2.0
_SHOWN_HELD = 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where a live run is.

    Attributes:
        phase: Name of the phase; "" in a run of one phase.
        rows: Input rows of the plan, of which `done` are done; `ok` and `failed` count output rows.
        rows_per_second: Since this run began, without what earlier ones did.
        seconds_left: At that rate; None before there is one.
        shards: Shards of the plan, of which `committed` are.
        held: Rows that held a finished shard back, as shard name -> reason -> count, the first few shards.
    """

    phase: str
    rows: int
    done: int
    ok: int
    failed: int
    rows_per_second: float
    seconds_left: int | None
    shards: int
    committed: int
    held: dict[str, dict[str, int]]

    @property
    def line(self) -> str:
        """The counts in one line."""
        left = "" if self.seconds_left is None else f", {_duration(self.seconds_left)} left"
        phase = f"{self.phase}: " if self.phase else ""
        counts = f"{self.done}/{self.rows} rows, {self.rows_per_second:.1f}/s"
        return f"{phase}{counts}{left}, ok {self.ok}, failed {self.failed}"

    @property
    def text(self) -> str:
        """The counts, and why shards are held back."""
        held = (f"{shard} {reason} {count}" for shard, failed in self.held.items() for reason, count in failed.items())
        lines = [self.line, f"{self.committed}/{self.shards} shards committed so far"]
        return "\n".join([*lines, *(f"held so far: {each}" for each in held)])


class Terminal(Console):
    """Standard error. A reader who goes away, as in `normpipe run ... 2>&1 | head`, does not end the run."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def on_broken_pipe(self) -> None:
        """Say nothing more; rich would end the process."""
        self.quiet = True


class Progress:
    """Counts rows and shows them; safe to call from any thread.

    Args:
        total: Input rows of the plan.
        console: Where to show it.
        log_seconds: Pause between lines when `console` is not a terminal.
        clock: Seconds; replaceable in tests.
    """

    def __init__(
        self, total: int, console: Console, log_seconds: float = _LOG_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._log_seconds = log_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._bar = _bar(console) if console.is_terminal else None
        self._task = self._bar.add_task("rows", total=total, ok=0, failed=0) if self._bar else None
        self.begin(total)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def begin(self, total: int, shards: int = 0, phase: str = "") -> None:
        """Start counting, anew in each phase."""
        with self._lock:
            self._total, self._shards, self._phase = total, shards, phase
            self._done = self._ok = self._failed = self._earlier = self._committed = 0
            self._held: dict[str, dict[str, int]] = {}
            self._started = self._logged = self._clock()
            if self._bar and self._task is not None:
                self._bar.reset(self._task, total=total, ok=0, failed=0)

    def resume(self, done: int, ok: int, failed: int, shards: int = 1) -> None:
        """Count shards that earlier runs have committed: shown as done, left out of the rate."""
        with self._lock:
            self._earlier += done
            self._committed += shards
        self._show(done, ok, failed)
        if self._bar and self._task is not None:
            self._bar.reset(self._task, completed=self._done, total=self._total)

    def advance(self, done: int, ok: int, failed: int) -> None:
        """Count input rows done and output rows ok and failed; negative numbers take counts back."""
        self._show(done, ok, failed)

    def commit(self, shard: str) -> None:
        """Count a shard that was committed."""
        with self._lock:
            self._committed += 1
            self._held.pop(shard, None)

    def hold(self, shard: str, failed: Mapping[Reason, int]) -> None:
        """Remember a shard that was held back, and for which rows."""
        with self._lock:
            self._held[shard] = {reason.value: count for reason, count in failed.items()}

    def note(self, line: str) -> None:
        """Show a line above the bar."""
        self._console.print(Text(line), soft_wrap=True)

    def snapshot(self) -> Snapshot:
        """The counts now."""
        with self._lock:
            return self._snapshot()

    def _snapshot(self) -> Snapshot:
        elapsed = self._clock() - self._started
        rate = (self._done - self._earlier) / elapsed if elapsed > 0 else 0.0
        return Snapshot(
            phase=self._phase,
            rows=self._total,
            done=self._done,
            ok=self._ok,
            failed=self._failed,
            rows_per_second=round(rate, 3),
            seconds_left=int((self._total - self._done) / rate) if rate > 0 else None,
            shards=self._shards,
            committed=self._committed,
            held=dict(list(self._held.items())[:_SHOWN_HELD]),
        )

    def _show(self, done: int, ok: int, failed: int) -> None:
        with self._lock:
            self._done += done
            self._ok += ok
            self._failed += failed
            if self._bar and self._task is not None:
                self._bar.update(self._task, completed=self._done, ok=self._ok, failed=self._failed)
            elif self._clock() - self._logged >= self._log_seconds:
                self._logged = self._clock()
                self.note(self._snapshot().line)


class ProgressFile:
    """Keeps OUT/progress.json while the `with` block runs; a killed run leaves one, which tells nothing once its lock is free.

    Args:
        out: The run's folder.
        progress: What to write.
        seconds: Pause between two writes.
    """

    def __init__(self, out: Path, progress: Progress, seconds: float = _FILE_SECONDS) -> None:
        self._path = out / PROGRESS_FILE
        self._progress = progress
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _keep(self) -> None:
        while True:
            with suppress(OSError):  # a full disk is told by the shards that cannot be written
                content = json.dumps(asdict(self._progress.snapshot()), indent=2) + "\n"
                write_bytes(self._path, content.encode(), durable=False)
            if self._ended.wait(self._seconds):
                return


def read_progress(out: Path) -> Snapshot | None:
    """What a live run last wrote; None when there is nothing that can be read."""
    try:
        return Snapshot(**json.loads((out / PROGRESS_FILE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "-/s")


def _bar(console: Console) -> Bar:
    return Bar(
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
        TextColumn("ok {task.fields[ok]}  failed {task.fields[failed]}"),
        console=console,
    )


def _duration(seconds: int) -> str:
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"
