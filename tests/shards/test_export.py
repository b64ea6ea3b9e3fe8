import csv
import hashlib
import json
import tarfile

import pytest
from fixtures.pairs import batch, failed_row, ok_row
from hypothesis import given
from hypothesis import strategies as st

from normpipe.errors import UsageError
from normpipe.records import PAIRS_SCHEMA
from normpipe.shards.export import export_folder, export_webdataset, safe_name
from normpipe.shards.writer import ShardWriter

ROWS = [ok_row("plain", 0, emotion="anger", yaw=1.5), ok_row("../dir/ü b.jpg", 1, box=[1.0, 2.0, 3.0, 4.0]), failed_row("gone")]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for name in ("shards", "journal"):
        (folder / name).mkdir()
    (folder / "plan.json").write_text("{}")
    (folder / "journal" / "part-00000.json").write_text("{}")
    with ShardWriter(folder / "shards" / "part-00000.parquet", PAIRS_SCHEMA) as writer:
        writer.append(batch(ROWS))
    return folder


def test_a_folder_has_the_pictures_and_a_table_that_names_them(out, tmp_path):
    assert export_folder(out, tmp_path / "x") == 2
    with (tmp_path / "x" / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["sample_id"] for row in rows] == ["plain", "../dir/ü b.jpg", "gone"]
    assert [row["emotion"] for row in rows] == ["anger", "", ""]
    assert json.loads(rows[1]["box"]) == [1, 2, 3, 4]
    for row, source in zip(rows[:2], ROWS, strict=False):
        for image in ("original", "normalized"):
            assert (tmp_path / "x" / row[image]).read_bytes() == source[image]["bytes"]
    assert (rows[2]["original"], rows[2]["reason"]) == ("", "no_face")
    assert len(list((tmp_path / "x" / "original").iterdir())) == 2


def test_webdataset_samples_share_a_key_and_tell_nothing_of_the_machine(out, tmp_path):
    assert export_webdataset(out, tmp_path / "w") == 2
    with tarfile.open(tmp_path / "w" / "part-00000.tar") as tar:
        members = tar.getmembers()
        assert [member.name for member in members[:3]] == ["plain-0.original.jpg", "plain-0.normalized.jpg", "plain-0.json"]
        assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}
        assert json.load(tar.extractfile("plain-0.json"))["emotion"] == "anger"
        assert tar.extractfile("plain-0.original.jpg").read() == ROWS[0]["original"]["bytes"]
    assert len(members) == 6


@pytest.mark.parametrize("export", [export_folder, export_webdataset])
def test_equal_runs_export_to_equal_bytes(out, tmp_path, export):
    digests = []
    for name in ("first", "second"):
        export(out, tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        digests.append([hashlib.sha256(path.read_bytes()).digest() for path in files])
    assert digests[0] == digests[1]


def test_a_folder_with_content_is_refused(out, tmp_path):
    (tmp_path / "mine").write_bytes(b"")
    with pytest.raises(UsageError, match="not empty"):
        export_folder(out, tmp_path)


@given(ids=st.lists(st.text(max_size=200), min_size=2, max_size=2, unique=True), index=st.none() | st.integers(0, 9))
def test_names_are_safe_and_unique_even_where_case_does_not_count(ids, index):
    first, second = (safe_name({"sample_id": sample_id, "face_index": index}) for sample_id in ids)
    assert first.lower() != second.lower()
    for name in (first, second):
        assert len(name) < 120
        assert all(character.isascii() and (character.isalnum() or character in "_-") for character in name)
