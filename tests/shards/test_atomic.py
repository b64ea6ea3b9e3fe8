import hashlib

import pytest

from normpipe.shards.atomic import AtomicFile, Written, remove_leftovers, write_bytes


def test_the_file_appears_at_the_end_with_its_digest_and_size(tmp_path):
    target = tmp_path / "file"
    with AtomicFile(target) as file:
        file.write(b"abc")
        file.write(memoryview(b"def"))
        assert not target.exists()
        assert file.tell() == 6
    assert target.read_bytes() == b"abcdef"
    assert file.written == Written(hashlib.sha256(b"abcdef").hexdigest(), 6)


def write_half(target):
    with AtomicFile(target) as file:
        file.write(b"new")
        raise KeyboardInterrupt


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_half(target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_existing_file_is_replaced(tmp_path):
    write_bytes(tmp_path / "file", b"old")
    assert write_bytes(tmp_path / "file", b"new").size == 3
    assert (tmp_path / "file").read_bytes() == b"new"


def test_others_may_read_the_file_as_the_umask_says(tmp_path):
    write_bytes(tmp_path / "file", b"x")
    (tmp_path / "plain").write_bytes(b"x")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_two_writers_of_one_target_do_not_meet(tmp_path):
    with AtomicFile(tmp_path / "file") as first, AtomicFile(tmp_path / "file") as second:
        first.write(b"1")
        second.write(b"2")
    assert (tmp_path / "file").read_bytes() in (b"1", b"2")


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    write_bytes(tmp_path / "part-00000.parquet", b"x")
    (tmp_path / "notes.part").write_bytes(b"the user's")
    leftover = AtomicFile(tmp_path / "part-00001.parquet")
    leftover.write(b"half")
    assert remove_leftovers(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.part", "part-00000.parquet"]
