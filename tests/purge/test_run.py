"""A person leaves a run: nothing of theirs is left, all else is as it was, and the run goes on without them."""

import json
import shutil

import pytest

from normpipe.engine.plan import read_plan
from normpipe.engine.summary import read_summary
from normpipe.errors import IncompatibleRunError, NormpipeError, UsageError
from normpipe.purge.run import purge, survey
from normpipe.records import Reason

from .people import GONE, SUBJECTS, bytes_of, name, rows, run, sample, subject, traces, withdrawn, write_manifest, write_media

ALL = range(16)
STAYING = [number for number in ALL if SUBJECTS[number % 8] != GONE]
TRACK = ("detect.policy=track", "normalize.own_neutral=true")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_media(tmp_path_factory.mktemp("case") / "media")


@pytest.fixture(scope="module")
def finished(manifest):
    assert run(manifest, manifest.parent.parent / "out").complete
    return manifest.parent.parent / "out"


@pytest.fixture
def out(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "out")


def test_the_rows_that_remain_are_as_they_were_and_the_others_keep_their_places(out):
    before = {table: rows(out, table) for table in ("shards", "faces")}
    done = withdrawn(out, subject(GONE))
    assert (done.withdrawal.frames, done.withdrawal.shards, done.proof.findings) == (6, 4, [])
    for table, earlier in before.items():
        left = [row for row in rows(out, table) if row["reason"] != Reason.WITHDRAWN]
        assert left == [row for row in earlier if not row["sample_id"].startswith(GONE)]
        gone = [row for row in rows(out, table) if row["reason"] == Reason.WITHDRAWN]
        assert [row["sample_id"] for row in gone] == [f"withdrawn-{n:08d}" for n in ALL if n not in STAYING]
        assert {key for row in gone for key, value in row.items() if value is not None} == {"sample_id", "status", "reason"}


def test_nothing_of_the_person_is_left(out):
    assert len(traces(out, GONE)) > 8, "what is looked for would be found"
    withdrawn(out, subject(GONE))
    assert traces(out, GONE) == []


def test_counts_and_state_are_those_of_the_purged_run(out):
    before = read_summary(out)
    withdrawn(out, subject(GONE))
    after = read_summary(out)
    assert after.complete
    assert after.failed[Reason.WITHDRAWN] == 6
    assert after.rows == len(rows(out)) == before.rows - 1, "one of the frames had two faces"
    assert json.loads((out / "run.json").read_text())["failed"]["withdrawn"] == 6


def test_a_run_would_write_the_same_bytes(out, manifest):
    withdrawn(out, subject(GONE))
    purged = bytes_of(out)
    for part in (out / "shards").iterdir():
        part.unlink()
    assert run(manifest, out).complete
    assert bytes_of(out) == purged


@pytest.mark.parametrize("settings", [(), TRACK], ids=["one phase", "two phases"])
@pytest.mark.parametrize("numbers", [ALL, STAYING], ids=["the old manifest", "a manifest without them"])
def test_a_resume_accepts_both_manifests_and_brings_nobody_back(manifest, tmp_path, settings, numbers):
    out = tmp_path / "out"
    run(manifest, out, *settings)
    withdrawn(out, subject(GONE))
    purged = bytes_of(out)
    assert run(write_manifest(manifest.parent / "again.csv", list(numbers)), out, *settings).complete
    assert bytes_of(out) == purged


@pytest.mark.parametrize("numbers", [ALL, STAYING], ids=["the old manifest", "a manifest without them"])
@pytest.mark.parametrize("settings", [(), TRACK[1:]], ids=["one phase", "two phases"])
def test_an_interrupted_run_is_finished_without_them(manifest, tmp_path, settings, numbers):
    whole, out = tmp_path / "whole", tmp_path / "out"
    run(manifest, whole, *settings)
    assert not run(manifest, out, *settings, shards=2).complete
    for each in (whole, out):
        withdrawn(each, subject(GONE))
    assert run(write_manifest(manifest.parent / "again.csv", list(numbers)), out, *settings).complete
    assert bytes_of(out) == bytes_of(whole)
    assert traces(out, GONE) == []


def test_another_manifest_is_refused_as_ever(out, manifest):
    withdrawn(out, subject(GONE))
    for numbers in (STAYING[:-1], STAYING[1:], [*STAYING[2:], *STAYING[:2]], [*ALL, 16]):
        with pytest.raises(IncompatibleRunError, match="manifest: other content"):
            run(write_manifest(manifest.parent / "other.csv", list(numbers)), out)


def test_two_phases_lose_analysis_tracks_and_neutral_face(manifest, tmp_path):
    out = tmp_path / "out"
    run(manifest, out, *TRACK)
    assert "neutrals.parquet" in traces(out, GONE)
    parts = dict(read_plan(out).fingerprint.parts)
    withdrawn(out, subject(GONE))
    assert traces(out, GONE) == []
    after = read_plan(out).fingerprint.parts
    assert {key for key in parts if parts[key] != after[key]} == {"manifest", "reduced.neutrals"}


def test_faces_of_another_run_fit_again_when_both_are_purged(manifest, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    settings = ("normalize.own_neutral=true",)
    run(manifest, first, *settings)
    run(manifest, second, "encode.quality=80", *settings, faces=first)
    withdrawn(second, subject(GONE))
    with pytest.raises(IncompatibleRunError, match="--faces"):
        run(manifest, second, "encode.quality=80", *settings, faces=first)
    withdrawn(first, subject(GONE))
    purged = bytes_of(second)
    assert run(manifest, second, "encode.quality=80", *settings, faces=first).complete
    assert bytes_of(second) == purged


def test_a_single_sample_leaves_the_others_of_the_person(out):
    done = withdrawn(out, sample(name(2)))
    assert (done.withdrawal.frames, done.proof.findings) == (1, [])
    assert traces(out, name(2)) == []
    assert {row["sample_id"] for row in rows(out)} == {name(n) for n in ALL if n != 2} | {"withdrawn-00000002"}
    assert sum(row["subject"] == GONE for row in rows(out)) == 5


def test_a_name_of_one_digit_is_told_from_all_other_digits(out):
    done = withdrawn(out, subject("1"))
    assert done.proof.findings == []
    assert done.proof.short == 1
    assert not any(row["subject"] == "1" for row in rows(out))


def test_one_after_the_other_and_everybody(out, manifest):
    for each in dict.fromkeys(SUBJECTS):
        assert withdrawn(out, subject(each)).proof.findings == []
    assert {row["reason"] for row in rows(out)} == {Reason.WITHDRAWN}
    assert json.loads((out / "purged.json").read_text())["rows"] == [[0, 16]]
    assert run(manifest, out).complete
    assert run(write_manifest(manifest.parent / "some.csv", [3, 4, 9]), out).complete, "any of them may be named still"
    assert {row["reason"] for row in rows(out)} == {Reason.WITHDRAWN}


def test_the_record_says_when_where_and_how_much_and_no_name(out):
    withdrawn(out, subject(GONE), date="2026-11-23")
    text = (out / "purged.json").read_text()
    record = json.loads(text)
    assert (record["format_version"], record["withdrawals"][0]["date"]) == (1, "2026-11-23")
    assert record["rows"] == [[0, 1], [2, 3], [5, 6], [8, 9], [10, 11], [13, 14]]
    files = record["withdrawals"][0]["files"]
    assert set(files) == {f"{folder}/part-0000{part}.parquet" for folder in ("faces", "shards") for part in range(4)}
    assert all(one["before"] != one["after"] for one in files.values())
    assert all(bytes_of(out)[path] == one["after"] for path, one in files.items())


def test_who_is_not_there_is_told_by_number_only(out):
    before = bytes_of(out)
    for request in (subject("anna", GONE), sample("anna-lindqvist-0"), subject(GONE, dataset="clinic")):
        with pytest.raises(UsageError, match=r"1 of . names are not in this run's manifest") as error:
            withdrawn(out, request)
        assert "anna" not in str(error.value)
    assert bytes_of(out) == before
    assert not (out / "purging.json").exists()


def test_who_was_withdrawn_is_not_known_any_more(out):
    withdrawn(out, subject(GONE))
    with pytest.raises(UsageError, match="1 of 1"):
        withdrawn(out, subject(GONE))
    with pytest.raises(UsageError, match="withdrawn already"):
        withdrawn(out, sample("withdrawn-00000000"))
    with pytest.raises(UsageError, match="nobody is named"):
        withdrawn(out, subject())


def test_the_same_name_in_two_datasets_is_two_people(tmp_path):
    manifest = write_media(tmp_path / "media")
    text = manifest.read_text().splitlines()
    manifest.write_text("\n".join([*text[:9], *(line.replace(",lab,", ",clinic,") for line in text[9:])]) + "\n")
    out = tmp_path / "out"
    run(manifest, out)
    with pytest.raises(UsageError, match="add --dataset"):
        withdrawn(out, subject(GONE))
    done = withdrawn(out, subject(GONE, dataset="clinic"))
    assert (done.withdrawal.frames, done.proof.findings) == (3, [])
    assert {row["dataset"] for row in rows(out) if row["subject"] == GONE} == {"lab"}


def test_what_was_made_from_the_run_goes_with_them(out):
    (out / "report").mkdir()
    (out / "report" / "sheet.txt").write_text(GONE)
    (out / "audit" / "rows").mkdir(parents=True)
    (out / "audit" / "audit.json").write_text("{}")
    (out / "said" / "predictions").mkdir(parents=True)
    (out / "said" / "plan.json").write_text("{}")
    assert withdrawn(out, subject(GONE)).withdrawal.derived == ("audit", "report", "said")
    assert not any((out / each).exists() for each in ("report", "audit", "said"))


def test_a_line_of_the_log_that_names_them_goes(out):
    with (out / "run.log").open("a") as file:
        file.write(f"2026-11-22T08:25:13Z failed: {name(0)}: broken\n")
    withdrawn(out, subject(GONE))
    log = (out / "run.log").read_text()
    assert "finished" in log
    assert log.endswith("withdrawn: 6 rows of 4 shards\n")
    assert GONE not in log


def test_what_is_found_elsewhere_in_the_folder_keeps_the_run_closed_until_it_is_gone(out, manifest):
    picture = next(row["original"]["bytes"] for row in rows(out) if row["sample_id"] == name(0))
    (out / "mine").mkdir()
    (out / "mine" / "notes.txt").write_text(f"look at {name(5)} again")
    (out / "mine" / "copy.jpg").write_bytes(picture)
    with pytest.raises(NormpipeError, match="2 findings") as error:
        withdrawn(out, subject(GONE))
    assert "mine/notes.txt: a name" in str(error.value)
    assert "mine/copy.jpg: a picture" in str(error.value)
    with pytest.raises(IncompatibleRunError, match="normpipe purge OUT"):
        run(manifest, out)
    for each in (out / "mine").iterdir():
        each.unlink()
    assert withdrawn(out, subject()).withdrawal.frames == 6
    assert run(manifest, out).complete


def test_a_damaged_part_goes_and_is_done_again(out, manifest):
    part = out / "shards" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-200])
    with pytest.raises(UsageError, match="damaged"):
        rows(out)
    withdrawn(out, subject(GONE))
    assert not part.exists()
    assert run(manifest, out).complete
    assert traces(out, GONE) == []


def test_equal_pictures_of_others_are_told(tmp_path):
    manifest = write_media(tmp_path / "media")
    (manifest.parent / name(1)).write_bytes((manifest.parent / name(0)).read_bytes())
    run(manifest, tmp_path / "out")
    assert withdrawn(tmp_path / "out", subject(GONE)).proof.equal == 2


def test_a_survey_writes_nothing(out):
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    told = survey(out, subject(GONE))
    assert (told.frames, told.shards, told.committed) == (6, 4, 4)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_only_a_run_can_be_purged(tmp_path):
    with pytest.raises(UsageError, match="not a run's folder"):
        list(purge(tmp_path, subject(GONE)))
