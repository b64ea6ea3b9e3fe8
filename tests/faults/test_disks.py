"""Disks and folders that fail: the same command goes on when they are back, to the same bytes."""

import os
import subprocess

import pytest
from fixtures.runs import digests

from faults import command
from faults.conftest import needs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_stops_the_run_in_one_line_and_room_lets_it_go_on(case, undisturbed, small_disk, workers):
    disk = small_disk("3m")
    code, text = case.run(disk / "out", "--workers", workers)
    assert code == 1, text
    assert "No space left on device" in text
    assert "Traceback" not in text
    subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
    code, text = case.run(disk / "out", "--workers", workers)
    assert code == 0, text
    assert digests(disk / "out") == undisturbed


def test_an_output_that_is_read_only_for_a_while(case, undisturbed, tmp_path):
    prefix = ()
    if os.geteuid() == 0:  # root writes everywhere unless it gives that up
        needs("setpriv")
        without = "-dac_override,-dac_read_search"
        prefix = ("setpriv", f"--bounding-set={without}", f"--inh-caps={without}")
    out = tmp_path / "out"
    process = case.start(out, prefix=prefix)
    command.wait_for(lambda: command.committed(out) >= 2)
    folders = [out / "faces", out / "shards"]
    for folder in folders:
        folder.chmod(0o555)
    code, text = command.finish(process)
    for folder in folders:
        folder.chmod(0o755)
    assert code == 1, text
    assert "OUT cannot be written (Permission denied); stopped; the same command resumes" in text
    assert "Permission denied" in (out / "run.log").read_text()
    assert "Traceback" not in text
    code, text = case.run(out)
    assert code == 0, text
    assert digests(out) == undisturbed


@pytest.mark.parametrize("workers", [1, 2])
def test_photos_that_vanish_are_waited_for_and_not_given_up(case, undisturbed, tmp_path, workers):
    out, away = tmp_path / "out", case.photos.with_name("away")
    process = case.start(out, "--workers", workers, "--set", "execution.retry_pause=0.5")
    try:
        command.wait_for(lambda: command.committed(out) >= 2)
        case.photos.rename(away)
        code, text = command.finish(process)
    finally:
        if away.exists():
            away.rename(case.photos)
    assert code == 1, text
    assert "vanished" in text
    log = (out / "run.log").read_text()
    assert "vanished" in log
    assert "held" in log
    code, text = case.run(out, "--workers", workers)
    assert code == 0, text
    assert digests(out) == undisturbed


def test_photos_that_come_back_in_time_are_not_even_missed(case, undisturbed, tmp_path):
    out, away = tmp_path / "out", case.photos.with_name("away")
    process = case.start(out, "--set", "execution.retry_pause=5")
    try:
        command.wait_for(lambda: command.committed(out) >= 2)
        case.photos.rename(away)
        command.wait_for(lambda: "held" in (out / "run.log").read_text() or process.poll() is not None)
    finally:
        away.rename(case.photos)
    code, text = command.finish(process)
    assert code == 0, text
    assert digests(out) == undisturbed


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_system_that_fails_one_call_in_twenty(case, undisturbed, tmp_path, plugins, workers):
    out = tmp_path / "out"
    code, text = command.run(
        case.manifest, out, "--root", f"flaky://{case.photos}", *case.options[2:], "--workers", workers, extra=plugins
    )
    assert code == 0, text
    assert digests(out) == undisturbed
