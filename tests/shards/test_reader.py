import shutil

import pyarrow.parquet as pq
import pytest
from fixtures.pairs import batch, failed_row, ok_row
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.errors import UsageError
from normpipe.records import PAIRS_SCHEMA
from normpipe.shards.reader import committed_parts, find_rows, iter_batches, iter_rows, read_slice
from normpipe.shards.writer import ShardWriter

PARTS = [
    [ok_row("a", 0, face_index=0), ok_row("a", 1, face_index=1), failed_row("b")],
    [ok_row(f"c{index}", index) for index in range(200)],
]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for name in ("shards", "journal"):
        (folder / name).mkdir()
    (folder / "plan.json").write_text("{}")
    for index, rows in enumerate([*PARTS, [ok_row("in flight")]]):
        with ShardWriter(folder / "shards" / f"part-{index:05d}.parquet", PAIRS_SCHEMA) as writer:
            writer.append(batch(rows))
        if index < len(PARTS):
            (folder / "journal" / f"part-{index:05d}.json").write_text("{}")
    return folder


def test_rows_come_in_plan_order_and_without_uncommitted_parts(out):
    assert [row["sample_id"] for row in iter_rows(out)] == ["a", "a", "b", *(f"c{index}" for index in range(200))]


def test_columns_can_be_chosen(out):
    batches = list(iter_batches(out, columns=["sample_id", "status"]))
    assert {tuple(each.schema.names) for each in batches} == {("sample_id", "status")}
    assert max(each.num_rows for each in batches) <= 128


def test_all_rows_of_a_sample_are_found(out):
    assert [(part.name, index) for part, index in find_rows(out, "a")] == [("part-00000.parquet", 0), ("part-00000.parquet", 1)]
    assert [index for _, index in find_rows(out, "c150")] == [150]
    assert find_rows(out, "in flight") == []


@settings(deadline=None, max_examples=30)
@given(edges=st.tuples(st.integers(0, 200), st.integers(0, 200)).map(sorted))
def test_a_slice_is_the_rows_asked_for(out, edges):
    start, stop = edges
    part = out / "shards" / "part-00001.parquet"
    assert read_slice(part, start, stop)["sample_id"].to_pylist() == [f"c{index}" for index in range(start, stop)]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not a run's folder"):
        committed_parts(tmp_path)


def test_a_committed_file_that_is_gone_is_named(out, tmp_path):
    (tmp_path / "journal").mkdir()
    (tmp_path / "plan.json").write_text("{}")
    (tmp_path / "journal" / "part-00000.json").write_text("{}")
    with pytest.raises(UsageError, match=r"shards/part-00000\.parquet: missing"):
        list(iter_batches(tmp_path))


def test_the_schema_survives(out):
    assert pq.read_schema(out / "shards" / "part-00000.parquet").remove_metadata() == PAIRS_SCHEMA


@pytest.mark.parametrize("content", [b"", b"junk", b"PAR1" + bytes(1000) + b"PAR1"])
def test_a_damaged_part_is_named_with_what_to_do(out, tmp_path, content):
    copy = shutil.copytree(out, tmp_path / "copy")
    (copy / "shards" / "part-00001.parquet").write_bytes(content)
    for read in (lambda: list(iter_rows(copy)), lambda: find_rows(copy, "c0")):
        with pytest.raises(UsageError, match=r"shards/part-00001\.parquet: damaged; delete this file"):
            read()
