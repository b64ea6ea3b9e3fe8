"""The index of pair shards: all rows with a pair, where they are, and what is wrong with files, in one line."""

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures import released as released_runs
from fixtures.audited import LABELS, write_people
from fixtures.flaky import FlakyFileSystem
from fixtures.pairs import picture
from fixtures.runs import run

from normpipe.classify.arms import Arm
from normpipe.classify.labels import LabelSpace, Task
from normpipe.classify.shard_files import ROWS_SCHEMA
from normpipe.classify.shards import open_shards
from normpipe.errors import UsageError
from normpipe.records import PAIRS_SCHEMA, Reason
from tests.classify.pair_shards import SIDE, failed, pair, pairs, table, write_file, write_run


def indexed(*sources, arm=Arm.BOTH, **options):
    return open_shards([str(source) for source in sources], arm, **options)


def refusal(*sources, **options):
    with pytest.raises(UsageError) as error:
        indexed(*sources, **options)
    message = str(error.value)
    assert "\n" not in message
    for source in sources:
        assert str(source.parent) not in message, "no personal path"
    return message


def ids(shards):
    return shards.table["sample_id"].to_pylist()


@pytest.fixture
def release(tmp_path):
    write_file(tmp_path / "release" / "data" / "train-00001-of-00002.parquet", [*pairs(20, 25), failed(25), *pairs(26, 30)])
    write_file(tmp_path / "release" / "data" / "train-00000-of-00002.parquet", pairs(0, 20))
    return tmp_path / "release"


def test_rows_come_in_the_order_of_files_and_rows(release):
    assert ids(indexed(release)) == [f"s{number:04d}" for number in range(30) if number != 25]


def test_rows_without_a_pair_are_left_out_and_counted(tmp_path):
    rows = [pair(0), failed(1), failed(2, Reason.UNREADABLE), failed(3), pair(4)]
    shards = indexed(write_file(tmp_path / "release" / "a.parquet", rows).parent)
    assert ids(shards) == ["s0000", "s0004"]
    assert shards.left_out == {Reason.NO_FACE: 2, Reason.UNREADABLE: 1}
    assert (shards.places.row[1], shards.places.group[1]) == (4, 0), "the place counts what was left out"


def test_places_lead_back_to_the_rows(release):
    shards = indexed(release)
    places = shards.places
    for row in range(len(shards)):
        file = pq.ParquetFile(release / places.files[places.file[row]].uri)
        group = file.read_row_group(places.group[row], columns=["sample_id"])
        assert group["sample_id"][places.row[row]].as_py() == ids(shards)[row]
    assert places.sides.tolist() == [SIDE, SIDE]
    assert len(places.row_groups) == len(places) == len(shards)
    assert len(set(places.row_groups)) == 3 + 2, "20 rows and 10 rows in groups of 8"


def test_the_places_of_some_rows_number_only_their_row_groups(release):
    places = indexed(release).places.taken(np.array([0, 1, 17, 28]))
    assert places.row_groups.tolist() == [0, 0, 1, 2]


def test_labels_come_along(release):
    shards = indexed(release)
    assert shards.table["emotion"].to_pylist()[:2] == ["neutral", "happiness"]
    targets = shards.targets(LabelSpace(Task.AU, ("AU12",)))
    assert targets.values[:3, 0].tolist() == [0, 1, 0]
    assert targets.known.all()


def test_the_shards_of_a_finished_run_are_its_committed_ones(tmp_path):
    out = write_run(tmp_path / "out", [pairs(0, 10), pairs(10, 20)])
    write_file(out / "shards" / "part-00007.parquet", pairs(70, 80))  # of nobody
    assert ids(indexed(out)) == [f"s{number:04d}" for number in range(20)]


def test_a_run_as_the_command_writes_it_is_indexed(tmp_path):
    manifest = write_people(tmp_path / "photos", people=1)
    assert run(manifest, tmp_path / "out", "size=64", "shard_size=3", root=tmp_path / "photos").complete
    shards = indexed(tmp_path / "out")
    assert len(shards) == len(LABELS)
    assert shards.table["emotion"].to_pylist() == list(LABELS)
    assert shards.places.sides.tolist() == [64, 64]


def test_several_data_sets_are_learnt_from_together(tmp_path, release):
    out = write_run(tmp_path / "out", [pairs(100, 110, side=32)])
    shards = indexed(out, release)
    assert len(shards) == 10 + 29
    assert shards.places.sides.tolist() == [32, SIDE, SIDE]


def test_one_file_will_do(release):
    assert len(indexed(release / "data" / "train-00000-of-00002.parquet")) == 20


def test_a_url_is_indexed_without_reading_pictures(tmp_path):
    """But for the row group of the first one, which tells the size."""
    rows = pairs(0, 400, side=64)
    path = write_file(tmp_path / "release" / "a.parquet", rows, group_rows=100)
    FlakyFileSystem.begin(one_in=0)
    shards = indexed(f"flaky://{path.parent}")
    assert ids(shards) == [f"s{number:04d}" for number in range(400)]
    assert FlakyFileSystem.calls["open"] == 2


def test_a_url_that_fails_now_and_then_is_asked_again(release):
    FlakyFileSystem.begin(seed=1, one_in=8)
    assert len(indexed(f"flaky://{release}")) == 29
    assert FlakyFileSystem.failures.total() > 0


def test_a_run_that_is_not_finished_is_refused_unless_that_is_allowed(tmp_path):
    out = write_run(tmp_path / "out", [pairs(0, 10)], planned=3)
    assert refusal(out) == "out: the run is not finished (1 of 3 shards); finish it first"
    assert len(indexed(out, partial=True)) == 10
    assert refusal(out / "shards").startswith("out: the run is not finished")


def test_a_run_at_a_url_is_read_by_its_shards(tmp_path):
    out = write_run(tmp_path / "out", [pairs(0, 10)])
    FlakyFileSystem.begin(one_in=0)
    with pytest.raises(
        UsageError, match=r"^out: a run at a URL does not tell whether it is finished; if it is, name its shards/$"
    ):
        indexed(f"flaky://{out}")
    assert len(indexed(f"flaky://{out}/shards")) == 10


def test_a_run_without_a_shard_is_refused(tmp_path):
    out = write_run(tmp_path / "out", [], planned=3)
    assert refusal(out, partial=True) == "out: no shard of the run is done; go on with it first"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "there: no such folder"),
        (lambda folder: folder.mkdir(), "there: holds no Parquet files"),
        (lambda folder: write_file(folder / ".cache" / "a.parquet", [pair(0)]), "there: holds no Parquet files"),
        (lambda folder: write_file(folder / "a.parquet", []), "there: no row has a pair (they have no rows)"),
        (
            lambda folder: write_file(folder / "a.parquet", [failed(0), failed(1, Reason.UNREADABLE)]),
            "there: no row has a pair (no_face 1, unreadable 1)",
        ),
    ],
    ids=["no folder", "empty", "hidden", "no rows", "no pairs"],
)
def test_a_source_without_pairs_is_refused(tmp_path, make: Callable, message):
    make(tmp_path / "there")
    assert refusal(tmp_path / "there").startswith(message)


@pytest.mark.parametrize("name", ["sample_id", "status", "subject", "au_intensity_12", "normalized"])
def test_a_column_that_lacks_is_named(tmp_path, name):
    path = write_file(tmp_path / "release" / "a.parquet", pairs(0, 4))
    pq.write_table(table(pairs(0, 4)).drop_columns([name]), path)
    assert refusal(path.parent).startswith(f"release/a.parquet: has no column {name!r}; give the OUT of")


def test_a_picture_that_an_arm_does_not_see_may_lack(tmp_path):
    path = write_file(tmp_path / "release" / "a.parquet", pairs(0, 4))
    pq.write_table(table(pairs(0, 4)).drop_columns(["original"]), path)
    assert len(indexed(path.parent, arm=Arm.NORMALIZED)) == 4


def test_columns_of_another_type_are_named(tmp_path):
    path = write_file(tmp_path / "release" / "a.parquet", pairs(0, 4))
    rows = table(pairs(0, 4))
    place = PAIRS_SCHEMA.get_field_index("valence")
    pq.write_table(rows.set_column(place, "valence", pa.array(["high"] * 4)), path)
    assert refusal(path.parent).startswith("release/a.parquet: the column 'valence' is no float")
    place = PAIRS_SCHEMA.get_field_index("original")
    pq.write_table(rows.set_column(place, "original", pa.array(["a.jpg"] * 4)), path)
    assert refusal(path.parent).startswith("release/a.parquet: the column 'original' holds no pictures")


def test_a_reason_of_another_version_is_told(tmp_path):
    path = write_file(tmp_path / "release" / "a.parquet", [pair(0), {**failed(1), "reason": "bored"}])
    assert refusal(path.parent).startswith("release/a.parquet: a row failed for a reason that this version does not know")


@pytest.mark.parametrize("keep", [0, 4, 0.5, 0.99])
def test_a_cut_file_is_told(release, keep):
    path = release / "data" / "train-00001-of-00002.parquet"
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    assert refusal(release).startswith("release/data/train-00001-of-00002.parquet: damaged; fetch the file again")


def test_a_shard_of_a_run_that_was_cut_makes_the_run_unfinished(tmp_path):
    out = write_run(tmp_path / "out", [pairs(0, 10), pairs(10, 20)])
    path = out / "shards" / "part-00001.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(out).startswith("out: the run is not finished (1 of 2 shards)")


def test_a_row_group_whose_labels_are_damaged_is_told(release):
    path = release / "data" / "train-00000-of-00002.parquet"
    file = pq.ParquetFile(path)
    names = [file.metadata.row_group(1).column(place).path_in_schema for place in range(file.metadata.num_columns)]
    column = file.metadata.row_group(1).column(names.index("emotion"))
    with path.open("r+b") as content:
        content.seek(column.data_page_offset)
        content.write(b"\xff" * column.total_compressed_size)
    assert refusal(release).startswith("release/data/train-00000-of-00002.parquet: damaged; fetch the file again")


def test_a_file_that_may_not_be_read_is_told(release):
    path = release / "data" / "train-00000-of-00002.parquet"
    path.unlink()
    path.symlink_to(path)
    assert refusal(release) == "release/data/train-00000-of-00002.parquet: cannot be read (Too many levels of symbolic links)"


@pytest.mark.parametrize(
    "content", [None, b"", b"no picture", picture(0)[:100]], ids=["null", "empty", "no picture", "cut picture"]
)
def test_a_first_picture_that_is_none_is_told_with_its_sample(tmp_path, content):
    path = write_file(tmp_path / "release" / "a.parquet", [pair(7, original={"bytes": content, "path": None})])
    assert refusal(path.parent).startswith("s0007: its original is no square picture (release/a.parquet)")


def test_a_sample_that_stands_there_twice_is_told(tmp_path, release):
    assert refusal(release, release).startswith("s0000: this sample stands there twice")
    out = write_run(tmp_path / "out", [pairs(29, 40)])
    assert refusal(release, out).startswith("s0029: this sample stands there twice")


def test_samples_of_one_name_may_be_of_several_data_sets_or_faces(tmp_path):
    rows = [pair(0), pair(0, face_index=1), pair(0, dataset="other")]
    assert len(indexed(write_file(tmp_path / "release" / "a.parquet", rows).parent)) == 3


def test_rows_that_nobody_has_labelled_are_told(release):
    with pytest.raises(UsageError, match=r"^labels of the task au_intensity: none of the 29 rows has one of AU12; learn what"):
        indexed(release).targets(LabelSpace(Task.AU_INTENSITY, ("AU12",)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return released_runs.write_run(tmp_path_factory.mktemp("finished") / "out")


@pytest.mark.parametrize("names", [released_runs.KEY, released_runs.PLAIN], ids=["pseudonyms", "plain"])
def test_a_release_has_the_labels_of_its_run(finished, names, tmp_path):
    """Its emotions are numbers with names, its people pseudonyms, and its splits are called as everywhere."""
    released_runs.released(finished, tmp_path / "faces", names=names)
    run, found = indexed(finished), indexed(tmp_path / "faces")
    labels = ("split", "face_index", "emotion", "valence", "au_occurrence_12")

    def told(shards, names):
        return sorted(map(repr, shards.table.select(names).to_pylist()))

    spelled = run.table.set_column(
        run.table.schema.get_field_index("split"),
        "split",
        pa.array([{"Train": "train", "val": "validation"}[word] for word in run.table["split"].to_pylist()]),
    )
    assert told(found, labels) == sorted(map(repr, spelled.select(labels).to_pylist()))
    assert (
        found.table["subject"].value_counts().field(1).to_pylist() == run.table["subject"].value_counts().field(1).to_pylist()
    )
    space = LabelSpace(Task.EMOTION, released_runs.EMOTIONS)
    assert sorted(found.targets(space).values.argmax(1)) == sorted(run.targets(space).values.argmax(1))
    batch = next(found.places.files[0].batches(ROWS_SCHEMA, (), range(3), most=3))
    assert batch["emotion"].to_pylist() == found.table["emotion"].to_pylist()[:3]


def test_a_release_of_labels_alone_is_told(finished, tmp_path):
    released_runs.released(finished, tmp_path / "faces", include="labels")
    assert "has no column 'original'" in refusal(tmp_path / "faces")
    released_runs.released(finished, tmp_path / "half", include="normalized")
    assert "has no column 'original'" in refusal(tmp_path / "half")
    assert len(indexed(tmp_path / "half", arm=Arm.NORMALIZED)) == 20


def test_numbers_of_classes_without_names_are_told(finished, tmp_path):
    released_runs.released(finished, tmp_path / "faces")
    path = sorted((tmp_path / "faces").rglob("*.parquet"))[0]
    rows = pq.read_table(path)
    number = rows.schema.get_field_index("emotion")
    pq.write_table(rows.set_column(number, "emotion", pa.array([99] * len(rows))), path)
    assert f"{path.name}: the column 'emotion' is no string" in refusal(tmp_path / "faces")
    pq.write_table(rows.replace_schema_metadata(None), path)
    with pytest.raises(UsageError, match="emotion 0 is none of neutral"):
        indexed(tmp_path / "faces").targets(LabelSpace(Task.EMOTION, released_runs.EMOTIONS))


@pytest.mark.parametrize(
    ("missing", "why"), [("SHA256SUMS", "a release that is not finished"), ("data/train-*", r"\d+ of the \d+ files train-")]
)
def test_a_part_of_a_release_is_told(finished, tmp_path, missing, why):
    released_runs.released(finished, tmp_path / "faces", file_bytes=4000)
    next((tmp_path / "faces").glob(missing)).unlink()
    assert re.match(f"faces: {why}", refusal(tmp_path / "faces"))


def test_a_draft_of_a_release_is_told(finished, tmp_path):
    (tmp_path / "faces.part").mkdir()
    released_runs.released(finished, tmp_path / "faces.part" / "draft")
    (tmp_path / "faces.part" / "draft" / "release.json").unlink()
    (tmp_path / "faces.part" / "notes").mkdir()
    (tmp_path / "faces.part" / "notes" / "build.json").touch()
    assert "a release that is not finished" in refusal(tmp_path / "faces.part")
