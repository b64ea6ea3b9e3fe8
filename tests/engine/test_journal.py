import pytest

from engine.stub import plan_of
from normpipe.engine.journal import JOURNAL_FOLDER, Journal, ShardRecord
from normpipe.engine.tasks import OutputFile, ShardResult
from normpipe.records import Reason

SHARDS = plan_of(10, 4).shards


@pytest.fixture
def journal(tmp_path):
    (tmp_path / JOURNAL_FOLDER).mkdir()
    return Journal(tmp_path, "digest")


def result_with_file(out, content=b"rows"):
    (out / "file").write_bytes(content)
    return ShardResult((OutputFile("file", "00", 4),), 4, 3, {Reason.NO_FACE: 1}, {"decode": 0.25})


def test_a_committed_shard_is_read_back(journal):
    result = result_with_file(journal.out)
    journal.commit(SHARDS[1], result)
    assert journal.committed(SHARDS) == [ShardRecord(SHARDS[1], "digest", result)]


def test_without_records_nothing_is_committed(journal):
    assert journal.committed(SHARDS) == []


def test_a_record_of_another_fingerprint_does_not_count(journal):
    journal.commit(SHARDS[0], result_with_file(journal.out))
    assert Journal(journal.out, "other").committed(SHARDS) == []


@pytest.mark.parametrize("content", [b"", b"longer than recorded"])
def test_a_file_of_another_size_does_not_count(journal, content):
    journal.commit(SHARDS[0], result_with_file(journal.out, content))
    assert journal.committed(SHARDS) == []


def test_a_missing_file_does_not_count(journal):
    journal.commit(SHARDS[0], result_with_file(journal.out))
    (journal.out / "file").unlink()
    assert journal.committed(SHARDS) == []


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_a_damaged_record_does_not_count(journal, content):
    journal.commit(SHARDS[0], result_with_file(journal.out))
    (journal.out / JOURNAL_FOLDER / "part-00000.json").write_text(content)
    assert journal.committed(SHARDS) == []


def test_a_record_of_a_shard_with_other_rows_does_not_count(journal):
    journal.commit(SHARDS[0], result_with_file(journal.out))
    assert journal.committed(plan_of(10, 5).shards) == []


def test_a_withdrawn_shard_is_pending_again(journal):
    journal.commit(SHARDS[0], result_with_file(journal.out))
    journal.withdraw(SHARDS[0])
    assert journal.committed(SHARDS) == []
