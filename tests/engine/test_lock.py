import subprocess
import sys

import pytest

from normpipe.engine.lock import is_locked, locked
from normpipe.errors import IncompatibleRunError, UsageError

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
