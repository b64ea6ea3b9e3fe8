import json
import re
import unicodedata

import pytest
from fixtures.command import normpipe
from fixtures.pairs import failed_row
from fixtures.released import SUBJECTS, people, write_key, write_run, write_terms
from fixtures.signed import write_keys

from normpipe.records import Reason


@pytest.fixture
def folder(tmp_path):
    write_run(tmp_path / "out")
    write_terms(tmp_path / "terms.yaml")
    write_key(tmp_path / "key")
    return tmp_path


def build(capsys, folder, *more, runs=("out",), out="release", version="1.0.0", key=True):
    arguments = [
        "release",
        "build",
        *(folder / run for run in runs),
        "-o",
        folder / out,
        "--name",
        "drawn",
        "--version",
        version,
    ]
    arguments += ["--terms", folder / "terms.yaml", "--date", "2026-11-23", *(["--key-file", folder / "key"] if key else [])]
    return normpipe(capsys, *arguments, *more)


def test_build_verify_diff_and_rebuild(folder, capsys):
    code, out, err = build(capsys, folder)
    assert code == 0, err
    assert "20 rows in 2 files" in out
    assert normpipe(capsys, "release", "verify", folder / "release", "--jobs", "2")[:2] == (0, "verified: 20 rows, 10 files\n")
    code, out, _ = normpipe(
        capsys, "release", "rebuild", folder / "release", folder / "out", "--key-file", folder / "key", "--check"
    )
    assert (code, out) == (0, "the same bytes\n")
    assert sorted(path.name for path in folder.iterdir()) == ["key", "out", "release", "terms.yaml"]
    code, out, _ = normpipe(capsys, "release", "diff", folder / "release", folder / "release")
    assert code == 0
    assert "same 20" in out


def test_all_commands_count_the_same_files(folder, capsys):
    build(capsys, folder)
    private, _ = write_keys(folder, "steward")
    for signed in (False, True):
        if signed:
            assert normpipe(capsys, "release", "sign", folder / "release", "--key", private)[0] == 0
        said = [
            normpipe(capsys, "release", "push", folder / "release", folder / f"there {signed}")[1],
            normpipe(capsys, "release", "pull", folder / f"there {signed}", folder / f"pulled {signed}")[1],
            normpipe(capsys, "release", "verify", folder / f"pulled {signed}")[1],
        ]
        count = sum(path.is_file() for path in (folder / "release").rglob("*"))
        assert [re.findall(r"(\d+) (?:files|of them (?:sent|fetched))", line) for line in said] == [
            [str(count)] * 2,
            [str(count)] * 2,
            [str(count)],
        ]


def test_an_unsigned_release_is_said_to_be_unsigned_and_nothing_worse(folder, capsys):
    build(capsys, folder)
    code, out, err = normpipe(capsys, "release", "verify", folder / "release", "--public-key", write_keys(folder, "steward")[1])
    assert (code, out) == (1, "SHA256SUMS.sig: not there; the release is not signed\n")
    assert err.splitlines()[-1] == "error: 1 problem: the release is as it was built, but not signed"


def test_verify_names_what_was_tampered_with_and_is_exit_code_1(folder, capsys):
    build(capsys, folder)
    (folder / "release" / "LICENSE.md").write_text("free for all\n")
    code, out, err = normpipe(capsys, "release", "verify", folder / "release")
    assert code == 1
    assert "LICENSE.md: not the file that SHA256SUMS lists" in out
    assert "Traceback" not in err


def test_who_is_listed_is_taken_out_and_the_next_release_says_withdrawn(folder, capsys):
    build(capsys, folder)
    (folder / "gone.txt").write_text(
        f"# asked on Monday\nsubject\n{SUBJECTS[0]}\nNobody Known\nsample:{SUBJECTS[1]}/001.jpg\nsubject:Somebody\n"
    )
    code, _, err = build(capsys, folder, "--exclude", folder / "gone.txt", out="next", version="1.1.0")
    assert code == 0
    gone = sum(row["status"] == "ok" and row["subject"] == SUBJECTS[0] for row in people()) + 1
    rows = sum(row["subject"] == SUBJECTS[0] for row in people()) + 1
    assert (
        f"warning: gone.txt: 4 listed, 2 of them found ({rows} rows); lines 4 and 6 match no row of these runs: misspelt, or "
        "taken out of the run already\n"
    ) in err
    assert "Known" not in err
    code, out, _ = normpipe(capsys, "release", "diff", folder / "release", folder / "next")
    assert f"withdrawn {gone}\n" in out
    assert "asks for major step: broken" in out
    assert code == 1
    for path in (folder / "next").rglob("*"):
        assert not path.is_file() or SUBJECTS[0].encode() not in path.read_bytes()


def test_a_list_is_told_of_by_itself_and_each_row_counts_once_in_it(folder, capsys):
    (folder / "one.txt").write_text(f"subject\n{SUBJECTS[0]}\nsample:{SUBJECTS[0]}/000.jpg\n")
    (folder / "two.txt").write_text(f"sample\n{SUBJECTS[1]}/001.jpg\n")
    (folder / "three.txt").write_text("subject:nobody\n")
    lists = (word for name in ("one", "two", "three") for word in ("--exclude", folder / f"{name}.txt"))
    lines = build(capsys, folder, *lists)[2].splitlines()
    assert "one.txt: 2 listed, 2 of them found (6 rows)" in lines
    assert "two.txt: 1 listed, 1 of them found (1 row)" in lines
    why = "line 1 matches no row of these runs: misspelt, or taken out of the run already"
    assert f"warning: three.txt: 1 listed, 0 of them found (0 rows); {why}" in lines


@pytest.mark.parametrize("content", ["", "\n\n", "subject\n", "# none yet\n"])
def test_a_list_of_nobody_is_refused(folder, capsys, content):
    (folder / "gone.txt").write_text(content)
    code, _, err = build(capsys, folder, "--exclude", folder / "gone.txt")
    assert code == 2
    assert "--exclude gone.txt: names nobody" in err
    assert not list(folder.glob("release*"))


def test_a_list_from_another_editor_may_begin_with_a_byte_order_mark(folder, capsys):
    (folder / "gone.txt").write_bytes(b"\xef\xbb\xbfsubject\n" + SUBJECTS[0].encode())
    assert "1 listed, 1 of them found" in build(capsys, folder, "--exclude", folder / "gone.txt")[2]


def test_a_forgotten_list_is_refused_and_a_comparison_says_who_is_back(folder, capsys):
    (folder / "gone.txt").write_text(f"subject\n{SUBJECTS[0]}\n")
    build(capsys, folder, "--exclude", folder / "gone.txt")
    code, _, err = build(capsys, folder, "--previous", folder / "release", out="next", version="2.0.0")
    assert code == 2
    assert "of people or samples withdrawn there are in this release again; give --exclude as for 1.0.0" in err
    assert not list(folder.glob("next*"))
    build(capsys, folder, out="next", version="2.0.0")
    gone = sum(row["status"] == "ok" and row["subject"] == SUBJECTS[0] for row in people())
    code, out, _ = normpipe(capsys, "release", "diff", folder / "release", folder / "next")
    assert code == 1
    assert f"returned {gone}\n" in out


def test_the_last_person_of_a_data_set_stays_withdrawn(folder, capsys):
    """Of the purged run no row says any more of which data set the person was; the release before does."""
    last = [row for row in people(dataset="beta", first=100) if row["subject"] == SUBJECTS[0]]
    rows = [*people(), *last]
    write_run(folder / "both", rows)
    gone = [failed_row(f"withdrawn-{number:08d}", Reason.WITHDRAWN) for number in range(len(last))]
    write_run(folder / "purged", [*people(), *gone])
    (folder / "gone.txt").write_text(f"subject\n{SUBJECTS[0]}\n")
    beta = ("--terms", write_terms(folder / "beta.yaml", "beta"))
    build(capsys, folder, *beta, runs=("both",))
    before = ("--previous", folder / "release")
    build(capsys, folder, "--exclude", folder / "gone.txt", *before, runs=("purged",), out="next", version="2.0.0")
    out = normpipe(capsys, "release", "diff", folder / "release", folder / "next")[1]
    assert "removed 0\n" in out
    code, _, err = build(capsys, folder, *beta, "--previous", folder / "next", runs=("both",), out="third", version="3.0.0")
    assert code == 2
    assert "withdrawn there are in this release again" in err


def test_a_person_in_two_spellings_is_taken_out_whole(folder, capsys):
    spellings = [unicodedata.normalize(form, "Zoé") for form in ("NFC", "NFD")]
    rows = people()
    for number, row in enumerate(rows):
        row["subject"] = spellings[number % 2] if row["subject"] == SUBJECTS[1] else row["subject"]
    first = [row for row in rows if row["subject"] == spellings[0]]
    rows += [{**row, "sample_id": f"more/{row['sample_id']}", "subject": spellings[1]} for row in first]
    write_run(folder / "spelled", rows)
    (folder / "gone.txt").write_text(f"subject\n{spellings[0]}\n")
    err = build(capsys, folder, "--exclude", folder / "gone.txt", runs=("spelled",))[2]
    assert f"1 listed, 1 of them found ({sum(row['subject'] in spellings for row in rows)} rows)" in err


def test_a_previous_release_of_another_name_is_told(folder, capsys):
    build(capsys, folder)
    code, _, err = build(capsys, folder, "--previous", folder / "release", "--name", "other", out="next", version="1.0.1")
    assert code == 0
    assert "warning: --previous is a version of drawn, not of other\n" in err


def test_a_damaged_release_is_one_line_of_diff_and_of_build(folder, capsys):
    build(capsys, folder)
    path = folder / "release" / "data" / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    why = "error: release/data/train-00000-of-00001.parquet: damaged; `normpipe release verify` tells more"
    code, _, err = normpipe(capsys, "release", "diff", folder / "release", folder / "release")
    assert (code, err) == (1, f"{why}\n")
    code, _, err = build(capsys, folder, "--previous", folder / "release", out="next", version="1.0.1")
    assert (code, err.splitlines()[-1]) == (1, why)


def test_terms_that_leave_something_open_are_told(folder, capsys):
    (folder / "terms.yaml").write_text("dataset: drawn\nlicence: CC-BY-4.0\npass_on: [pairs]\n")
    why = "no attribution, which CC-BY-4.0 asks for; no consent; no contact"
    assert f"warning: the terms of dataset drawn tell of {why}\n" in build(capsys, folder)[2]


def test_one_row_is_counted_as_one(folder, capsys):
    write_run(folder / "one", people(1))
    _, out, err = build(capsys, folder, runs=("one",))
    assert "train-00000-of-00001.parquet: 1 row, " in err
    assert out.endswith("release: 1 row in 1 file\n")


def test_a_list_that_does_not_say_what_it_lists_is_refused(folder, capsys):
    (folder / "gone.txt").write_text(f"{SUBJECTS[0]}\n")
    code, _, err = build(capsys, folder, "--exclude", folder / "gone.txt")
    assert code == 2
    assert "gone.txt, line 1: subject or sample?" in err


def test_rebuild_finds_what_another_run_makes_different(folder, capsys):
    build(capsys, folder)
    rows = people()
    rows[0] = {**rows[0], "emotion": "fear"}
    write_run(folder / "other", rows)
    command = ("release", "rebuild", folder / "release", folder / "other", "--key-file", folder / "key", "--check")
    code, out, err = normpipe(capsys, *command)
    assert code == 1
    assert "data/train-00000-of-00001.parquet: other bytes" in out
    assert "not the same release" in err


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--plain-ids",), "--plain-ids and --key-file"),
        (("--min", "yaw"), "--min yaw: write COLUMN=VALUE"),
        (("--min", "nothing=1"), "--min nothing: not a column of numbers"),
        (("--date", "1.1.2026"), "--date 1.1.2026: write YYYY-MM-DD"),
        (("--version", "1.0"), "--version 1.0: write three numbers"),
        (("--name", "a b"), "--name a b"),
        (("--changes", "nothing.md"), "--changes nothing.md: not there"),
        (("--exclude", "nothing.txt"), "--exclude nothing.txt: not there"),
        (("--min", "eye_distance=nan"), "--min eye_distance=nan: not a number"),
        (("--max", "eye_distance=-inf"), "--max eye_distance=-inf: not a number"),
        (("-o", "nodir/release"), "nodir: not there; make it first"),
        (("--previous", "nothing"), "--previous nothing: not there"),
        (("--terms", "nothing.yaml"), "nothing.yaml: cannot read the file of terms"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(folder, capsys, more, why):
    code, _, err = build(capsys, folder, *more)
    assert code == 2
    assert why in err
    assert len(err.splitlines()) == 1
    assert not (folder / "release").exists()


def test_without_a_key_the_line_says_how_to_make_one(folder, capsys):
    code, _, err = build(capsys, folder, key=False)
    assert code == 2
    assert "openssl rand -hex 32 > release.key" in err


def test_a_key_that_others_may_read_or_get_is_told(folder, capsys):
    (folder / "key").chmod(0o644)
    assert "warning: others may read key; chmod 600 key" in build(capsys, folder)[2]
    (folder / "key").rename(folder / "out" / "key")
    code, _, err = build(capsys, folder, "--key-file", folder / "out" / "key", out="other")
    assert code == 2
    assert "lies in out" in err


def test_the_change_log_stands_in_the_card(folder, capsys):
    (folder / "changes.md").write_text("- 1.0.0: the first one\n")
    build(capsys, folder, "--changes", folder / "changes.md")
    assert (folder / "release" / "README.md").read_text().endswith("- 1.0.0: the first one\n")


def test_a_version_that_says_too_little_is_refused_and_the_next_one_takes_up_what_was_written(folder, capsys):
    build(capsys, folder)
    (folder / "gone.txt").write_text(f"subject\n{SUBJECTS[0]}\n")
    more = ("--exclude", folder / "gone.txt", "--previous", folder / "release")
    code, _, err = build(capsys, folder, *more, out="next", version="1.1.0")
    assert code == 2
    assert "--version 1.1.0: the changes since 1.0.0 ask for a major step; give --version 2.0.0 (the same -o goes on" in err
    assert not (folder / "next").exists()
    assert build(capsys, folder, *more, out="next", version="2.0.0")[0] == 0
    gone = sum(row["status"] == "ok" and row["subject"] == SUBJECTS[0] for row in people())
    card = (folder / "next" / "README.md").read_text()
    assert card.endswith(f"- 2.0.0 (2026-11-23), since 1.0.0: {gone} rows withdrawn\n")
    assert normpipe(capsys, "release", "verify", folder / "next")[0] == 0
    command = ("release", "rebuild", folder / "next", folder / "out", "--key-file", folder / "key", "--check")
    assert normpipe(capsys, *command)[0] == 0


def test_release_json_tells_no_path_and_no_key(folder, capsys):
    build(capsys, folder)
    text = (folder / "release" / "release.json").read_text()
    assert str(folder) not in text
    assert (folder / "key").read_text().strip() not in text
    assert json.loads(text)["command"].startswith("normpipe release build RUN-1 -o RELEASE --name drawn --version 1.0.0")


def test_what_is_no_run_is_exit_code_2(folder, capsys):
    (folder / "empty").mkdir()
    code, _, err = build(capsys, folder, runs=("empty",))
    assert code == 2
    assert "empty: not a run's folder" in err
