"""Many names in many bytes: what is there is found, whole and only whole."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.purge import finder
from normpipe.purge.finder import Finder

LETTERS = st.sampled_from(b"ab\0")
NAMES = st.sets(st.lists(LETTERS, min_size=8, max_size=12).map(bytes), max_size=6)


@settings(max_examples=100, deadline=None)
@given(names=NAMES, data=st.lists(LETTERS, max_size=200).map(bytes), planted=st.booleans())
def test_finds_what_a_plain_search_finds(names, data, planted):
    if planted and names:
        data = data[:50] + max(names) + data[50:]
    assert Finder(names).found(data) == {name for name in names if name in data}


@pytest.mark.parametrize("start", range(24, 41))
def test_a_name_across_two_pieces_of_a_file_is_found(tmp_path, monkeypatch, start):
    monkeypatch.setattr(finder, "_BLOCK", 32)
    path = tmp_path / "file"
    path.write_bytes(b"." * start + b"anna-lindqvist" + b"." * 40)
    assert Finder({b"anna-lindqvist", b"somebody else"}).found_in_file(path) == {b"anna-lindqvist"}
