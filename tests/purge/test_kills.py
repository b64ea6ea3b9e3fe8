"""A withdrawal that is killed at any step: nobody reads what is half done, and the same command ends as if nothing had been."""

import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from fixtures.kills import Bomb, KilledError

from normpipe.audit.plan import finished_run
from normpipe.classify.arms import Arm
from normpipe.classify.shards import open_shards
from normpipe.engine.lock import locked
from normpipe.engine.summary import read_summary
from normpipe.errors import IncompatibleRunError, NormpipeError
from normpipe.purge.run import purge
from normpipe.report.page import write_report
from normpipe.report.sheets import SheetOptions
from normpipe.shards.reader import iter_rows
from normpipe.shards.withdrawn import PURGING_FILE

from .people import GONE, bytes_of, name, run, sample, subject, traces, withdrawn, write_media

SETTINGS = ("detect.policy=track", "normalize.own_neutral=true")
READERS = {
    "run": lambda manifest, out: run(manifest, out, *SETTINGS),
    "status": lambda _, out: read_summary(out),
    "audit": lambda _, out: finished_run(out),
    "report": lambda _, out: write_report(out, None, SheetOptions()),
    "train": lambda _, out: open_shards([str(out)], Arm.BOTH),
    "export": lambda _, out: list(iter_rows(out)),
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_media(tmp_path_factory.mktemp("case") / "media")


@pytest.fixture(scope="module")
def finished(manifest):
    """A run of two phases with a report and a shard that has its record as JSON still."""
    out = manifest.parent.parent / "out"
    run(manifest, out, *SETTINGS)
    (out / "report").mkdir()
    (out / "report" / "index.html").write_text(GONE)
    return out


@pytest.fixture(scope="module")
def whole(finished):
    """A withdrawal that nothing happened to."""
    out = shutil.copytree(finished, finished.with_name("whole"))
    withdrawn(out, subject(GONE))
    return out


def killed(out, after):
    """Whether there was a step of that number to be killed at."""
    with Bomb(after) as bomb, pytest.MonkeyPatch.context():
        try:
            list(purge(out, subject(GONE)))
        except KilledError:
            return True
    return bomb.burst


def recorded(out):
    """What the record says, but for how much was searched: the log of a withdrawal that was killed is longer."""
    return re.sub(r'"(bytes|files|values)": \d+', r'"\1": 0', (out / "purged.json").read_text())


def check_finished(out, whole, manifest):
    assert bytes_of(out) == bytes_of(whole)
    assert traces(out, GONE) == []
    assert recorded(out) == recorded(whole)
    assert not (out / PURGING_FILE).exists()
    assert run(manifest, out, *SETTINGS).complete
    assert bytes_of(out) == bytes_of(whole)


@pytest.mark.parametrize("after", [3, 20, 45])
def test_the_same_command_goes_on(finished, whole, manifest, tmp_path, after):
    out = shutil.copytree(finished, tmp_path / "out")
    assert killed(out, after)
    withdrawn(out, subject(GONE))
    check_finished(out, whole, manifest)


@pytest.mark.slow
@pytest.mark.long
def test_the_same_command_goes_on_from_every_fourth_step(finished, whole, manifest, tmp_path):
    after = 0
    while True:
        out = shutil.copytree(finished, tmp_path / f"out{after}")
        if not killed(out, after):
            break
        withdrawn(out, subject(GONE))
        check_finished(out, whole, manifest)
        shutil.rmtree(out)
        after += 4
    assert after > 50


def test_a_person_is_asked_for_after_one_sample_of_theirs_was_begun(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "out")
    (out / "notes.txt").write_text(name(0))
    with pytest.raises(NormpipeError, match=r"notes\.txt: a name"):
        withdrawn(out, sample(name(0)))
    (out / "notes.txt").unlink()
    first, second = purge(out, subject(GONE))
    assert (first.withdrawal.frames, second.withdrawal.frames) == (1, 5)
    assert traces(out, GONE) == []


@pytest.mark.parametrize("reader", READERS)
def test_nobody_reads_what_is_half_done(finished, manifest, tmp_path, reader):
    out = shutil.copytree(finished, tmp_path / "out")
    assert killed(out, 20)
    with pytest.raises(IncompatibleRunError, match="`normpipe purge OUT` finishes it"):
        READERS[reader](manifest, out)


def test_another_name_comes_after_the_one_that_was_begun(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "out")
    assert killed(out, 20)
    first, second = purge(out, subject("ben"))
    assert (first.withdrawal.frames, second.withdrawal.frames) == (6, 4)
    assert traces(out, GONE) == []
    assert not any(row["subject"] == "ben" for row in iter_rows(out))


def test_a_live_run_is_left_alone(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "out")
    before = bytes_of(out)
    with locked(out), pytest.raises(IncompatibleRunError, match="another run is writing there"):
        withdrawn(out, subject(GONE))
    assert bytes_of(out) == before


@pytest.mark.slow
def test_sigkill(finished, whole, manifest, tmp_path):
    moments = random.Random(0)
    for number in range(4):
        out = shutil.copytree(finished, tmp_path / f"out{number}")
        command = [sys.executable, "-m", "normpipe", "purge", str(out), "--subject", GONE]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (out / PURGING_FILE).exists() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = not (out / PURGING_FILE).exists()
        again = subprocess.run(command, capture_output=True, text=True, check=False)
        assert again.returncode == (2 if done else 0), again.stderr
        check_finished(out, whole, manifest)
