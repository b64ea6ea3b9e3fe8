import io
import time

import pytest
from rich.console import Console

from normpipe.engine.progress import Progress, ProgressFile, read_progress
from normpipe.records import Reason


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def test_off_a_terminal_lines_come_at_intervals_with_rate_and_time_left():
    text, clock = io.StringIO(), Clock()
    with Progress(1000, Console(file=text), log_seconds=10, clock=clock) as progress:
        for _ in range(4):
            clock.seconds += 5
            progress.advance(50, 49, 1)
    assert text.getvalue().splitlines() == [
        "100/1000 rows, 10.0/s, 0:01:30 left, ok 98, failed 2",
        "200/1000 rows, 10.0/s, 0:01:20 left, ok 196, failed 4",
    ]


def test_what_an_earlier_run_did_is_counted_but_not_as_speed():
    text, clock = io.StringIO(), Clock()
    with Progress(1000, Console(file=text), log_seconds=10, clock=clock) as progress:
        progress.resume(500, 490, 10)
        clock.seconds = 10
        progress.advance(100, 100, 0)
    assert text.getvalue() == "600/1000 rows, 10.0/s, 0:00:40 left, ok 590, failed 10\n"


def test_on_a_terminal_there_is_a_bar_with_the_counts():
    text = io.StringIO()
    with Progress(100, Console(file=text, force_terminal=True, width=120)) as progress:
        progress.advance(50, 47, 3)
        progress.note("part-00003: not committed")
    shown = text.getvalue()
    assert "50/100" in shown
    assert "ok 47  failed 3" in shown
    assert "part-00003: not committed" in shown


def test_each_phase_counts_anew():
    text, clock = io.StringIO(), Clock()
    progress = Progress(1000, Console(file=text), log_seconds=10, clock=clock)
    progress.advance(1000, 1000, 0)
    progress.begin(500, shards=5, phase="render")
    clock.seconds = 10
    progress.advance(100, 90, 10)
    assert text.getvalue() == "render: 100/500 rows, 10.0/s, 0:00:40 left, ok 90, failed 10\n"


def test_what_is_taken_back_no_longer_counts():
    progress = Progress(10, Console(file=io.StringIO()))
    progress.advance(4, 3, 1)
    progress.advance(-4, -3, -1)
    progress.hold("part-00000", {Reason.VANISHED: 1})
    snapshot = progress.snapshot()
    assert (snapshot.done, snapshot.ok, snapshot.failed, snapshot.held) == (0, 0, 0, {"part-00000": {"vanished": 1}})
    progress.commit("part-00000")
    assert (progress.snapshot().committed, progress.snapshot().held) == (1, {})


def test_the_file_is_there_while_the_run_is_and_says_what_the_progress_says(tmp_path):
    progress = Progress(10, Console(file=io.StringIO()), clock=lambda: 0.0)
    progress.begin(10, shards=2)
    with ProgressFile(tmp_path, progress, seconds=0.01):
        progress.advance(4, 3, 1)
        deadline = time.monotonic() + 10
        while (found := read_progress(tmp_path)) != progress.snapshot():
            assert time.monotonic() < deadline, found
            time.sleep(0.01)
    assert found.line == "4/10 rows, 0.0/s, ok 3, failed 1"
    assert read_progress(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_does_not_end_the_run(tmp_path):
    with ProgressFile(tmp_path / "away", Progress(10, Console(file=io.StringIO())), seconds=0.01):
        time.sleep(0.05)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"rows": 3}'])
def test_a_progress_file_that_is_damaged_tells_nothing(tmp_path, content):
    (tmp_path / "progress.json").write_text(content)
    assert read_progress(tmp_path) is None
