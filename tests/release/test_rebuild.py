import pytest
from fixtures.released import KEY, OTHER_KEY, SUBJECTS, people, released, write_run

from normpipe.errors import UsageError
from normpipe.release.document import read_release
from normpipe.release.keys import Kind
from normpipe.release.rebuild import differing_files, rebuild
from normpipe.release.runs import read_runs
from normpipe.release.selection import Withdrawals


def test_a_release_is_rebuilt_to_the_same_bytes_from_what_it_says_of_itself(tmp_path):
    out = write_run(tmp_path / "out", shards=2)
    gone = Withdrawals(frozenset({KEY.tombstone(Kind.SUBJECT, "drawn", SUBJECTS[2])}))
    limits = {"normalized_score": 0.05}
    document = released(out, tmp_path / "release", minimum=limits, withdrawals=gone, allowed=("--partial",), file_bytes=6000)
    (tmp_path / "terms.yaml").unlink()
    rebuild(document, read_runs([out]), KEY, tmp_path / "again", jobs=2)
    assert differing_files(tmp_path / "release", tmp_path / "again") == []


def test_a_run_that_changed_is_found_out(tmp_path):
    document = released(write_run(tmp_path / "out"), tmp_path / "release")
    rows = people()
    rows[0] = {**rows[0], "emotion": "fear"}
    rebuild(document, read_runs([write_run(tmp_path / "other", rows)]), KEY, tmp_path / "again")
    found = differing_files(tmp_path / "release", tmp_path / "again")
    assert [path for path in found if path.startswith("data/")] == [document.files[0].path]


def test_another_key_or_another_run_is_refused(tmp_path):
    out = write_run(tmp_path / "out")
    released(out, tmp_path / "release")
    document = read_release(tmp_path / "release")
    with pytest.raises(UsageError, match="made with another key: give that one"):
        rebuild(document, read_runs([out]), OTHER_KEY, tmp_path / "again")
    with pytest.raises(UsageError, match=r"made of 1 run with other fingerprints; .* or people were taken out of them since"):
        rebuild(document, read_runs([write_run(tmp_path / "other", people(12))]), KEY, tmp_path / "again")
