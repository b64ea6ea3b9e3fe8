"""`normpipe purge`: names from the command line and from files, one line for each outcome, and no name in any message."""

import json
import shutil

import pytest
from fixtures.command import normpipe
from purge.people import GONE, name, rows, run, write_media


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    run(write_media(folder / "media"), folder / "out")
    return folder / "out"


@pytest.fixture
def out(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "out")


def test_a_person_leaves(out, capsys):
    code, text, errors = normpipe(capsys, "purge", out, "--subject", GONE, "--date", "2026-11-23")
    assert (code, errors) == (0, "")
    first, second, third = text.splitlines()
    assert first == "withdrew 6 rows of 4 shards, 4 of them done, with 14 pictures"
    assert second.endswith("nothing was found")
    assert third.startswith("not reached: runs made from this one with --faces")
    assert json.loads((out / "purged.json").read_text())["withdrawals"][0]["date"] == "2026-11-23"
    code, text, _ = normpipe(capsys, "status", out)
    assert "withdrawn 6" in text


def test_names_from_files_and_from_the_line_add_up(out, tmp_path, capsys):
    (tmp_path / "people.txt").write_text("\ufeffben\r\n\r\ncarla-svensson\r\n", encoding="utf-8")
    (tmp_path / "ids.txt").write_text(f"{name(0)}\n{name(2)}\n")
    files = ("--subjects", tmp_path / "people.txt", "--samples", tmp_path / "ids.txt")
    code, text, _ = normpipe(capsys, "purge", out, "--subject", "1", *files)
    assert code == 0
    assert text.startswith("withdrew 12 rows of 4 shards")
    assert {row["subject"] for row in rows(out)} == {GONE, None}


def test_the_list_of_releases_serves_again_and_again(out, tmp_path, capsys):
    """Who stands on it and not in the run is told of by line, and in the way of nobody."""
    people = tmp_path / "withdrawn.txt"
    people.write_text(f"# letters of spring\n\nsubject\n{GONE}\nzoe\nsample:{name(1)}\n")
    code, text, errors = normpipe(capsys, "purge", out, "--exclude", people, "--dry-run")
    assert (code, text.startswith("would withdraw 7 rows")) == (0, True)
    told = "not in this run's manifest: line {} of the list (withdrawn before, of another run, or misspelt)\n"
    assert errors == told.format("5")
    code, text, errors = normpipe(capsys, "purge", out, "--exclude", people)
    assert (code, text.startswith("withdrew 7 rows"), errors) == (0, True, told.format("5"))
    record = (out / "purged.json").read_bytes()
    code, text, errors = normpipe(capsys, "purge", out, "--exclude", people)
    assert (code, text) == (0, "nobody on the list is in this run's manifest; nothing was changed\n")
    assert errors == told.format("4-6")
    assert (out / "purged.json").read_bytes() == record
    people.write_text(people.read_text() + "ben\n")
    code, text, errors = normpipe(capsys, "purge", out, "--exclude", people)
    assert (code, text.startswith("withdrew 3 rows"), errors) == (0, True, told.format("4-6"))


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        ("ben\n", (), "withdrawn.txt, line 1: subject or sample?"),
        ("subject\n# nobody yet\n", (), "withdrawn.txt: names nobody"),
        ("subject\nben\n", ("--subject", GONE), "--exclude: names in no other way beside it"),
    ],
)
def test_a_list_that_cannot_be_taken_is_one_line_without_names(out, tmp_path, capsys, content, more, said):
    (tmp_path / "withdrawn.txt").write_text(content)
    code, text, errors = normpipe(capsys, "purge", out, "--exclude", tmp_path / "withdrawn.txt", *more)
    assert (code, text, said in errors, errors.count("\n")) == (2, "", True, 1)
    assert "ben" not in errors


def test_a_dry_run_counts_and_writes_nothing(out, capsys):
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    code, text, _ = normpipe(capsys, "purge", out, "--subject", GONE, "--dry-run")
    assert (code, text) == (
        0,
        "would withdraw 6 rows of 4 shards, 4 of them done, with 14 pictures; nothing was written\n",
    )
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nobody is named and out has no withdrawal to finish"),
        (("--dry-run",), "nobody is named"),
        (("--subject", "anna-lind"), "1 of 1 names are not in this run's manifest"),
        (("--sample", "anna-lindqvist-0", "--sample", name(0)), "1 of 2 names are not in this run's manifest"),
        (("--subject", "ben", "--date", "tomorrow"), "YYYY-MM-DD"),
    ],
)
def test_what_cannot_be_done_is_one_line_without_names(out, capsys, arguments, said):
    code, text, errors = normpipe(capsys, "purge", out, *arguments)
    assert (code, text) == (2, "")
    assert said in errors
    assert errors.count("\n") == 1
    assert "anna" not in errors


def test_files_of_names_must_hold_some(out, tmp_path, capsys):
    for content, said in ((b"\n \n", "no names"), (b"\xff\xfe\x00", "not UTF-8")):
        (tmp_path / "people.txt").write_bytes(content)
        code, _, errors = normpipe(capsys, "purge", out, "--subjects", tmp_path / "people.txt")
        assert (code, said in errors) == (2, True)


def test_what_is_found_afterwards_ends_with_one_line_and_the_way_on(out, capsys):
    (out / "notes.txt").write_text(name(0))
    code, _, errors = normpipe(capsys, "purge", out, "--subject", GONE)
    assert code == 1
    assert "notes.txt: a name" in errors
    code, _, errors = normpipe(capsys, "status", out)
    assert (code, "`normpipe purge OUT` finishes it" in errors) == (3, True)
    (out / "notes.txt").unlink()
    assert normpipe(capsys, "purge", out)[0] == 0
    assert normpipe(capsys, "status", out)[0] == 0
