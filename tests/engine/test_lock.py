import signal
import subprocess
import sys

import pytest

from normpipe.engine import lock
from normpipe.engine.lock import is_locked, locked
from normpipe.errors import IncompatibleRunError, UsageError

SECONDS = 0.5
"""Between two raises of a lease's counter, in these tests."""

HOLDER = """
import sys, time
from pathlib import Path
from normpipe.engine.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_live_run_is_refused(tmp_path, holder):
    assert is_locked(tmp_path)
    with pytest.raises(IncompatibleRunError, match="another run is writing there"), locked(tmp_path):
        pass


def test_a_killed_run_holds_nothing(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        pass


def test_the_lock_is_free_again_after_the_run(tmp_path):
    with locked(tmp_path / "new"):
        assert is_locked(tmp_path / "new")
    assert not is_locked(tmp_path / "new")


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot write"), locked(tmp_path / "file" / "out"):
        pass


# A file system without locks, as the process under test sees it: the system's own answer to flock there is an error.
WITHOUT_LOCKS = f"""
import errno, sys
import fcntl
def flock(descriptor, operation):
    raise OSError(errno.{{error}}, "no locks here")
fcntl.flock = flock
import normpipe.engine.lock as lock_module
lock_module.LEASE_SECONDS = {SECONDS}
"""

LEASE_HOLDER = (
    WITHOUT_LOCKS
    + """
import time
from pathlib import Path
from normpipe.engine.signals import interruptible
from normpipe.errors import IncompatibleRunError
try:
    with interruptible(), lock_module.locked(Path(sys.argv[1]), takeover="takeover" in sys.argv):
        print("held", flush=True)
        time.sleep(0.0 if "briefly" in sys.argv else 60.0)
except IncompatibleRunError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
"""
)


@pytest.fixture
def lease(tmp_path):
    """Starts processes that want the folder; they all see a file system without locks."""
    started = []

    def start(*options, error="ENOLCK"):
        code = LEASE_HOLDER.replace("{error}", error)
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), *options], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def outcome(process):
    text, _ = process.communicate(timeout=60)
    return process.returncode, text.strip()


@pytest.mark.parametrize("error", ["ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"])
def test_without_locks_a_lease_is_held_and_given_back(tmp_path, lease, error):
    assert outcome(lease("briefly", error=error)) == (0, "held")
    assert not (tmp_path / ".lease").exists()
    assert outcome(lease("briefly", error=error)) == (0, "held")


def test_a_lease_whose_counter_moves_is_refused_even_to_a_takeover(tmp_path, lease, monkeypatch):
    holder = lease()
    assert holder.stdout.readline() == "held\n"
    for options in ((), ("takeover",)):
        code, text = outcome(lease(*options))
        assert code == 3
        assert "another run is writing there" in text
    monkeypatch.setattr(lock, "LEASE_SECONDS", SECONDS)
    assert is_locked(tmp_path)
    assert holder.poll() is None


def test_a_dead_holders_lease_asks_for_a_takeover_and_is_taken(tmp_path, lease, monkeypatch):
    holder = lease()
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    code, text = outcome(lease())
    assert code == 3
    assert "--takeover" in text
    monkeypatch.setattr(lock, "LEASE_SECONDS", SECONDS)
    assert not is_locked(tmp_path)
    assert outcome(lease("takeover", "briefly")) == (0, "held")


def test_a_stopped_holder_that_wakes_up_after_a_takeover_ends_at_once(lease):
    holder = lease()
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGSTOP)
    taker = lease("takeover")
    assert taker.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGCONT)
    code, text = outcome(holder)
    assert code == 3
    assert "has taken this folder over" in text
    assert taker.poll() is None


def test_of_two_that_take_over_at_once_one_stays(tmp_path, lease):
    (tmp_path / ".lease").write_bytes(b"dead 7\n")
    takers = [lease("takeover"), lease("takeover")]
    first = [process.stdout.readline() for process in takers]
    assert sorted(line == "held\n" for line in first) == [False, True], first
