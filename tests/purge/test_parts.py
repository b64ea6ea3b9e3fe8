"""A part without some frames: all other rows as they were, in order; a placeholder for each frame that went."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.purge import parts
from normpipe.records import FACES_SCHEMA, Reason, Status
from normpipe.shards.atomic import sha256_of
from normpipe.shards.writer import ShardWriter

START = 40

FRAMES = st.lists(st.integers(0, 4), min_size=1, max_size=12)
"""Faces of each frame; a frame without one is a row that failed."""


def write_part(path, faces):
    rows = []
    for frame, count in enumerate(faces, START):
        row = {"sample_id": f"s{frame}", "content_sha256": f"{frame:064x}"}
        rows += [
            {**row, "face_index": index, "status": Status.OK, "landmarks": [frame + index / 8] * 1404} for index in range(count)
        ]
        rows += [] if count else [{**row, "status": Status.FAILED, "reason": Reason.NO_FACE}]
    with ShardWriter(path, FACES_SCHEMA) as writer:
        writer.append(pa.RecordBatch.from_pylist(rows, FACES_SCHEMA))
    file = {"path": f"faces/{path.name}", "sha256": writer.written.sha256, "size": writer.written.size}
    return {
        "index": 0,
        "start": START,
        "stop": START + len(faces),
        "fingerprint": "f",
        "files": [file],
        "rows": len(rows),
        "ok": 0,
        "failed": {},
        "seconds_by_stage": {},
        "sources": "s",
    }


@settings(max_examples=25, deadline=None)
@given(faces=FRAMES, chosen=st.sets(st.integers(0, 11)), batch=st.integers(1, 5))
def test_rows_that_remain_are_byte_equal_and_in_order(tmp_path_factory, faces, chosen, batch):
    out = tmp_path_factory.mktemp("out")
    (out / "faces").mkdir()
    path = out / "faces" / "part-00000.parquet"
    commit = write_part(path, faces)
    before = pq.read_table(path).to_pylist()
    places = {START + frame for frame in chosen if frame < len(faces)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "_BATCH_ROWS", batch)
        after = parts.rewrite_shard(out, commit, places)
        once = path.read_bytes()
        assert parts.is_sound(out, commit, places), "also by the old record, so that it may be done again"
        assert parts.rewrite_shard(out, after, places) == after
    assert path.read_bytes() == once
    gone = {f"s{place}" for place in places}
    left = pq.read_table(path).to_pylist()
    assert [row for row in left if row["reason"] != Reason.WITHDRAWN] == [row for row in before if row["sample_id"] not in gone]
    frames = [row["sample_id"] for row in left if row["face_index"] in (None, 0)]
    expected = [f"withdrawn-{n:08d}" if n in places else f"s{n}" for n in range(START, START + len(faces))]
    assert frames == expected, "every frame has its rows, in order"
    assert (after["rows"], after["files"][0]["sha256"]) == (len(left), sha256_of(path))
    assert after["failed"].get(Reason.WITHDRAWN, 0) == len(places)
    assert after["ok"] == sum(row["status"] == Status.OK for row in left)


def test_a_part_of_other_bytes_is_not_sound(tmp_path):
    (tmp_path / "faces").mkdir()
    path = tmp_path / "faces" / "part-00000.parquet"
    commit = write_part(path, [1, 2, 0])
    assert parts.is_sound(tmp_path, commit, {START})
    path.write_bytes(path.read_bytes()[:100] + b"?" + path.read_bytes()[101:])
    assert not parts.is_sound(tmp_path, commit, {START})
    path.unlink()
    assert not parts.is_sound(tmp_path, commit, {START})
