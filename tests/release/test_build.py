import hashlib
import subprocess
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.pairs import failed_row, ok_row
from fixtures.released import KEY, OTHER_KEY, PLAIN, SUBJECTS, people, released, requested, write_run
from PIL import Image as PillowImage

from normpipe.errors import NormpipeError, UsageError
from normpipe.records import Reason
from normpipe.release import build as build_module
from normpipe.release.build import build, release_date
from normpipe.release.compare import compare
from normpipe.release.document import read_release
from normpipe.release.keys import Kind
from normpipe.release.reader import open_release
from normpipe.release.rebuild import differing_files, rebuild
from normpipe.release.runs import read_runs
from normpipe.release.selection import Withdrawals


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("built") / "out")


@pytest.fixture(scope="module")
def release(run):
    released(run, run.parent / "release")
    return run.parent / "release"


def rows(release, split="*"):
    return [row for path in sorted((release / "data").glob(f"{split}-*.parquet")) for row in pq.read_table(path).to_pylist()]


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_ok_rows_stand_in_files_by_split_in_the_runs_order(release):
    wanted = [row for row in people() if row["status"] == "ok"]
    for split, word in (("train", "Train"), ("validation", "val")):
        samples = [KEY.released(Kind.SAMPLE, "drawn", row["sample_id"]) for row in wanted if row["split"] == word]
        assert [row["sample_id"] for row in rows(release, split)] == samples
    assert {row["split"] for row in rows(release, "validation")} == {"validation"}


def test_pictures_labels_and_figures_are_those_of_the_run(release):
    wanted = {KEY.released(Kind.SAMPLE, "drawn", row["sample_id"]): row for row in people() if row["status"] == "ok"}
    for row in rows(release):
        source = wanted[row["sample_id"]]
        assert row["original"]["bytes"] == source["original"]["bytes"]
        assert row["normalized"] == {"bytes": source["normalized"]["bytes"], "path": f"{row['sample_id']}-0.jpg"}
        assert ("neutral", "happiness", "surprise")[row["emotion"]] == source["emotion"]
        assert row["box"] == source["box"]


def test_no_name_of_a_person_survives_in_any_file(release):
    for path, content in files(release).items():
        shown = content.lower() + path.lower().encode()
        if path.endswith(".parquet"):
            table = pq.read_table(path := release / path)
            shown += repr([table.drop_columns(["original", "normalized"]).to_pydict(), table.schema.metadata]).lower().encode()
            shown += repr(pq.read_metadata(path).to_dict()).lower().encode()
        for subject in SUBJECTS:
            assert subject.lower().encode() not in shown, path


def test_plain_ids_keep_the_names_and_the_card_says_so(run, tmp_path):
    document = released(run, tmp_path / "release", names=PLAIN)
    assert {row["subject"] for row in rows(tmp_path / "release")} == set(SUBJECTS)
    assert document.key_check is None
    assert "named as in the source" in (tmp_path / "release/README.md").read_text()


@pytest.mark.parametrize(
    ("include", "images"), [("pairs", {"original", "normalized"}), ("normalized", {"normalized"}), ("labels", set())]
)
def test_include_leaves_out_pictures(run, tmp_path, include, images):
    document = released(run, tmp_path / "release", include=include)
    assert {"original", "normalized"} & set(document.columns) == images
    assert set(rows(tmp_path / "release")[0]) == set(document.columns)
    assert not {"detail", "emotion_raw", "content_sha256"} & set(document.columns)


def test_exclusions_are_counted_by_their_first_reason(run, tmp_path):
    gone = Withdrawals(subjects=frozenset({KEY.tombstone(Kind.SUBJECT, "drawn", SUBJECTS[0])}))
    document = released(run, tmp_path / "release", minimum={"normalized_score": 0.1}, withdrawals=gone)
    left = [row for row in people() if row["status"] == "ok"]
    taken_out = sum(row["subject"] == SUBJECTS[0] for row in left)
    filtered = sum(row["subject"] != SUBJECTS[0] and row["normalized_score"] < 0.1 for row in left)
    assert document.exclusions == {"failed:no_face": 4, "excluded:subject": taken_out, "filter:normalized_score<0.1": filtered}
    assert document.rows + sum(document.exclusions.values()) == len(people())
    assert document.withdrawn.subjects == tuple(gone.subjects)


def test_rows_whose_person_was_taken_out_of_the_run_are_no_failures(tmp_path):
    """`--exclude` still names the person, so that a comparison with the release before tells a withdrawal."""
    before = people()
    after = [
        failed_row(f"withdrawn-{number:08d}", Reason.WITHDRAWN) if row["subject"] == SUBJECTS[0] else row
        for number, row in enumerate(before)
    ]
    released(write_run(tmp_path / "out", before), tmp_path / "first")
    gone = Withdrawals(subjects=frozenset({KEY.tombstone(Kind.SUBJECT, "drawn", SUBJECTS[0])}))
    purged = write_run(tmp_path / "purged", after)
    document = released(purged, tmp_path / "second", version="2.0.0", withdrawals=gone)
    taken_out = sum(row["subject"] == SUBJECTS[0] for row in before)
    assert document.exclusions["withdrawn"] == document.withdrawn.rows == taken_out
    assert "failed:withdrawn" not in document.exclusions
    assert "| rows taken out on request | 6 |" in (tmp_path / "second" / "README.md").read_text()
    found = compare(open_release(str(tmp_path / "first")), open_release(str(tmp_path / "second")))
    assert (found.removed, found.withdrawn) == (
        0,
        sum(row["subject"] == SUBJECTS[0] and row["status"] == "ok" for row in before),
    )


def test_who_was_taken_out_of_the_release_before_does_not_come_back(run, tmp_path):
    """Neither a subject nor a sample, with pseudonyms or plain names; nothing is written."""
    for names in (KEY, PLAIN):
        gone = Withdrawals(
            subjects=frozenset({names.tombstone(Kind.SUBJECT, "drawn", SUBJECTS[0])}),
            samples=frozenset({names.tombstone(Kind.SAMPLE, "drawn", f"{SUBJECTS[1]}/001.jpg")}),
        )
        folder = tmp_path / ("plain" if names is PLAIN else "keyed")
        folder.mkdir()
        released(run, folder / "p200", names=names, withdrawals=gone, version="2.0.0")
        rows = 1 + sum(row["status"] == "ok" and row["subject"] == SUBJECTS[0] for row in people())
        why = f"--previous p200: {rows} rows of people or samples withdrawn there are in this release again; give --exclude as "
        with pytest.raises(UsageError, match=f"{why}for 2.0.0"):
            released(run, folder / "p300", names=names, version="3.0.0", previous=folder / "p200")
        assert not list(folder.glob("p300*"))
        released(run, folder / "p300", names=names, version="2.0.1", previous=folder / "p200", withdrawals=gone)


def test_a_withdrawal_is_handed_on_although_the_run_and_the_list_forget_it(run, tmp_path):
    gone = Withdrawals(subjects=frozenset({KEY.tombstone(Kind.SUBJECT, "drawn", SUBJECTS[0])}))
    released(run, tmp_path / "p200", withdrawals=gone, version="2.0.0")
    left = write_run(tmp_path / "left", [row for row in people() if row["subject"] != SUBJECTS[0]])
    document = released(left, tmp_path / "p201", version="2.0.1", previous=tmp_path / "p200")
    assert (document.withdrawn.subjects, document.withdrawn.rows) == (tuple(gone.subjects), 0)
    rebuild(document, read_runs([left]), KEY, tmp_path / "again")
    assert differing_files(tmp_path / "p201", tmp_path / "again") == []
    with pytest.raises(UsageError, match=r"give --exclude as for 2.0.1"):
        released(run, tmp_path / "p300", version="3.0.0", previous=tmp_path / "p201")


def test_a_previous_release_that_does_not_go_with_this_one_is_refused_before_anything_is_written(run, release, tmp_path):
    with pytest.raises(UsageError, match=r"--version 1.0.0: not above 1.0.0, which --previous release has"):
        released(run, tmp_path / "next", previous=release)
    with pytest.raises(UsageError, match=r"--previous release: .* another key; give the key of that release with --key-file"):
        released(run, tmp_path / "next", version="2.0.0", previous=release, names=OTHER_KEY)
    with pytest.raises(UsageError, match="give the key of that release"):
        released(run, tmp_path / "next", version="2.0.0", previous=release, names=PLAIN)
    with pytest.raises(UsageError, match=r"^--previous nothing: not there$"):
        released(run, tmp_path / "next", version="2.0.0", previous=tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"^--previous out: not a release \(it has no release.json\)$"):
        released(run, tmp_path / "next", version="2.0.0", previous=run)
    released(run, tmp_path / "plain", names=PLAIN)
    with pytest.raises(UsageError, match="--previous plain: has the source's names"):
        released(run, tmp_path / "next", version="2.0.0", previous=tmp_path / "plain")
    assert not list(tmp_path.glob("next*"))


def test_a_step_that_is_too_small_is_told_the_version_that_is_not(run, release, tmp_path):
    gone = Withdrawals(subjects=frozenset({KEY.tombstone(Kind.SUBJECT, "drawn", SUBJECTS[0])}))
    why = r"ask for a major step; give --version 2.0.0 \(the same -o goes on from next.part"
    with pytest.raises(UsageError, match=why):
        released(run, tmp_path / "next", version="1.1.0", previous=release, withdrawals=gone)
    released(run, tmp_path / "next", version="2.0.0", previous=release, withdrawals=gone)


def test_splits_that_name_people_are_refused(tmp_path):
    rows = [{**row, "split": f"fold {row['subject']} a"} for row in people()]
    with pytest.raises(UsageError, match="split holds a subject's name") as error:
        released(write_run(tmp_path / "out", rows), tmp_path / "release")
    assert not any(subject.lower() in str(error.value).lower() for subject in SUBJECTS)


def test_the_source_s_own_words_of_emotions_stay_out(tmp_path):
    rows = [{**row, "compound_emotion": f"{row['subject']}ly surprised"} if row["status"] == "ok" else row for row in people()]
    out = write_run(tmp_path / "out", rows)
    assert "compound_emotion" not in released(out, tmp_path / "release").columns
    assert "compound_emotion" in released(out, tmp_path / "plain", names=PLAIN).columns


def test_a_sample_can_be_taken_out(run, tmp_path):
    gone = KEY.tombstone(Kind.SAMPLE, "drawn", f"{SUBJECTS[1]}/001.jpg")
    document = released(run, tmp_path / "release", withdrawals=Withdrawals(samples=frozenset({gone})))
    assert document.exclusions["excluded:sample"] == 1
    assert gone not in {row["sample_id"] for row in rows(tmp_path / "release")}


def test_the_same_runs_and_options_give_the_same_bytes_however_many_files_at_once(run, release, tmp_path):
    released(run, tmp_path / "release", jobs=3)
    assert files(tmp_path / "release") == files(release)


def test_small_files_hold_the_same_rows_and_content(run, release, tmp_path):
    document = released(run, tmp_path / "release", file_bytes=4000, jobs=2)
    assert len(document.splits["train"].files) > 1
    assert rows(tmp_path / "release") == rows(release)
    assert document.content == read_release(release).content


def test_two_runs_follow_one_another(run, tmp_path):
    write_run(tmp_path / "more", people(12, first=100))
    runs = read_runs([run, tmp_path / "more"])
    document = build(runs, tmp_path / "release", requested(runs, tmp_path))
    assert document.rows == 20 + 10
    assert [source.run.number for source in document.sources] == [1, 2]


def test_runs_that_hold_the_same_sample_are_refused(run, tmp_path):
    runs = read_runs([run, write_run(tmp_path / "again")])
    with pytest.raises(UsageError, match="20 rows of the runs with the sample and face of another"):
        build(runs, tmp_path / "release", requested(runs, tmp_path))


def test_sums_are_those_of_sha256sum(release):
    result = subprocess.run(
        ["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=release, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
    assert len(result.stdout.splitlines()) == len(files(release)) - 1


def test_metadata_of_pictures_is_stripped(tmp_path):
    picture, buffer = PillowImage.new("RGB", (16, 16), (200, 100, 50)), BytesIO()
    exif = PillowImage.Exif()
    exif[0x013B] = "Vanderbeek"
    picture.save(buffer, "JPEG", exif=exif, comment=b"Vanderbeek")
    row = ok_row("a", original={"bytes": buffer.getvalue(), "path": "Vanderbeek.jpg"}, dataset="drawn")
    released(write_run(tmp_path / "out", [row, ok_row("b", 1, dataset="drawn")]), tmp_path / "release")
    released_row = rows(tmp_path / "release")[0]
    assert b"Vanderbeek" not in released_row["original"]["bytes"]
    with PillowImage.open(BytesIO(released_row["original"]["bytes"])) as stripped, PillowImage.open(buffer) as before:
        assert stripped.tobytes() == before.tobytes()


def test_a_build_that_is_killed_leaves_no_release_and_is_taken_up(run, tmp_path, monkeypatch):
    write = build_module.write_file
    written = []

    def failing(source, file, *folders):
        if written and not monkeypatched_off:
            raise KeyboardInterrupt
        done = write(source, file, *folders)
        written.append((tmp_path / "release.part" / "draft" / file.path).stat().st_mtime_ns)
        return done

    monkeypatched_off = False
    monkeypatch.setattr(build_module, "write_file", failing)
    with pytest.raises(KeyboardInterrupt):
        released(run, tmp_path / "release")
    assert not (tmp_path / "release").exists()
    monkeypatched_off = True
    released(run, tmp_path / "release")
    assert written[0] == written[1], "the finished file was taken up"
    assert not (tmp_path / "release.part").exists()


def test_a_given_up_build_of_other_options_is_not_taken_up(run, release, tmp_path, monkeypatch):
    monkeypatch.setattr(build_module, "_describe", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        released(run, tmp_path / "release", minimum={"normalized_score": 0.1})
    monkeypatch.undo()
    released(run, tmp_path / "release")
    assert files(tmp_path / "release") == files(release)


def test_what_is_there_is_never_overwritten(run, release):
    with pytest.raises(UsageError, match="there is something already"):
        released(run, release)
    with pytest.raises(UsageError, match="lies in the run"):
        released(run, run / "release")


def test_a_damaged_part_is_refused(tmp_path):
    out = write_run(tmp_path / "out")
    part = out / "shards" / "part-00001.parquet"
    whole = part.read_bytes()
    content = bytearray(whole)
    content[content.find(b"\xff\xd9") - 9] ^= 1  # within a picture
    part.write_bytes(content)
    with pytest.raises(UsageError, match=r"shards/part-00001.parquet is not the file that the journal tells of"):
        released(out, tmp_path / "release")
    assert not (tmp_path / "release").exists()
    part.write_bytes(whole)
    released(out, tmp_path / "release")
    assert [path.name for path in tmp_path.glob("release*")] == ["release"]


def test_nothing_left_is_refused(run, tmp_path):
    with pytest.raises(UsageError, match="no row is left to release"):
        released(run, tmp_path / "release", minimum={"normalized_score": 2})


def test_a_filter_needs_a_column_of_numbers(run, tmp_path):
    with pytest.raises(UsageError, match="--min emotion: not a column of numbers"):
        released(run, tmp_path / "release", minimum={"emotion": 2})


def test_a_misspelt_column_is_told_which_one_is_meant(run, tmp_path):
    with pytest.raises(UsageError, match=r"--min normalized_scor: not a column of numbers; is normalized_score meant\?"):
        released(run, tmp_path / "release", minimum={"normalized_scor": 0.5})
    with pytest.raises(UsageError, match=r"not a column of numbers; docs/normalize.md lists the columns"):
        released(run, tmp_path / "release", minimum={"qqqq": 0.5})


def test_a_target_in_no_folder_is_refused_at_once(run, tmp_path):
    with pytest.raises(UsageError, match=r"^nodir: not there; make it first$"):
        released(run, tmp_path / "nodir" / "release", folder=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"^file: a file; name a folder to put release in$"):
        released(run, tmp_path / "file" / "release", folder=tmp_path)
    assert not (tmp_path / "nodir").exists()


def test_the_command_of_the_card_has_a_place_for_each_file_of_terms(run, tmp_path):
    assert " --key-file FILE --terms FILE --date " in released(run, tmp_path / "release").command
    known = write_run(tmp_path / "out", [ok_row("a", dataset="affectnet"), ok_row("b", 1, dataset="drawn")])
    document = released(known, tmp_path / "known", allowed=("--override-terms",))
    assert document.command.count("--terms") == 1, "the terms of AffectNet come with the package"


def test_a_full_disk_is_one_error(run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build_module, "write_file", full)
    with pytest.raises(NormpipeError, match="No space left on device"):
        released(run, tmp_path / "release")


def test_files_have_the_layout_of_the_hub(release):
    document = read_release(release)
    for file in document.files:
        path = release / file.path
        content = path.read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (file.sha256, file.size)
        group = pq.read_metadata(path).row_group(0)
        images = [group.column(index) for index in range(group.num_columns) if ".bytes" in group.column(index).path_in_schema]
        assert {column.compression for column in images} == {"UNCOMPRESSED"}
        assert all(column.has_offset_index for column in images)
        assert pq.read_schema(path).field("emotion").type == pa.int64()


def test_the_date_is_given_or_that_of_the_source_or_todays(monkeypatch):
    assert release_date("2026-02-28") == "2026-02-28"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert release_date(None) == "1970-01-02"
    for wrong in ("2026-02-30", "20260228", "today"):
        with pytest.raises(UsageError, match="YYYY-MM-DD"):
            release_date(wrong)
