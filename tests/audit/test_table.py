"""Rows of a run by id: whose they are, and when nobody knows."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from normpipe.audit.groups import UNKNOWN
from normpipe.audit.table import check_columns, read_table
from normpipe.errors import UsageError
from normpipe.records import PAIRS_SCHEMA


def written(folder, *parts: Sequence[dict]):
    (folder / "shards").mkdir(exist_ok=True)
    for number, rows in enumerate(parts):
        pq.write_table(pa.Table.from_pylist(rows, PAIRS_SCHEMA), folder / "shards" / f"part-{number:05d}.parquet")
    return [f"part-{number:05d}" for number in range(len(parts))]


def row(sample_id, face_index=0, **columns):
    return {"sample_id": sample_id, "face_index": face_index, "status": "ok", **columns}


def test_rows_are_sorted_by_id_and_know_their_place(tmp_path):
    parts = written(tmp_path, [row("c"), row("a", subject="p")], [row("b", None, status="failed")])
    table = read_table(tmp_path, parts, ())
    assert table.sample_ids.tolist() == ["a", "b", "c"]
    assert table.number.tolist() == [1, 2, 0]
    assert table.ok.tolist() == [True, False, True]
    assert table.subjects.tolist() == ["/p", UNKNOWN, UNKNOWN]


def test_the_cut_into_parts_does_not_matter(tmp_path):
    rows = [row(name, subject=name, yaw=1.0) for name in "dbac"]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = read_table(tmp_path / "one", written(tmp_path / "one", rows), ("subject",))
    two = read_table(tmp_path / "two", written(tmp_path / "two", rows[:1], rows[1:]), ("subject",))
    assert one.groups["subject"].tolist() == two.groups["subject"].tolist() == ["a", "b", "c", "d"]
    assert one.number.tolist() == two.number.tolist()


def test_subjects_of_two_datasets_are_two_people(tmp_path):
    parts = written(tmp_path, [row("a", dataset="x", subject="1"), row("b", dataset="y", subject="1")])
    assert len(set(read_table(tmp_path, parts, ()).subjects)) == 2


def test_several_faces_of_a_frame_are_nobodys(tmp_path):
    parts = written(tmp_path, [row("a", 0, subject="p"), row("a", 1, subject="p"), row("b", subject="p")])
    table = read_table(tmp_path, parts, ())
    assert table.subjects.tolist() == [UNKNOWN, UNKNOWN, "/p"]
    assert table.crowded == 2


def test_clips_are_of_frames_and_of_tracked_people(tmp_path):
    clip = {"sequence": "s.mp4", "frame": 3}
    parts = written(
        tmp_path,
        [row("a", **clip), row("b", track_id=1, **clip), row("c", sequence="s"), row("d", 0, **clip), row("d", 1, **clip)],
    )
    clips = read_table(tmp_path, parts, ()).clips.tolist()
    assert clips[0] != clips[1] != UNKNOWN
    assert clips[2:] == [UNKNOWN] * 3


def test_frames_of_a_clip_belong_together_where_nobody_is_named(tmp_path):
    clip = {"sequence": "s.mp4", "frame": 3}
    parts = written(tmp_path, [row("a", **clip), row("b", **clip), row("c", subject="p", **clip), row("d")])
    table = read_table(tmp_path, parts, ())
    assert table.units[0] == table.units[1] != UNKNOWN
    assert table.units[2:].tolist() == ["/p", UNKNOWN]
    assert table.subjects.tolist() == [UNKNOWN, UNKNOWN, "/p", UNKNOWN]  # a clip is nobody's name


@pytest.mark.parametrize("name", ["nothing", "yaw", "original"])
def test_only_words_and_whole_numbers_group(name):
    check_columns(("subject", "split", "au_occurrence_12"))
    with pytest.raises(UsageError, match=f"--columns {name}"):
        check_columns((name,))


def test_a_run_without_rows_has_an_empty_table(tmp_path):
    assert len(read_table(tmp_path, written(tmp_path, []), ("subject",))) == 0
