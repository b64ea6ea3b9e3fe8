import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.stub import plan_of
from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.plan import PLAN_FILE, check_same_run, read_plan, write_plan
from normpipe.errors import IncompatibleRunError


def test_a_plan_of_ten_million_rows_is_cut_once():
    plan = plan_of(10_000_000, 2048)
    assert len(plan.shards) == 4883
    assert plan.shards is plan.shards


@given(rows=st.integers(1, 500), shard_size=st.integers(1, 600))
def test_shards_cover_every_row_once_and_in_order(rows, shard_size):
    shards = plan_of(rows, shard_size).shards
    assert [row for shard in shards for row in range(shard.start, shard.stop)] == list(range(rows))
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert all(shard.rows == shard_size for shard in shards[:-1])


def test_shards_are_cut_as_the_input_is_where_that_is_cut_already():
    plan = replace(plan_of(10, 7), starts=(0, 2, 9))
    assert [(shard.index, shard.start, shard.stop) for shard in plan.shards] == [(0, 0, 2), (1, 2, 9), (2, 9, 10)]


@pytest.mark.parametrize("starts", [(), (0, 2, 9)])
def test_a_written_plan_is_read_back(starts, tmp_path):
    plan = replace(plan_of(10, 7, detector="a"), starts=starts)
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan


def test_a_new_folder_has_no_plan(tmp_path):
    assert read_plan(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format_version": 1}'])
def test_a_damaged_plan_is_refused(tmp_path, content):
    (tmp_path / PLAN_FILE).write_text(content)
    with pytest.raises(IncompatibleRunError, match="damaged"):
        read_plan(tmp_path)


def test_a_plan_of_another_format_is_refused(tmp_path):
    write_plan(tmp_path, plan_of(10, 3))
    document = json.loads((tmp_path / PLAN_FILE).read_text())
    (tmp_path / PLAN_FILE).write_text(json.dumps({**document, "format_version": 99}))
    with pytest.raises(IncompatibleRunError, match="format 99"):
        read_plan(tmp_path)


def test_another_configuration_is_refused_and_named(tmp_path):
    with pytest.raises(IncompatibleRunError, match=r"quality: 90 -> 95\)") as refusal:
        check_same_run(tmp_path, plan_of(10, 3, quality="90", kept="x"), plan_of(10, 3, quality="95", kept="x"))
    assert "kept" not in str(refusal.value)
    assert refusal.value.exit_code == 3


def test_the_same_configuration_is_accepted_whatever_the_producer(tmp_path):
    check_same_run(tmp_path, plan_of(10, 3), plan_of(10, 3))


def test_parts_that_come_or_go_are_differences_too():
    assert Fingerprint({"a": "1"}).differences(Fingerprint({"b": "2"})) == ["a: 1 -> absent", "b: absent -> 2"]


OLD, NEW = "0123456789abcdef" * 4, "fedcba9876543210" * 4


@pytest.mark.parametrize(
    ("name", "before", "after", "told"),
    [
        ("config.encode.quality", "92", "80", "encode.quality: 92 -> 80"),
        ("config.detect.policy", '"largest"', '"all"', "detect.policy: largest -> all"),
        ("config.limit", "null", "5", "limit: none -> 5"),
        ("config.normalize.identity", "null", OLD, "normalize.identity: none -> 01234567"),
        ("config.normalize.identity", OLD, NEW, "normalize.identity: other content (01234567 -> fedcba98)"),
        ("manifest", OLD, NEW, "manifest: other content (01234567 -> fedcba98)"),
        ("detector", f"net/1/{OLD[:16]}", f"net/1/{NEW[:16]}", "detector: other content (net/1/01234567 -> net/1/fedcba98)"),
        ("normalizer", f'{{"model_sha256": "{OLD}"}}', f'{{"model_sha256": "{NEW}"}}', None),
        ("environment.numpy", "2.4.6", "2.5.0", "environment numpy: 2.4.6 -> 2.5.0"),
        ("algorithm.detect", "1", "2", "normpipe's own way to detect: 1 -> 2"),
    ],
)
def test_a_difference_is_told_in_the_users_words(name, before, after, told):
    differences = Fingerprint({name: before, "kept": "x"}).differences(Fingerprint({name: after, "kept": "x"}))
    assert differences == [told or "normalizer.model: other content (01234567 -> fedcba98)"]


def test_a_setting_that_weights_repeat_is_told_once():
    before, after = ({"config.normalize.detail": n, "normalizer": f'{{"detail": {n}, "size": 256}}'} for n in ("0.5", "1.0"))
    assert Fingerprint(before).differences(Fingerprint(after)) == ["normalize.detail: 0.5 -> 1.0"]


def test_the_digest_does_not_depend_on_the_order_of_parts():
    assert Fingerprint({"a": "1", "b": "2"}).digest == Fingerprint({"b": "2", "a": "1"}).digest


def test_the_digest_tells_names_from_values():
    assert Fingerprint({"a": "b"}).digest != Fingerprint({"b": "a"}).digest
