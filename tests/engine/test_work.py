import importlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.stub import FOLDER, KilledError, RowsTask, plan_of
from normpipe.engine.fingerprint import flatten
from normpipe.engine.journal import Journal, ShardRecord
from normpipe.engine.work import ShardFailure, ShardHeld, Work, describe
from normpipe.errors import UsageError
from normpipe.records import Reason

SHARD = plan_of(2, 2).shards[0]


@dataclass
class Raises(RowsTask):
    error: type[BaseException] = ValueError

    def run(self, shard, advance, excluded):
        raise self.error("x")


@pytest.fixture
def out(tmp_path):
    for folder in (FOLDER, "journal"):
        (tmp_path / folder).mkdir()
    return tmp_path


def do(out, task, excluded=None, **options):
    return Work(task, Journal(out, "digest"), **options).do(SHARD, lambda *_: None, excluded or {})


def test_a_shard_that_succeeds_is_committed(out):
    outcome = do(out, RowsTask(out))
    assert isinstance(outcome, ShardRecord)
    assert Journal(out, "digest").committed([SHARD]) == [outcome]


@pytest.mark.parametrize("error", [ValueError, MemoryError, OSError, UsageError, AssertionError])
def test_any_error_becomes_an_outcome_and_no_record(out, error):
    assert isinstance(do(out, Raises(out, error=error)), ShardFailure)
    assert Journal(out, "digest").committed([SHARD]) == []


def test_a_shard_with_rows_that_may_pass_is_held_and_leaves_nothing(out):
    outcome = do(out, RowsTask(out, failing_rows=frozenset({1})))
    assert outcome == ShardHeld(SHARD, {Reason.VANISHED: 1})
    assert Journal(out, "digest").committed([SHARD]) == []
    assert not list((out / FOLDER).iterdir())


def test_an_accepted_shard_is_committed_whatever_its_rows_failed_of(out):
    outcome = do(out, RowsTask(out, failing_rows=frozenset({1})), accepted=frozenset({SHARD.index}))
    assert outcome.result.failed == {Reason.VANISHED: 1}


@pytest.mark.parametrize("reason", [Reason.POISON, Reason.TIMEOUT])
def test_an_excluded_row_has_had_its_attempts_and_holds_nothing(out, reason):
    assert do(out, RowsTask(out), {1: reason}).result.failed == {reason: 1}


def test_an_excluded_row_does_not_excuse_another(out):
    outcome = do(out, RowsTask(out, failing_rows=frozenset({0})), {1: Reason.VANISHED})
    assert outcome == ShardHeld(SHARD, {Reason.VANISHED: 1})


@pytest.mark.parametrize(("error", "unwritable"), [(PermissionError(13, "x"), True), (ValueError("x"), False)])
def test_a_failure_says_whether_the_folder_was_the_trouble(out, error, unwritable):
    assert do(out, Raises(out, error=lambda _: error)).unwritable is unwritable


def test_an_interrupt_is_no_outcome(out):
    with pytest.raises(KilledError):
        do(out, Raises(out, error=KilledError))


def test_messages_name_no_path_of_the_user(tmp_path):
    secret = tmp_path / "Jane Doe" / "secret.jpg"
    with pytest.raises(FileNotFoundError) as missing:
        secret.read_bytes()
    assert describe(missing.value) == "No such file or directory"
    assert describe(ValueError(str(secret))) == "ValueError"


def test_a_missing_module_is_named():
    with pytest.raises(ModuleNotFoundError) as missing:
        importlib.import_module("nowhere")
    assert describe(missing.value) == "the module nowhere is not installed"


def test_our_own_messages_are_shown_whole():
    assert describe(UsageError("what to do")) == "what to do"


def test_an_unexpected_error_names_its_place_in_the_package():
    with pytest.raises(AttributeError) as error:
        list(flatten(Path(), "x"))
    assert describe(error.value).startswith("AttributeError at normpipe/engine/fingerprint.py:")
