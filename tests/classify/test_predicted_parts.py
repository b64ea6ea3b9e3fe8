"""What is predicted: a run as it is cut, other files cut between row groups, and known again wherever they lie."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.flaky import FlakyFileSystem

from normpipe.classify import predicted_parts
from normpipe.classify.arms import Arm
from normpipe.classify.predicted_parts import predicted_source
from normpipe.classify.predicted_rows import STORED_SCHEMA
from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.journal import Journal
from normpipe.engine.plan import Plan, write_plan
from normpipe.engine.tasks import OutputFile, ShardResult
from normpipe.errors import UsageError
from normpipe.records import PAIRS_SCHEMA

from .pair_shards import SIDE, failed, pair, pairs, table, write_file
from .predicted import shards, write_finished

PICTURES = ("original", "normalized")


@pytest.fixture
def release(tmp_path):
    """Two files in row groups of eight."""
    write_file(tmp_path / "release" / "a.parquet", pairs(0, 20))
    write_file(tmp_path / "release" / "b.parquet", [failed(20), *pairs(21, 30)])
    return tmp_path / "release"


def opened(source, **options):
    return predicted_source(str(source), Arm.BOTH, **options)


def refusal(source, **options):
    with pytest.raises(UsageError) as error:
        opened(source, **options)
    message = str(error.value)
    assert "\n" not in message
    assert str(source.parent) not in message, "no personal path"
    return message


def ids(part, **options):
    return [name for batch in part.batches(STORED_SCHEMA, PICTURES, **options) for name in batch["sample_id"].to_pylist()]


def test_files_are_cut_between_row_groups(release, monkeypatch):
    monkeypatch.setattr(predicted_parts, "PART_ROWS", 16)
    source = opened(release)
    cut = [(part.file.uri, part.rows.start, part.rows.stop) for part in source.parts]
    assert cut == [("a.parquet", 0, 16), ("a.parquet", 16, 20), ("b.parquet", 0, 10)]
    assert source.starts == (0, 16, 20, 30)
    assert [name for part in source.parts for name in ids(part)] == [f"s{number:04d}" for number in range(30)]


def test_a_row_group_is_a_part_however_large(release, monkeypatch):
    monkeypatch.setattr(predicted_parts, "PART_ROWS", 3)
    assert [len(part.rows) for part in opened(release).parts] == [8, 8, 4, 8, 2]


@pytest.mark.parametrize("streamed", [True, False])
def test_rows_at_some_places_are_those_of_the_whole(release, streamed):
    file = opened(release).parts[0].file
    whole = list(file.batches(STORED_SCHEMA, PICTURES, range(20), most=20))
    rows = pa.Table.from_batches(whole)
    for start in range(21):
        for stop in range(start, 21):
            found = file.batches(STORED_SCHEMA, PICTURES, range(start, stop), most=3, streamed=streamed)
            assert pa.Table.from_batches(found, rows.schema).equals(rows.slice(start, stop - start))


def test_a_file_without_rows_has_no_part(release):
    write_file(release / "0.parquet", [])
    assert {part.file.uri for part in opened(release).parts} == {"a.parquet", "b.parquet"}
    write_file(release.parent / "empty" / "a.parquet", [])
    assert refusal(release.parent / "empty") == "empty: its files have no rows"


def test_columns_that_nothing_depends_on_may_lack(tmp_path):
    names = ["sample_id", *PICTURES]
    (tmp_path / "release").mkdir()
    pq.write_table(table(pairs(0, 3)).select(names), tmp_path / "release" / "a.parquet")
    (part,) = opened(tmp_path / "release").parts
    (batch,) = part.batches(STORED_SCHEMA, PICTURES)
    assert {name for name in STORED_SCHEMA.names if batch[name].null_count == 3} == {*STORED_SCHEMA.names} - {"sample_id"}
    assert part.table(pa.schema([PAIRS_SCHEMA.field("valence")]))["valence"].null_count == 3


@pytest.mark.parametrize("name", ["sample_id", "original", "normalized"])
def test_a_column_that_lacks_is_named(name, tmp_path):
    (tmp_path / "release").mkdir()
    pq.write_table(table(pairs(0, 3)).drop_columns([name]), tmp_path / "release" / "a.parquet")
    assert refusal(tmp_path / "release").startswith(f"release/a.parquet: has no column {name!r}; give the OUT of")


def test_a_row_without_a_name_is_told(tmp_path):
    (tmp_path / "release").mkdir()
    rows = table(pairs(0, 3)).drop_columns(["sample_id"]).append_column("sample_id", pa.array(["a", None, "c"]))
    pq.write_table(rows, tmp_path / "release" / "a.parquet")
    (part,) = opened(tmp_path / "release").parts
    with pytest.raises(UsageError, match=r"^release/a\.parquet: a row has no sample_id; "):
        ids(part)


def test_what_is_no_parquet_is_told(release):
    (release / "c.parquet").write_bytes(b"PAR1 and something else PAR1")
    assert refusal(release).startswith("release/c.parquet: damaged; fetch the file again")


def test_the_side_is_that_of_the_first_picture_that_can_be_read(tmp_path):
    rows = [failed(0), pair(1, original={"bytes": b"none", "path": None}), *pairs(2, 4)]
    path = write_file(tmp_path / "release" / "a.parquet", rows)
    assert opened(path.parent).side == SIDE
    write_file(path, rows[:2])
    assert (
        refusal(path.parent)
        == "release: none of its rows has a picture in the column 'original' that can be read and is square"
    )


def test_files_are_known_again_wherever_they_lie(release, tmp_path):
    moved = shutil.copytree(release, tmp_path / "elsewhere" / "moved")
    FlakyFileSystem.begin(one_in=0)
    assert opened(moved).fingerprint == opened(release).fingerprint == opened(f"flaky://{release}").fingerprint


@pytest.mark.parametrize(
    "change",
    [
        lambda release: (release / "a.parquet").rename(release / "c.parquet"),
        lambda release: write_file(release / "c.parquet", pairs(40, 41)),
        lambda release: write_file(release / "b.parquet", [failed(20), *pairs(21, 29), pair(30)]),
        lambda release: write_file(release / "a.parquet", pairs(0, 20), group_rows=7),
        lambda release: write_file(release / "a.parquet", [pair(1, sample_id="s0000"), *pairs(1, 20)]),
    ],
    ids=["another name", "another file", "another row", "other row groups", "another first picture"],
)
def test_other_files_are_others(release, change):
    before = opened(release).fingerprint
    change(release)
    assert opened(release).fingerprint != before


def test_a_file_that_was_replaced_meanwhile_is_refused(release):
    part = opened(release).parts[1]
    write_file(release / "b.parquet", pairs(20, 29))
    with pytest.raises(UsageError, match=r"^release/b\.parquet: is not the file that the work was begun with; put that back"):
        ids(part)


def test_a_url_is_asked_again_where_it_fails(release):
    FlakyFileSystem.begin(seed=1, one_in=8)
    source = opened(f"flaky://{release}")
    assert len([name for part in source.parts for name in ids(part)]) == 30
    assert FlakyFileSystem.failures.total() > 0


def test_a_run_is_cut_as_it_is_and_counts_frames(tmp_path):
    source = opened(write_finished(tmp_path / "run", shards()))
    assert source.starts == (0, 10, 20, 26)
    assert [len(part.rows) for part in source.parts] == [11, 10, 6]
    assert source.parts[0].starts().tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert opened(tmp_path / "run" / "shards").fingerprint == source.fingerprint


def test_of_a_run_that_is_not_finished_the_rows_are_taken_if_that_is_allowed(tmp_path):
    out = write_finished(tmp_path / "run", shards(), committed=2)
    assert refusal(out) == "run: the run is not finished (2 of 3 shards); finish it first"
    source = opened(out, partial=True)
    assert source.run is None
    assert source.starts == (0, 11, 21)


def test_a_finished_run_is_one_also_where_less_is_allowed(tmp_path):
    assert opened(write_finished(tmp_path / "run", shards()), partial=True).run is not None


def test_predictions_are_no_pairs(tmp_path):
    out = tmp_path / "predicted"
    (out / "predictions").mkdir(parents=True)
    write_plan(out, plan := Plan(3, 10, Fingerprint({}), "test"))
    journal = Journal(out, plan.fingerprint.digest)
    journal.open()
    (out / "predictions" / "part-00000.parquet").write_bytes(b"")
    journal.commit(plan.shards[0], ShardResult((OutputFile("predictions/part-00000.parquet", "", 0),), 3, 3))
    assert refusal(out).startswith("predicted: holds no pairs; name the OUT of `normpipe run`")
