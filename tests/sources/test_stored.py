"""Manifests in their canonical form: the same rows give the same bytes, in bounded memory, or nothing at all."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.errors import UsageError
from normpipe.records import ACTION_UNITS, EMOTIONS, MANIFEST_SCHEMA
from normpipe.shards.reader import read_slice
from normpipe.sources import manifest, unique
from normpipe.sources.manifest import FileSource, TableSource, manifest_table, read_manifest, sample_rows, store_manifest
from normpipe.sources.rows import BATCH_ROWS


@dataclass(frozen=True)
class Pieces:
    """A source that gives a table in pieces that end at `cuts`."""

    table: pa.Table
    cuts: list[int]

    def batches(self, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        for start, stop in zip([0, *self.cuts], [*self.cuts, self.table.num_rows], strict=True):
            yield from self.table.slice(start, stop - start).to_batches()


def _rows(count: int) -> pa.Table:
    columns: dict[str, list[object]] = {
        "sample_id": [f"clip-{row // 7}#{row:06d}" for row in range(count)],
        "uri": [f"clip-{row // 7}.mp4" for row in range(count)],
        "frame": [row % 7 for row in range(count)],
        "emotion": [EMOTIONS[row % 8] if row % 3 else None for row in range(count)],
        "valence": [row % 5 / 4 - 0.5 if row % 2 else None for row in range(count)],
        "box": [[0.5, 1.0, row + 1.0, 9.0] if row % 4 else None for row in range(count)],
        "emotion_votes": [[0.25] * (row % 3) if row % 5 else None for row in range(count)],
    }
    return manifest_table(columns, count)


def _write(table: pa.Table, path: Path) -> Path:
    names = [name for name in table.column_names if table[name].null_count < table.num_rows]
    if path.suffix == ".parquet":
        pq.write_table(table.select(names), path, row_group_size=11)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table.select(names).to_pylist()))
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows(["" if cell is None else cell for cell in row.values()] for row in table.select(names).to_pylist())
    return path


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 200), max_size=12).map(sorted))
def test_bytes_do_not_depend_on_the_batches(tmp_path_factory: pytest.TempPathFactory, cuts: list[int]) -> None:
    folder = tmp_path_factory.mktemp("m")
    table = _rows(200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "_GROUP_ROWS", 64)
        whole = store_manifest(TableSource(table), folder / "whole.parquet")
        pieces = store_manifest(Pieces(table, cuts), folder / "pieces.parquet")
    assert (pieces.rows, pieces.sha256) == (200, whole.sha256)
    assert pieces.path.read_bytes() == whole.path.read_bytes()
    assert pq.ParquetFile(pieces.path).metadata.num_row_groups == 4
    assert pq.read_table(pieces.path).replace_schema_metadata().equals(table)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_bytes_do_not_depend_on_the_format(tmp_path: Path, suffix: str) -> None:
    table = _rows(100)
    stored = store_manifest(FileSource(_write(table, tmp_path / f"m.{suffix}")), tmp_path / "stored.parquet")
    assert stored.sha256 == store_manifest(TableSource(table), tmp_path / "same.parquet").sha256
    again = store_manifest(FileSource(stored.path), tmp_path / "again.parquet")
    assert again.sha256 == stored.sha256


@pytest.mark.parametrize("limit", [1, 30, 99, 100, 1000])
def test_a_limit_keeps_the_first_rows(tmp_path: Path, limit: int) -> None:
    table = _rows(100)
    sources = [TableSource(table), *(FileSource(_write(table, tmp_path / f"m.{suffix}")) for suffix in ("csv", "parquet"))]
    shas = set()
    for source in sources:
        stored = store_manifest(source, tmp_path / "stored.parquet", limit)
        assert stored.rows == min(limit, 100)
        assert pq.read_table(stored.path)["sample_id"].to_pylist() == table["sample_id"].to_pylist()[:limit]
        shas.add(stored.sha256)
    assert len(shas) == 1


def test_what_stands_behind_the_limit_is_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("sample_id,uri,emotion\na,a.jpg,fear\nb,b.jpg,glee\na,c.jpg,\n")
    assert store_manifest(FileSource(path), tmp_path / "s.parquet", 1).rows == 1
    with pytest.raises(UsageError, match="1 problem\n  line 3: emotion: 'glee'"):
        store_manifest(FileSource(path), tmp_path / "s.parquet", 2)


def test_a_manifest_with_problems_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("sample_id,uri,emotion\na,a.jpg,fear\n,b.jpg,glee\na,c.jpg,\n")
    with pytest.raises(UsageError) as caught:
        store_manifest(FileSource(path), tmp_path / "stored.parquet")
    assert str(caught.value).splitlines() == [
        "m.csv: 3 problems",
        f"  line 3: emotion: 'glee' is none of {', '.join(EMOTIONS)}",
        "  line 3: sample_id: is empty",
        "  line 4: sample_id: 'a' is already that of line 2",
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["m.csv"]


def test_an_empty_manifest_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("sample_id,uri\n")
    with pytest.raises(UsageError, match="no rows"):
        store_manifest(FileSource(tmp_path / "m.csv"), tmp_path / "stored.parquet")
    assert not (tmp_path / "stored.parquet").exists()


def test_a_table_in_memory_is_checked_like_a_file(tmp_path: Path) -> None:
    table = manifest_table(
        {"sample_id": ["a", "b", "a"], "uri": ["1.jpg", "2.jpg", "3.jpg"], "emotion": [None, "glee", None]}, 3
    )
    with pytest.raises(UsageError) as caught:
        store_manifest(TableSource(table), tmp_path / "m.parquet")
    assert str(caught.value).splitlines() == [
        "INPUT: 2 problems",
        f"  row 2: emotion: 'glee' is none of {', '.join(EMOTIONS)}",
        "  row 3: sample_id: 'a' is already that of row 1",
    ]


def test_a_folder_that_takes_no_files_is_one_clear_line() -> None:
    with pytest.raises(UsageError, match=r"^m\.parquet: a copy of the manifest cannot be written"):
        store_manifest(TableSource(_rows(3)), Path("/proc/self/m.parquet"))


def test_rows_are_found_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "_GROUP_ROWS", 16)
    table = _rows(100)
    stored = store_manifest(TableSource(table), tmp_path / "m.parquet")
    wanted = [99, 0, 15, 16, 17, 50, 16]
    assert sample_rows(stored.path, wanted).replace_schema_metadata().equals(table.take(wanted))
    assert read_slice(stored.path, 30, 70).replace_schema_metadata().equals(table.slice(30, 40))


def test_rows_pass_through_a_bounded_memory(tmp_path: Path) -> None:
    """Twelve batches with every label filled take the memory of a few."""
    columns: dict[str, object] = {f"au_intensity_{au:02d}": pa.array([1.5] * BATCH_ROWS, pa.float32()) for au in ACTION_UNITS}
    size = BATCH_ROWS * 4 * len(ACTION_UNITS)
    taken: list[int] = []

    class Endless:
        def batches(self, limit: int | None = None) -> Iterator[pa.RecordBatch]:
            for number in range(12):
                ids = pa.array([f"{number}-{row}" for row in range(BATCH_ROWS)])
                table = manifest_table({**columns, "sample_id": ids, "uri": ids}, BATCH_ROWS)
                taken.append(pa.total_allocated_bytes())
                yield from table.to_batches()

    stored = store_manifest(Endless(), tmp_path / "m.parquet")
    assert stored.rows == 12 * BATCH_ROWS
    assert max(taken[3:]) - taken[0] < 6 * size


def test_equal_hashes_are_not_equal_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unique, "_hashes", lambda ids: np.array([max(5, int(name)) for name in ids.to_pylist()], np.int64))
    path = tmp_path / "m.csv"
    path.write_text("sample_id,uri\n" + "".join(f"{row},{row}.jpg\n" for row in range(300)))
    assert read_manifest(path).num_rows == 300
    path.write_text(path.read_text() + "3,again.jpg\n")
    with pytest.raises(UsageError, match="1 problem\n  line 302: sample_id: '3' is already that of line 5"):
        read_manifest(path)


def test_ids_that_stand_far_apart_are_found(tmp_path: Path) -> None:
    ids = [f"{row}" for row in range(2 * BATCH_ROWS + 10)]
    ids[-1], ids[-2], ids[BATCH_ROWS] = ids[5], ids[5], ids[9]
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"sample_id": ids, "uri": ids}), path)
    with pytest.raises(UsageError) as caught:
        read_manifest(path)
    assert str(caught.value).splitlines() == [
        "m.parquet: 3 problems",
        f"  row {BATCH_ROWS + 1}: sample_id: '9' is already that of row 10",
        f"  row {len(ids) - 1}: sample_id: '5' is already that of row 6",
        f"  row {len(ids)}: sample_id: '5' is already that of row 6",
    ]


def test_of_many_equal_ids_the_first_are_named_and_all_counted(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("sample_id,uri\n" + "".join(f"{row % 50},{row}.jpg\n" for row in range(200)))
    with pytest.raises(UsageError) as caught:
        read_manifest(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == "m.csv: 150 problems"
    assert lines[1] == "  line 52: sample_id: '0' is already that of line 2"
    assert lines[20] == "  line 71: sample_id: '19' is already that of line 21"
    assert lines[-1] == "  and 130 more"


def test_a_stored_schema_is_the_manifests(tmp_path: Path) -> None:
    stored = store_manifest(TableSource(_rows(3)), tmp_path / "m.parquet")
    assert pq.read_schema(stored.path).equals(MANIFEST_SCHEMA)
    assert pq.read_schema(stored.path).metadata == {b"normpipe_manifest_format": b"1"}
