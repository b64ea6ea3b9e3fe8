"""Signals and second runs."""

import json
import os
import signal
import time

import pytest
from fixtures.runs import digests

from faults import command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_ends_the_run_within_its_grace_and_the_same_command_goes_on(case, undisturbed, tmp_path, workers):
    out = tmp_path / "out"
    process = case.start(out, "--workers", workers)
    command.wait_for(lambda: command.committed(out) >= 2)
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    code, text = command.finish(process)
    assert code == 143, text
    assert time.monotonic() - asked < 10
    assert "interrupted" in text
    assert "interrupted" in (out / "run.log").read_text()
    code, text = case.run(out, "--workers", workers)
    assert code == 0, text
    assert digests(out) == undisturbed


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stopped_worker_is_replaced(case, undisturbed, tmp_path, workers):
    out = tmp_path / "out"
    process = case.start(out, "--workers", workers, "--set", "execution.deadline=5")
    command.wait_for(lambda: command.committed(out) >= 2)
    stopped = command.workers(process)[-1]
    stopped.suspend()
    code, text = command.finish(process)
    assert code == 0, text
    assert digests(out) == undisturbed


def test_a_run_that_was_stopped_whole_goes_on_where_it_stood(case, undisturbed, tmp_path):
    out = tmp_path / "out"
    process = case.start(out)
    command.wait_for(lambda: command.committed(out) >= 2)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(3)
    os.killpg(process.pid, signal.SIGCONT)
    code, text = command.finish(process)
    assert code == 0, text
    assert digests(out) == undisturbed


def test_the_second_of_two_runs_on_one_folder_is_refused(case, undisturbed, tmp_path):
    out = tmp_path / "out"
    process = case.start(out)
    command.wait_for(lambda: command.committed(out) >= 1)
    code, text = case.run(out)
    assert code == 3, text
    assert "another run" in text
    code, text = command.finish(process)
    assert code == 0, text
    assert digests(out) == undisturbed


def test_what_the_log_and_the_summary_say_agrees(case, tmp_path):
    out = tmp_path / "out"
    manifest = tmp_path / "three.csv"
    manifest.write_text("sample_id,uri\na,photo00.jpg\nb,photo01.jpg\nc,empty.jpg\n")
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("photo00.jpg", "photo01.jpg"):
        (folder / name).write_bytes((case.photos / name).read_bytes())
    (folder / "empty.jpg").write_bytes(b"")
    code, text = command.run(manifest, out, "--root", folder)
    assert code == 0, text
    summary = json.loads((out / "run.json").read_text())
    assert (summary["rows"], summary["ok"], summary["failed"]) == (3, 2, {"empty_file": 1})
    assert "3 rows, 2 ok, 1 failed (empty_file 1)" in text
    assert "3 rows, 2 ok, 1 failed (empty_file 1)" in (out / "run.log").read_text()
    assert str(tmp_path) not in (out / "run.log").read_text()
