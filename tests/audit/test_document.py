import json

import pytest

from normpipe.audit.document import AUDIT_FILE, at, entries, figure_at, items, read_document, rounded, write_document
from normpipe.audit.figures import Figure, NotMeasurable
from normpipe.errors import UsageError

DOCUMENT = {
    "format_version": 1,
    "a": {"f": {"value": 0.1234567891, "low": -1e-9, "high": 1.0}, "none": {"why": "no_rows", "detail": "nothing"}},
    "list": [1, 2.5],
}


def test_what_is_written_is_read(tmp_path):
    write_document(tmp_path, DOCUMENT)
    assert read_document(tmp_path) == rounded(DOCUMENT)
    assert figure_at(read_document(tmp_path), "a", "f") == Figure(0.123457, 0.0, 1.0)


def test_digits_are_fixed_and_keys_sorted(tmp_path):
    write_document(tmp_path, DOCUMENT)
    first = (tmp_path / AUDIT_FILE).read_bytes()
    noisy = json.loads(first)
    noisy["a"]["f"]["value"] += 1e-9
    write_document(tmp_path, dict(reversed(noisy.items())))
    assert (tmp_path / AUDIT_FILE).read_bytes() == first
    assert b"-0.0" not in first


def test_below_what_could_not_be_measured_stands_its_reason():
    found = figure_at(DOCUMENT, "a", "none", "whole", "correlation")
    assert isinstance(found, NotMeasurable)
    assert found.detail == "nothing"
    assert list(entries(DOCUMENT, "a", "none")) == []
    assert isinstance(figure_at(DOCUMENT, "nowhere"), NotMeasurable)
    assert at(DOCUMENT, "a", "nowhere", "x") is None
    assert items(DOCUMENT, "list") == [1, 2.5]


@pytest.mark.parametrize("content", ["{", "[]", '{"format_version": 2}'])
def test_a_damaged_document_is_said_in_one_line(tmp_path, content):
    (tmp_path / AUDIT_FILE).write_text(content)
    with pytest.raises(UsageError, match=r"audit\.json is"):
        read_document(tmp_path)


def test_there_may_be_none(tmp_path):
    assert read_document(tmp_path) is None
