"""Reasons: who must act, and what may pass when tried again."""

import pytest

from normpipe.errors import shown_sample
from normpipe.records import Reason, ReasonClass


@pytest.mark.parametrize("reason", [Reason.VANISHED, Reason.CHANGED, Reason.IO_ERROR, Reason.TIMEOUT, Reason.POISON])
def test_what_the_machine_did_holds_a_shard_and_may_pass_again(reason):
    assert reason.reason_class is ReasonClass.ENVIRONMENT
    assert reason.may_pass_again


def test_a_file_that_may_not_be_read_is_a_fact_that_its_owner_can_change():
    assert Reason.PERMISSION.reason_class is ReasonClass.DATA
    assert Reason.PERMISSION.may_pass_again


def test_what_the_data_is_stays_so():
    assert not Reason.NO_FACE.may_pass_again


def test_a_hidden_id_is_the_same_everywhere_and_tells_nothing():
    assert shown_sample("jane_doe.jpg", hash_ids=False) == "jane_doe.jpg"
    assert shown_sample("jane_doe.jpg", hash_ids=True) == shown_sample("jane_doe.jpg", hash_ids=True)
    assert "jane" not in shown_sample("jane_doe.jpg", hash_ids=True)
