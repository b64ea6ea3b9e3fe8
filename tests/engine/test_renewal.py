import hashlib

import pytest

from normpipe.engine.renewal import kept, recover
from normpipe.engine.tasks import OutputFile

OLD, NEW = b"old", b"new!"


@pytest.fixture
def old(tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "part").write_bytes(OLD)
    return OutputFile("rows/part", hashlib.sha256(OLD).hexdigest(), len(OLD))


def rewrite(out):
    other = out / "rows" / "other"
    other.write_bytes(NEW)
    other.replace(out / "rows" / "part")


def contents(out):
    return {path.name: path.read_bytes() for path in (out / "rows").iterdir()}


def test_old_files_come_back_unless_they_are_forgotten(tmp_path, old):
    with kept(tmp_path, [old]):
        rewrite(tmp_path)
    assert contents(tmp_path) == {"part": OLD}
    with kept(tmp_path, [old]) as files:
        rewrite(tmp_path)
        files.forget()
    assert contents(tmp_path) == {"part": NEW}


def test_a_second_attempt_keeps_the_files_of_before_the_first(tmp_path, old):
    kept(tmp_path, [old]).__enter__()  # and then its process is killed
    rewrite(tmp_path)
    with kept(tmp_path, [old]):
        rewrite(tmp_path)
    assert contents(tmp_path) == {"part": OLD}


def test_after_a_kill_the_files_that_the_journal_knows_are_put_in_place(tmp_path, old):
    kept(tmp_path, [old]).__enter__()
    rewrite(tmp_path)
    recover(tmp_path, ["rows"], lambda: [old])
    assert contents(tmp_path) == {"part": OLD}


def test_a_kill_after_the_commit_leaves_the_new_files(tmp_path, old):
    kept(tmp_path, [old]).__enter__()
    rewrite(tmp_path)
    recover(tmp_path, ["rows"], lambda: [OutputFile("rows/part", hashlib.sha256(NEW).hexdigest(), len(NEW))])
    assert contents(tmp_path) == {"part": NEW}


def test_a_file_system_without_links_gets_copies(tmp_path, old, monkeypatch):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    with kept(tmp_path, [old]):
        rewrite(tmp_path)
    assert contents(tmp_path) == {"part": OLD}
