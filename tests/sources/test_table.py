"""A label table of any form becomes a manifest: columns mapped, labels in the common vocabulary, clips unrolled."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.clips import write_video

from normpipe.errors import UsageError
from normpipe.sources.root import Root
from normpipe.sources.table import TableForm, build_table
from normpipe.sources.video import Sampling


def _csv(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_columns_are_mapped_and_the_rest_is_named(tmp_path: Path) -> None:
    path = _csv(tmp_path, "file,person,age,split", "a.jpg,7,30,train", "b/c.jpg,8,40,test")
    built = build_table(path, Root(str(tmp_path)), TableForm(columns={"file": "uri", "person": "subject"}, dataset="mine"))
    assert built.unused == ("age",)
    assert built.table.select(["sample_id", "uri", "dataset", "subject", "split"]).to_pylist() == [
        {"sample_id": "a.jpg", "uri": "a.jpg", "dataset": "mine", "subject": "7", "split": "train"},
        {"sample_id": "b/c.jpg", "uri": "b/c.jpg", "dataset": "mine", "subject": "8", "split": "test"},
    ]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_codes_become_common_names_and_stay_as_raw(tmp_path: Path, suffix: str) -> None:
    codes = [0, 3, 7]
    path = tmp_path / f"labels.{suffix}"
    if suffix == "csv":
        path.write_text("uri,label\n" + "".join(f"{index}.jpg,{code}\n" for index, code in enumerate(codes)))
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps({"uri": f"{index}.jpg", "label": code}) + "\n" for index, code in enumerate(codes)))
    else:
        pq.write_table(pa.table({"uri": [f"{index}.jpg" for index in range(3)], "label": codes}), path)
    form = TableForm(columns={"label": "emotion"}, emotions={"0": "neutral", "3": "anger", "7": ""})
    table = build_table(path, Root(str(tmp_path)), form).table
    assert table["emotion"].to_pylist() == ["neutral", "anger", None]
    assert table["emotion_raw"].to_pylist() == ["0", "3", "7"]
    with pytest.raises(UsageError, match="emotions without a common name"):
        build_table(path, Root(str(tmp_path)), TableForm(columns={"label": "emotion"}))


def test_missing_values_are_not_annotated(tmp_path: Path) -> None:
    path = _csv(tmp_path, "uri,AU12,subject", "a.jpg,1,9", "b.jpg,9,NA", "c.jpg,,x")
    form = TableForm(columns={"AU12": "au_occurrence_12"}, missing=frozenset({"9", "NA"}))
    table = build_table(path, Root(str(tmp_path)), form).table
    assert table["au_occurrence_12"].to_pylist() == [1, None, None]
    with pytest.raises(UsageError, match=r"line 3: au_occurrence_12: 9 is not within 0 and 1"):
        build_table(path, Root(str(tmp_path)), TableForm(columns={"AU12": "au_occurrence_12"}))


def test_a_clip_becomes_its_frames_with_its_labels(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", 10)
    path = _csv(tmp_path, "uri,emotion", "v.mp4,happy", "s.jpg,sad")
    table = build_table(path, Root(str(tmp_path)), TableForm(), Sampling(stride=4)).table
    assert table["sample_id"].to_pylist() == ["v.mp4#000000", "v.mp4#000004", "v.mp4#000008", "s.jpg"]
    assert table["emotion"].to_pylist() == ["happiness"] * 3 + ["sadness"]
    assert table["timestamp"].to_pylist() == [0, pytest.approx(0.16), pytest.approx(0.32), None]
    assert table["sequence"].to_pylist() == ["v.mp4"] * 3 + [None]


def test_frames_named_by_the_table_get_their_time(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", 10)
    path = _csv(tmp_path, "uri,frame,sample_id", "v.mp4,7,", "v.mp4,2,own", "v.mp4,99,", "s.jpg,5,")
    table = build_table(path, Root(str(tmp_path)), TableForm()).table
    assert table["sample_id"].to_pylist() == ["v.mp4#000007", "own", "v.mp4#000099", "s.jpg"]
    assert table["frame"].to_pylist() == [7, 2, 99, None]
    assert table["timestamp"].to_pylist() == [pytest.approx(0.28), pytest.approx(0.08), None, None]


def test_a_broken_clip_stays_a_row(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"broken")
    built = build_table(_csv(tmp_path, "uri", "v.mp4", "gone.mkv"), Root(str(tmp_path)), TableForm())
    assert built.table["sample_id"].to_pylist() == ["v.mp4#000000", "gone.mkv#000000"]
    assert built.broken == 2


def test_absolute_paths_below_root_become_relative(tmp_path: Path) -> None:
    path = _csv(tmp_path, "uri", f"{tmp_path}/x/a.jpg", "./b.jpg", "a%E9.jpg")
    assert build_table(path, Root(str(tmp_path)), TableForm()).table["uri"].to_pylist() == ["x/a.jpg", "b.jpg", "a%25E9.jpg"]
    with pytest.raises(UsageError, match="is no path below ROOT"):
        build_table(path, Root(str(tmp_path / "elsewhere")), TableForm())


def test_two_faces_of_one_picture_need_their_own_ids(tmp_path: Path) -> None:
    path = _csv(tmp_path, "uri,box,id", 'a.jpg,"[0, 0, 5, 5]",1', 'a.jpg,"[5, 5, 9, 9]",2')
    with pytest.raises(UsageError, match=r"line 3: sample_id: 'a\.jpg' is already that of line 2"):
        build_table(path, Root(str(tmp_path)), TableForm())
    table = build_table(path, Root(str(tmp_path)), TableForm(columns={"id": "sample_id"})).table
    assert table["sample_id"].to_pylist() == ["1", "2"]
    assert table["box"].to_pylist() == [[0, 0, 5, 5], [5, 5, 9, 9]]


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({}, "say which column holds the path, such as --map file=uri"),
        ({"file": "path"}, "a manifest has no column 'path'"),
        ({"path": "uri"}, r"labels\.csv has no column 'path', only file, who"),
        ({"file": "uri", "who": "uri"}, "'uri' is mapped twice"),
    ],
)
def test_wrong_mappings_are_one_clear_line(tmp_path: Path, columns: dict[str, str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        build_table(_csv(tmp_path, "file,who", "a.jpg,7"), Root(str(tmp_path)), TableForm(columns=columns))
