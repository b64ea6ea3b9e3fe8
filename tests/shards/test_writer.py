import json
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.pairs import batch, ok_row
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.records import FACES_SCHEMA, PAIRS_SCHEMA
from normpipe.shards.atomic import AtomicFile
from normpipe.shards.writer import ROW_GROUP_ROWS, ShardWriter

ROWS = [ok_row(f"sample-{index}", seed=index, yaw=index / 7, emotion="anger") for index in range(300)]


def write_shard(path, sizes):
    rows = iter(ROWS)
    with ShardWriter(path, PAIRS_SCHEMA) as writer:
        for size in sizes:
            writer.append(batch([next(rows) for _ in range(size)]))
    return writer.written


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    path = tmp_path_factory.mktemp("shard") / "part.parquet"
    write_shard(path, [300])
    return path


def test_rows_come_back_as_they_went_in(shard):
    assert pq.read_table(shard).cast(PAIRS_SCHEMA).to_batches()[0].slice(0, 5).to_pylist() == batch(ROWS[:5]).to_pylist()


@settings(deadline=None, max_examples=15)
@given(cuts=st.lists(st.integers(0, 300), max_size=12))
def test_bytes_do_not_depend_on_the_micro_batches(shard, tmp_path_factory, cuts):
    edges = [0, *sorted(cuts), 300]
    path = tmp_path_factory.mktemp("cut") / "part.parquet"
    write_shard(path, [stop - start for start, stop in pairwise(edges)])
    assert path.read_bytes() == shard.read_bytes()


def test_row_groups_are_short(shard):
    metadata = pq.read_metadata(shard)
    rows = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    assert rows == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 300 - 2 * ROW_GROUP_ROWS]


def test_image_bytes_are_stored_as_they_are_and_the_rest_compressed(shard):
    group = pq.read_metadata(shard).row_group(0)
    codecs = {group.column(index).path_in_schema: group.column(index).compression for index in range(group.num_columns)}
    assert {path for path, codec in codecs.items() if codec == "UNCOMPRESSED"} == {"original.bytes", "normalized.bytes"}
    assert set(codecs.values()) == {"UNCOMPRESSED", "ZSTD"}


def test_hugging_face_features_describe_every_column(shard):
    features = json.loads(pq.read_schema(shard).metadata[b"huggingface"])["info"]["features"]
    assert set(features) == set(PAIRS_SCHEMA.names)
    assert features["original"] == {"_type": "Image"}
    assert features["box"] == {"_type": "List", "feature": {"_type": "Value", "dtype": "float32"}, "length": 4}
    assert features["frame"] == {"_type": "Value", "dtype": "int64"}
    assert features["timestamp"] == {"_type": "Value", "dtype": "float64"}


def test_a_shard_without_rows_is_a_valid_file(tmp_path):
    with ShardWriter(tmp_path / "part.parquet", FACES_SCHEMA):
        pass
    assert pq.read_table(tmp_path / "part.parquet").num_rows == 0


def test_an_error_leaves_no_file(tmp_path):
    def write_half():
        with ShardWriter(tmp_path / "part.parquet", PAIRS_SCHEMA) as writer:
            writer.append(batch(ROWS[:200]))
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    written = 0

    def write(self, data):
        nonlocal written
        written += len(memoryview(data).cast("B"))
        if written > 50_000:
            raise OSError(28, "No space left on device")
        return len(memoryview(data).cast("B"))

    monkeypatch.setattr(AtomicFile, "write", write)
    with pytest.raises(OSError, match="No space left"):
        write_shard(tmp_path / "part.parquet", [200, 100])
    assert list(tmp_path.iterdir()) == []


def test_rows_of_another_schema_are_refused(tmp_path):
    with pytest.raises(ValueError, match="another schema"), ShardWriter(tmp_path / "part.parquet", PAIRS_SCHEMA) as writer:
        writer.append(pa.RecordBatch.from_pylist([{"sample_id": 1}]))
    assert list(tmp_path.iterdir()) == []


def test_datasets_decodes_the_images(shard, tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the package datasets")
    loaded = datasets.load_dataset("parquet", data_files=str(shard), cache_dir=str(tmp_path))["train"]
    assert loaded[0]["original"].size == (16, 16)
