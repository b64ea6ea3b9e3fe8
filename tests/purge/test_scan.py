"""The proof looks into everything: a name is found wherever it hides, and what others rightly carry is not taken for it."""

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from normpipe.purge.pending import Pending
from normpipe.purge.request import WithdrawnRow
from normpipe.purge.scan import scan
from normpipe.records import IMAGE_TYPE, MANIFEST_SCHEMA
from normpipe.sources.manifest import manifest_table, write_manifest

PICTURE = b"\xff\xd8\xff" + bytes(range(200))
SOURCE = b"the whole photo"


def pending(sample_id="anna-lindqvist-01.png", subject="anna-lindqvist", dataset="lab"):
    row = WithdrawnRow(0, sample_id, f"photos/{sample_id}", dataset, subject, None)
    pictures, contents = ((hashlib.sha256(each).hexdigest(),) for each in (PICTURE, SOURCE))
    return Pending((row,), pictures, contents, {}, ())


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    write_rows(folder, ["ben"])
    return folder


def write_rows(out, subjects, datasets=None):
    columns = {
        "sample_id": [f"s{number}" for number in range(len(subjects))],
        "uri": [f"s{number}.png" for number in range(len(subjects))],
        "dataset": datasets or ["lab"] * len(subjects),
        "subject": subjects,
        "split": ["1"] * len(subjects),
    }
    write_manifest(manifest_table(columns, len(subjects)), out / "manifest.parquet")


def table(values, name="word", **how):
    return lambda path: pq.write_table(pa.table({name: pa.array(values)}), path, **how)


def unused_dictionary_entry(path):
    column = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array(["ben", "anna-lindqvist"]))
    pq.write_table(pa.table({"word": column}), path, compression="zstd")
    assert pq.read_table(path).column("word").to_pylist() == ["ben"]


def picture_in_a_table(path):
    pq.write_table(pa.table({"image": pa.array([{"bytes": PICTURE, "path": None}], IMAGE_TYPE)}), path, compression="zstd")


HIDDEN = {
    "run.log": lambda path: path.write_text("failed: anna-lindqvist-01.png: broken\n"),
    "id.html": lambda path: path.write_text("<p>photos/anna-lindqvist-01.png</p>"),
    "hashed.html": lambda path: path.write_text(hashlib.sha256(b"anna-lindqvist-01.png").hexdigest()[:12]),
    "source.json": lambda path: path.write_text(json.dumps([hashlib.sha256(SOURCE).hexdigest()])),
    "page.parquet": table(["x", "anna-lindqvist"] * 500, compression="zstd", write_statistics=False),
    "plain.parquet": table(["anna-lindqvist"], compression="zstd", use_dictionary=False, write_statistics=False),
    "nested.parquet": table([["anna-lindqvist"]], compression="zstd"),
    "map.parquet": table([{"a": {"b": "anna-lindqvist"}}], compression="zstd"),
    "dictionary.parquet": unused_dictionary_entry,
    "schema.parquet": table([1], name="anna-lindqvist"),
    "picture.parquet": picture_in_a_table,
    "copy.jpg": lambda path: path.write_bytes(PICTURE),
    "source.jpg": lambda path: path.write_bytes(SOURCE),
    "anna-lindqvist-01.png": lambda path: path.write_bytes(b""),
    "anna-lindqvist_": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_is_found(out, name):
    assert scan(out, pending()).findings == []
    HIDDEN[name](out / name)
    assert {finding.path for finding in scan(out, pending()).findings} == {name}


def test_escaped_letters_are_found(out):
    (out / "some.json").write_text(json.dumps({"subject": "Åsa Öberg"}))
    assert "Öberg" not in (out / "some.json").read_text()
    assert len(scan(out, pending(subject="Åsa Öberg")).findings) == 1


@pytest.mark.parametrize("column", ["subject", "sample_id", "uri"])
def test_a_short_name_is_found_in_columns_that_name_and_nowhere_else(out, column):
    short = pending(sample_id="1", subject="1")
    value = "photos/1" if column == "uri" else "1"
    pq.write_table(pa.table({column: [value], "dataset": ["lab"]}), out / "found.parquet")
    pq.write_table(pa.table({"split": ["1"], "number": [1]}), out / "other.parquet")
    (out / "found.json").write_text(json.dumps([{column: value}]))
    (out / "other.json").write_text(json.dumps({"split": "1", "rows": 1}))
    assert {finding.path for finding in scan(out, short).findings} == {"found.parquet", "found.json"}


def test_the_same_name_in_another_dataset_is_somebody_else(out):
    write_rows(out, ["anna-lindqvist"], ["clinic"])
    assert scan(out, pending()).findings == []
    pq.write_table(pa.table({"dataset": ["lab"], "subject": ["anna-lindqvist"]}), out / "left.parquet")
    assert [finding.path for finding in scan(out, pending()).findings] == ["left.parquet"]


def test_a_name_within_the_name_of_somebody_who_stays_is_no_trace(out):
    write_rows(out, ["anna-lindqvist-senior"])
    proof = scan(out, pending())
    assert proof.findings == []
    assert proof.short == 1, "it is looked for by value"


def test_a_table_that_cannot_be_read_proves_nothing(out):
    (out / "broken.parquet").write_bytes(b"PAR1")
    assert [(finding.path, finding.what) for finding in scan(out, pending()).findings] == [
        ("broken.parquet", "it cannot be read")
    ]


def test_the_manifest_itself_is_searched(out):
    write_manifest(
        pa.Table.from_pylist([{"sample_id": "anna-lindqvist-01.png", "uri": "s.png"}], MANIFEST_SCHEMA),
        out / "manifest.parquet",
    )
    assert [finding.path for finding in scan(out, pending()).findings] == ["manifest.parquet"]
