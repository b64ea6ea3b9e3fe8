import io

from rich.console import Console

from normpipe.engine.progress import Progress


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
