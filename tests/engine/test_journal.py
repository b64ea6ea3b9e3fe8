import pytest

from engine.stub import plan_of
from normpipe.engine.journal import Journal, PendingRecord, ShardRecord
from normpipe.engine.tasks import OutputFile, ShardResult
from normpipe.records import Reason
from normpipe.shards.commits import JOURNAL_FOLDER

SHARDS = plan_of(10, 4).shards


@pytest.fixture(params=["journal", "journal/analyze"])
def journal(tmp_path, request):
    journal = Journal(tmp_path, "digest", request.param)
    journal.open()
    return journal


def result_with_file(out, content=b"rows"):
    (out / "file").write_bytes(content)
    return ShardResult((OutputFile("file", "00", 4),), 4, 3, {Reason.NO_FACE: 1}, {"decode": 0.25}, sources="abc")


@pytest.fixture(params=[False, True], ids=["json", "compacted"])
def committed(journal, request):
    """A journal with one record, in either form."""
    journal.commit(SHARDS[0], result_with_file(journal.out))
    if request.param:
        journal.compact()
    return journal


def test_a_committed_shard_is_read_back(committed):
    assert committed.committed(SHARDS) == [ShardRecord(SHARDS[0], "digest", result_with_file(committed.out))]
    assert not committed.is_empty()


def test_without_records_nothing_is_committed(journal):
    assert journal.committed(SHARDS) == []
    assert journal.is_empty()


def test_a_record_of_another_fingerprint_does_not_count(committed):
    other = Journal(committed.out, "other", committed.folder)
    assert other.committed(SHARDS) == []
    assert not other.is_empty()


@pytest.mark.parametrize("content", [b"", b"longer than recorded"])
def test_a_file_of_another_size_does_not_count(committed, content):
    (committed.out / "file").write_bytes(content)
    assert committed.committed(SHARDS) == []


def test_a_missing_file_does_not_count(committed):
    (committed.out / "file").unlink()
    assert committed.committed(SHARDS) == []


def test_a_record_of_a_shard_with_other_rows_does_not_count(committed):
    assert committed.committed(plan_of(10, 5).shards) == []


def test_a_word_that_is_no_reason_does_not_count(journal):
    journal.commit(SHARDS[0], result_with_file(journal.out))
    path = journal.out / journal.folder / "part-00000.json"
    path.write_text(path.read_text().replace("no_face", "no_luck"))
    assert journal.committed(SHARDS) == []


def test_phases_do_not_see_each_other(tmp_path):
    first, second = (Journal(tmp_path, "digest", folder) for folder in (JOURNAL_FOLDER, f"{JOURNAL_FOLDER}/analyze"))
    for each in (first, second):
        each.open()
    second.commit(SHARDS[0], result_with_file(tmp_path))
    assert first.is_empty()
    assert len(second.committed(SHARDS)) == 1


def test_why_a_shard_is_pending_is_read_back_until_it_is_settled(journal):
    held = PendingRecord(SHARDS[1], 2, {Reason.VANISHED: 3})
    failed = PendingRecord(SHARDS[0], 0, message="No space left on device")
    for record in (held, failed):
        journal.postpone(record)
    assert journal.postponed() == {0: failed, 1: held}
    assert Journal(journal.out, "other", journal.folder).postponed() == {}
    journal.settle(SHARDS[1])
    assert journal.postponed() == {0: failed}


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_a_damaged_note_of_a_pending_shard_is_forgotten(journal, content):
    journal.postpone(PendingRecord(SHARDS[0], 1, {Reason.VANISHED: 3}))
    (journal.out / journal.folder / "pending" / "part-00000.json").write_text(content)
    assert journal.postponed() == {}
