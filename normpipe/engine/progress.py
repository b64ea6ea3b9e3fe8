"""Progress of a run: a bar with rate, time left, ok and failed on a terminal, a log line every few seconds elsewhere."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

_LOG_SECONDS = 10.0


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
        self._total = total
        self._console = console
        self._log_seconds = log_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._done = self._ok = self._failed = self._earlier = 0
        self._started = self._logged = clock()
        self._bar = _bar(console) if console.is_terminal else None
        self._task = self._bar.add_task("rows", total=total, ok=0, failed=0) if self._bar else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def resume(self, done: int, ok: int, failed: int) -> None:
        """Count what an earlier run has committed: shown as done, left out of the rate."""
        with self._lock:
            self._earlier += done
        self._show(done, ok, failed)
        if self._bar and self._task is not None:
            self._bar.reset(self._task, completed=done, total=self._total)

    def advance(self, done: int, ok: int, failed: int) -> None:
        """Count input rows done and output rows ok and failed."""
        self._show(done, ok, failed)

    def note(self, line: str) -> None:
        """Show a line above the bar."""
        self._console.print(Text(line), soft_wrap=True)

    def _show(self, done: int, ok: int, failed: int) -> None:
        with self._lock:
            self._done += done
            self._ok += ok
            self._failed += failed
            if self._bar and self._task is not None:
                self._bar.update(self._task, completed=self._done, ok=self._ok, failed=self._failed)
            elif self._clock() - self._logged >= self._log_seconds:
                self._logged = self._clock()
                self.note(self._line())

    def _line(self) -> str:
        elapsed = self._clock() - self._started
        rate = (self._done - self._earlier) / elapsed if elapsed > 0 else 0.0
        left = f", {_duration((self._total - self._done) / rate)} left" if rate > 0 else ""
        return f"{self._done}/{self._total} rows, {rate:.1f}/s{left}, ok {self._ok}, failed {self._failed}"


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


def _duration(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"
