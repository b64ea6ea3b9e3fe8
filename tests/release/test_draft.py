"""RELEASE.part: what of a build that was given up may go into a release, and what may not."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from fixtures.pairs import failed_row
from fixtures.released import KEY, SUBJECTS, people, released, write_run

from normpipe.engine.lock import locked
from normpipe.errors import IncompatibleRunError, UsageError
from normpipe.records import Reason
from normpipe.release import build as build_module
from normpipe.release.keys import Kind
from normpipe.release.reader import open_release
from normpipe.release.verify import verify

GONE = SUBJECTS[0]
TRAIN = "train-00000-of-00001.parquet"
CHANGED = r"^out: was changed while the release was built \(people withdrawn, or more rows done\); give the same command again$"


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "out")


def withdraw(run):
    """Replace the run by one without a person, as a withdrawal leaves it."""
    rows = [
        failed_row(f"withdrawn-{number:08d}", Reason.WITHDRAWN) if row["subject"] == GONE else row
        for number, row in enumerate(people())
    ]
    left = write_run(run.with_name("left"), rows)
    for path in (each for each in left.rglob("*") if each.is_file()):
        path.replace(run / path.relative_to(left))
    shutil.rmtree(left)


def given_up(run, target, monkeypatch):
    """A build that is killed when its data files are done; the folder that it leaves."""
    with monkeypatch.context() as patch:
        patch.setattr(build_module, "_describe", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            released(run, target)
    return target.with_name(f"{target.name}.part")


def subjects(release):
    return {name for path in (release / "data").iterdir() for name in pq.read_table(path)["subject"].to_pylist()}


def problems(release):
    return verify(open_release(str(release))).problems


@pytest.mark.parametrize("moment", ["before the first file", "between the files", "after the last"])
def test_a_run_that_someone_withdrew_from_during_the_build_is_not_released(run, tmp_path, monkeypatch, moment):
    write, described = build_module.write_file, build_module.described
    written = []

    def writing(*given):
        if len(written) == {"before the first file": 0, "between the files": 1}.get(moment):
            withdraw(run)
        written.append(given)
        return write(*given)

    def describing(*given):
        if moment == "after the last":
            withdraw(run)
        return described(*given)

    with monkeypatch.context() as patch:
        patch.setattr(build_module, "write_file", writing)
        patch.setattr(build_module, "described", describing)
        with pytest.raises(UsageError, match=CHANGED):
            released(run, tmp_path / "release")
    assert not (tmp_path / "release").exists()
    released(run, tmp_path / "release")
    pseudonym = KEY.tombstone(Kind.SUBJECT, "drawn", GONE)
    assert len(subjects(tmp_path / "release")) == len(SUBJECTS) - 1
    assert pseudonym not in subjects(tmp_path / "release")
    assert problems(tmp_path / "release") == []


def test_a_withdrawal_that_is_not_finished_when_the_draft_is_whole_keeps_it_from_its_name(run, tmp_path, monkeypatch):
    described = build_module.described
    monkeypatch.setattr(
        build_module, "described", lambda *given: ((run / "purging.json").write_text("{}"), described(*given))[1]
    )
    with pytest.raises(IncompatibleRunError, match="a withdrawal was begun there and is not finished"):
        released(run, tmp_path / "release")
    assert not (tmp_path / "release").exists()


def test_two_builds_do_not_share_a_draft(run, tmp_path, monkeypatch):
    part = given_up(run, tmp_path / "release", monkeypatch)
    before = {path: path.read_bytes() for path in part.rglob("*") if path.is_file()}
    why = r"^release.part: another build is writing there; wait for it or name another -o"
    with locked(part), pytest.raises(IncompatibleRunError, match=why):
        released(run, tmp_path / "release", include="labels")
    assert {path: path.read_bytes() for path in part.rglob("*") if path.is_file()} == before
    assert (part / ".lock").is_file(), "which the next build finds, held by nobody"
    released(run, tmp_path / "release")
    assert problems(tmp_path / "release") == []
    assert not part.exists()


def test_a_build_that_comes_second_to_the_same_name_leaves_the_release_alone(run, tmp_path, monkeypatch):
    plan = build_module.plan_files

    def overtaken(*given):
        monkeypatch.setattr(build_module, "plan_files", plan)
        released(run, tmp_path / "release", include="labels")
        return plan(*given)

    monkeypatch.setattr(build_module, "plan_files", overtaken)
    with pytest.raises(UsageError, match="there is something already"):
        released(run, tmp_path / "release")
    assert json.loads((tmp_path / "release/release.json").read_bytes())["include"] == "labels"


def test_what_others_put_into_a_draft_is_not_released(run, tmp_path, monkeypatch):
    part = given_up(run, tmp_path / "release", monkeypatch)
    foreign = [
        "names.csv",
        "draft/names.csv",
        "draft/data/names.parquet",
        "draft/audit/names.json",
        "draft/data/more/names.csv",
    ]
    for path in foreign:
        (part / path).parent.mkdir(exist_ok=True)
        (part / path).write_text(GONE)
    released(run, tmp_path / "release")
    assert not list((tmp_path / "release").rglob("*names*"))
    assert problems(tmp_path / "release") == []


def test_what_others_put_there_during_the_build_has_no_place_in_the_sums(run, tmp_path, monkeypatch):
    described = build_module.described
    stray = tmp_path / "release.part" / "draft" / "names.csv"
    monkeypatch.setattr(build_module, "described", lambda *given: (stray.write_text(GONE), described(*given))[1])
    released(run, tmp_path / "release")
    assert "names.csv" not in (tmp_path / "release/SHA256SUMS").read_text()


def test_a_file_of_the_draft_with_other_bytes_is_written_again(run, tmp_path, monkeypatch):
    released(run, tmp_path / "first")
    file = given_up(run, tmp_path / "release", monkeypatch) / "draft" / "data" / TRAIN
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 255
    file.write_bytes(content)
    released(run, tmp_path / "release")
    assert (tmp_path / "release/data" / TRAIN).read_bytes() == (tmp_path / "first/data" / TRAIN).read_bytes()
    assert problems(tmp_path / "release") == []
