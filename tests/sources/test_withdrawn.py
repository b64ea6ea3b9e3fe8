"""A run's manifest with placeholders, and users' manifests brought to it."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.shards.withdrawn import from_ranges, placeholder, to_ranges
from normpipe.sources import withdrawn
from normpipe.sources.manifest import TableSource, manifest_table, read_manifest, store_manifest
from normpipe.sources.withdrawn import laid_beside, write_without


def table(numbers):
    columns = {"sample_id": [f"s{number}" for number in numbers], "uri": [f"{number}.png" for number in numbers]}
    columns["box"] = [[0.0, 0.0, 1.0, number + 1.0] for number in numbers]
    return manifest_table(columns, len(numbers))


def stored(folder, numbers, name="given.parquet"):
    return store_manifest(TableSource(table(numbers)), folder / name)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 40), gone=st.sets(st.integers(0, 39)), named=st.sets(st.integers(0, 39)), batch=st.integers(1, 9))
def test_whoever_still_names_some_of_those_who_went_comes_to_the_same_bytes(tmp_path_factory, rows, gone, named, batch):
    folder = tmp_path_factory.mktemp("m")
    gone = {row for row in gone if row < rows}
    whole = stored(folder, range(rows), "whole.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(withdrawn, "_BATCH_ROWS", batch)
        known = write_without(whole.path, gone, folder / "known.parquet")
        assert known.rows == rows
        ids = read_manifest(known.path)["sample_id"].to_pylist()
        assert ids == [placeholder(row) if row in gone else f"s{row}" for row in range(rows)]
        given_rows = [row for row in range(rows) if row not in gone or row in named]
        if given_rows:
            same = laid_beside(stored(folder, given_rows), known.path, gone, folder / "same.parquet")
            assert (same.rows, same.sha256) == (rows, known.sha256)


@pytest.mark.parametrize(
    "numbers",
    [[0, 1, 2, 3, 5], [1, 2, 3, 4, 5], [0, 1, 2, 3, 5, 4], [0, 1, 4, 5, 6], [0, 1, 2, 3, 9, 4, 5], [0, 8, 1, 4, 5]],
    ids=["one less", "the first is gone", "order", "one more", "one more where nobody went", "another one"],
)
def test_another_manifest_stays_another(tmp_path, numbers):
    gone = {2, 3}
    known = write_without(stored(tmp_path, range(6)).path, gone, tmp_path / "known.parquet")
    found = laid_beside(stored(tmp_path, numbers), known.path, gone, tmp_path / "same.parquet")
    assert found.sha256 != known.sha256


def test_other_values_in_a_row_that_stays_make_another_manifest(tmp_path):
    known = write_without(stored(tmp_path, range(4)).path, {1}, tmp_path / "known.parquet")
    columns = {"sample_id": [f"s{number}" for number in range(4)], "uri": ["0.png", "1.png", "x.png", "3.png"]}
    other = manifest_table({**columns, "box": table(range(4))["box"]}, 4)
    given_rows = store_manifest(TableSource(other), tmp_path / "other.parquet")
    assert laid_beside(given_rows, known.path, {1}, tmp_path / "same.parquet").sha256 != known.sha256


def test_with_a_limit_rows_that_move_up_are_none_of_the_run(tmp_path):
    known = write_without(stored(tmp_path, range(4)).path, {1}, tmp_path / "known.parquet")
    moved = stored(tmp_path, [0, 2, 3, 4])
    assert laid_beside(moved, known.path, {1}, tmp_path / "a.parquet", limited=True).sha256 == known.sha256
    assert laid_beside(moved, known.path, {1}, tmp_path / "b.parquet").sha256 != known.sha256


@given(st.sets(st.integers(0, 60)))
def test_ranges_hold_the_numbers(numbers):
    ranges = to_ranges(numbers)
    assert from_ranges(ranges) == sorted(numbers)
    assert all(one[1] < two[0] for one, two in pairwise(ranges))
