"""OUT/run.log: the story of all runs on a folder, one line per event, in the words that the summary and the columns use.

It names rows by number and shards by name, never samples, paths, hosts or processes, so that it can be shown to anyone. Each
line is appended by one write to a file opened for it: nothing waits in a buffer when the process dies, and a folder that
vanishes and comes back is found again. A line that cannot be written is dropped: a log must not end the run that it tells of.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

LOG_FILE = "run.log"


@dataclass(frozen=True, slots=True)
class RunLog:
    """Appends to the log of a run's folder; safe to call from any thread.

    Attributes:
        out: The run's folder.
        phase: Named in every line of a run that has several.
        clock: Seconds since 1970; replaceable in tests.
    """

    out: Path
    phase: str = ""
    clock: Callable[[], float] = time.time
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def write(self, word: str, text: str = "") -> None:
        """Append `2026-11-22T08:25:13Z word: text`, one such line for each line of the text."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.clock()))
        head = f"{moment} {self.phase}: {word}" if self.phase else f"{moment} {word}"
        lines = "".join(f"{head}: {line}\n" if line else f"{head}\n" for line in text.split("\n"))
        with self._lock, suppress(OSError):
            self._append(lines.encode("utf-8", "backslashreplace"))

    def _append(self, content: bytes) -> None:
        descriptor = os.open(self.out / LOG_FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                content = b"\n" + content  # a line that was cut short stays alone
            os.write(descriptor, content)
        finally:
            os.close(descriptor)
