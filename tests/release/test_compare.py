import shutil

import pytest
from fixtures.released import KEY, OTHER_KEY, PLAIN, SUBJECTS, people, released, write_run

from normpipe.errors import NormpipeError, UsageError
from normpipe.release.compare import Step, compare
from normpipe.release.keys import Kind
from normpipe.release.reader import open_release
from normpipe.release.selection import Withdrawals


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    released(write_run(folder / "out"), folder / "release")
    return folder


def differences(first, folder, rows=None, version="2.0.0", **how):
    released(write_run(folder / "out", rows), folder / "release", version=version, **how)
    return compare(open_release(str(first / "release")), open_release(str(folder / "release")))


def test_the_same_rows_are_no_difference(first, tmp_path):
    found = differences(first, tmp_path, version="1.0.0")
    assert (found.same, found.step, found.keeps_rule) == (20, Step.NONE, True)


def test_the_same_rows_packed_anew_ask_for_a_patch(first, tmp_path):
    found = differences(first, tmp_path, version="1.0.1", file_bytes=6000)
    assert (found.same, found.step, found.keeps_rule) == (20, Step.PATCH, True)


def test_rows_that_are_added_ask_for_a_minor_step(first, tmp_path):
    found = differences(first, tmp_path, [*people(), *people(6, first=200)], version="1.0.1")
    assert (found.same, found.added, found.step, found.keeps_rule) == (20, 5, Step.MINOR, False)


def test_rows_that_are_missing_are_removed_or_withdrawn(first, tmp_path):
    rows = [row for row in people() if row["subject"] != SUBJECTS[0]]
    gone = 20 - sum(row["status"] == "ok" for row in rows)
    (tmp_path / "lost").mkdir()
    lost = differences(first, tmp_path / "lost", rows)
    assert (lost.removed, lost.withdrawn, lost.step) == (gone, 0, Step.MAJOR)
    asked = Withdrawals(subjects=frozenset({KEY.tombstone(Kind.SUBJECT, "drawn", SUBJECTS[0])}))
    withdrawn = differences(first, tmp_path, rows, withdrawals=asked)
    assert (withdrawn.removed, withdrawn.withdrawn, withdrawn.step) == (0, gone, Step.MAJOR)


def test_withdrawals_are_known_with_plain_names_too(tmp_path):
    released(write_run(tmp_path / "out"), tmp_path / "release", names=PLAIN)
    asked = Withdrawals(samples=frozenset({PLAIN.tombstone(Kind.SAMPLE, "drawn", f"{SUBJECTS[1]}/001.jpg")}))
    (tmp_path / "later").mkdir()
    found = differences(tmp_path, tmp_path / "later", names=PLAIN, withdrawals=asked)
    assert (found.withdrawn, found.removed) == (1, 0)


@pytest.mark.parametrize(
    ("column", "value", "counted"),
    [("emotion", "fear", "relabelled"), ("yaw", 3.0, "changed"), ("split", "test", "moved"), ("original", None, "changed")],
)
def test_a_row_that_changed_is_counted_by_what_changed(first, tmp_path, column, value, counted):
    rows = people()
    rows[0] = {**rows[0], column: rows[1][column] if value is None else value}
    found = differences(first, tmp_path, rows)
    assert {name: getattr(found, name) for name in ("changed", "relabelled", "moved")} == {
        **dict.fromkeys(("changed", "relabelled", "moved"), 0),
        counted: 1,
    }
    assert (found.same, found.step, found.keeps_rule) == (19, Step.MAJOR, True)


def test_another_order_asks_for_a_major_step(first, tmp_path):
    found = differences(first, tmp_path, people()[::-1], version="1.1.0")
    assert (found.same, found.reordered, found.step, found.keeps_rule) == (20, True, Step.MAJOR, False)


def test_fewer_columns_ask_for_a_major_step(first, tmp_path):
    found = differences(first, tmp_path, include="normalized")
    assert (found.columns, found.step) == (("original",), Step.MAJOR)


@pytest.mark.parametrize("names", [OTHER_KEY, PLAIN])
def test_names_of_another_key_cannot_be_matched(first, tmp_path, names):
    with pytest.raises(UsageError, match="rows cannot be matched"):
        differences(first, tmp_path, names=names)


def test_who_was_withdrawn_and_is_back_breaks_the_rule_whatever_the_version(tmp_path):
    asked = Withdrawals(
        subjects=frozenset({KEY.tombstone(Kind.SUBJECT, "drawn", SUBJECTS[0])}),
        samples=frozenset({KEY.tombstone(Kind.SAMPLE, "drawn", f"{SUBJECTS[1]}/001.jpg")}),
    )
    released(write_run(tmp_path / "out"), tmp_path / "release", withdrawals=asked)
    back = 1 + sum(row["status"] == "ok" and row["subject"] == SUBJECTS[0] for row in people())
    (tmp_path / "later").mkdir()
    found = differences(tmp_path, tmp_path / "later", [*people(), *people(6, first=200)], version="9.0.0")
    more_of_them = 2
    assert (found.returned, found.added, found.same) == (back + more_of_them, 5 - more_of_them, 20 - back)
    assert not found.keeps_rule
    assert f"returned {back + more_of_them}" in list(found.lines)
    assert list(found.lines)[-1] == "asks for nobody who was withdrawn from 1.0.0 to return: broken"


def test_plain_names_of_who_was_withdrawn_are_known_again(tmp_path):
    asked = Withdrawals(subjects=frozenset({PLAIN.tombstone(Kind.SUBJECT, "drawn", SUBJECTS[0])}))
    released(write_run(tmp_path / "out"), tmp_path / "release", names=PLAIN, withdrawals=asked)
    (tmp_path / "later").mkdir()
    found = differences(tmp_path, tmp_path / "later", names=PLAIN)
    assert found.returned == sum(row["status"] == "ok" and row["subject"] == SUBJECTS[0] for row in people())


def test_a_damaged_or_missing_file_is_named_in_one_line(first, tmp_path):
    folder = tmp_path / "trunc"
    shutil.copytree(first / "release", folder)
    path = folder / "data" / "validation-00000-of-00001.parquet"
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[100] ^= 1
    for wrong in (content[:-100], content[:10], b"", bytes(flipped)):
        path.write_bytes(wrong)
        with pytest.raises(
            NormpipeError, match=f"^trunc/data/{path.name}: damaged; `normpipe release verify` tells more$"
        ) as error:
            compare(open_release(str(first / "release")), open_release(str(folder)))
        assert error.value.exit_code == 1
    path.unlink()
    with pytest.raises(NormpipeError, match=f"^trunc/data/{path.name}: missing; "):
        compare(open_release(str(folder)), open_release(str(first / "release")))


def test_the_log_counts_one_row_as_one(first, tmp_path):
    gone = Withdrawals(samples=frozenset({KEY.tombstone(Kind.SAMPLE, "drawn", f"{SUBJECTS[1]}/001.jpg")}))
    assert differences(first, tmp_path, withdrawals=gone).log_line("2026-11-23").endswith("since 1.0.0: 1 row withdrawn")
