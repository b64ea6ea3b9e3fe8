"""How commits lie on disk: whatever is killed or read in between, no commit is lost and none comes back."""

import json
import threading

import pytest
from fixtures.kills import Bomb, KilledError
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.errors import NormpipeError
from normpipe.shards.atomic import write_bytes
from normpipe.shards.commits import (
    COMMITTED_FILE,
    Commit,
    CommittedFile,
    committed_names,
    compact,
    part_name,
    read_commits,
    write_commit,
)


def commit(index, fingerprint="digest"):
    return Commit(
        index=index,
        start=index * 4,
        stop=index * 4 + 4,
        fingerprint=fingerprint,
        files=[CommittedFile(path=f"rows/{part_name(index)}.txt", sha256="00", size=4)],
        rows=4,
        ok=3,
        failed={"no_face": 1},
        seconds_by_stage={"decode": 0.25, "write": 1.0},
        sources="abc",
    )


def indices(folder):
    return [found["index"] for found in read_commits(folder)]


def test_a_compacted_commit_says_what_its_json_said(tmp_path):
    write_commit(tmp_path, commit(1))
    before = read_commits(tmp_path)
    compact(tmp_path)
    assert read_commits(tmp_path) == before == [commit(1)]
    assert [path.name for path in tmp_path.iterdir()] == [COMMITTED_FILE]


def test_a_json_beside_the_compacted_file_is_newer(tmp_path):
    write_commit(tmp_path, commit(0, "old"))
    compact(tmp_path)
    write_commit(tmp_path, commit(0, "new"))
    assert [found["fingerprint"] for found in read_commits(tmp_path)] == ["new"]
    compact(tmp_path)
    assert [found["fingerprint"] for found in read_commits(tmp_path)] == ["new"]


def test_order_is_that_of_the_plan_beyond_five_digits(tmp_path):
    for index in (100_000, 99_999, 7):
        write_commit(tmp_path, commit(index))
        compact(tmp_path)
    assert committed_names(tmp_path) == ["part-00007", "part-99999", "part-100000"]
    assert indices(tmp_path) == [7, 99_999, 100_000]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '{"index": 1}'])
def test_a_damaged_json_is_no_commit_and_hides_the_older_one(tmp_path, content):
    write_commit(tmp_path, commit(1))
    compact(tmp_path)
    (tmp_path / "part-00001.json").write_text(content)
    assert read_commits(tmp_path) == []
    compact(tmp_path)
    assert read_commits(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"junk", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_damaged_compacted_file_is_refused_with_what_to_do(tmp_path, content):
    (tmp_path / COMMITTED_FILE).write_bytes(content)
    for read in (read_commits, committed_names):
        with pytest.raises(NormpipeError, match=r"committed\.parquet: damaged; delete it"):
            read(tmp_path)


def test_equal_commits_compact_to_equal_bytes(tmp_path):
    for name, order in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        (tmp_path / name).mkdir()
        for index in order:
            write_commit(tmp_path / name, commit(index))
        compact(tmp_path / name)
    assert (tmp_path / "a" / COMMITTED_FILE).read_bytes() == (tmp_path / "b" / COMMITTED_FILE).read_bytes()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 5)),
        st.tuples(st.just("compact"), st.none()),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=150)
@given(steps=steps, kill_after=st.integers(0, 25))
def test_a_kill_at_any_moment_loses_nothing(tmp_path_factory, steps, kill_after):
    folder = tmp_path_factory.mktemp("journal")
    certain: set[int] = set()
    possible: set[int] = set()
    with Bomb(kill_after) as bomb:
        try:
            for step, argument in steps:
                if step == "write":
                    possible = certain | {argument}
                    write_commit(folder, commit(argument))
                else:
                    compact(folder)
                certain = possible
        except KilledError:
            assert bomb.burst
    found = set(indices(folder))
    assert certain <= found <= possible
    assert [int(name[5:]) for name in committed_names(folder)] == sorted(found)
    compact(folder)
    assert set(indices(folder)) == found


def test_reading_while_the_director_compacts_never_misses_a_commit(tmp_path):
    for index in range(60):
        write_commit(tmp_path, commit(index))
    ended = threading.Event()

    def churn():
        while not ended.is_set():
            compact(tmp_path)
            for index in range(60):
                write_bytes(tmp_path / f"{part_name(index)}.json", json.dumps(commit(index)).encode(), durable=False)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        seen = [(len(committed_names(tmp_path)), len(indices(tmp_path))) for _ in range(40)]
    finally:
        ended.set()
        thread.join()
    assert set(seen) == {(60, 60)}
