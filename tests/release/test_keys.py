import base64
import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normpipe.errors import UsageError
from normpipe.release.keys import Key, Kind, Names, dataset_word, read_key, spelled

_SECRET = bytes(range(1, 33))
_NAMES = Names(Key(_SECRET))


@pytest.mark.parametrize("content", [_SECRET.hex().encode() + b"\n", base64.b64encode(_SECRET), _SECRET])
def test_a_key_is_read_as_hex_base64_or_bytes(tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    assert read_key(tmp_path / "key").key == Key(_SECRET)


@pytest.mark.parametrize("content", [b"", b"correct horse", b"ab" * 40, b"0" * 64, _SECRET[:31].hex().encode()])
def test_what_could_be_guessed_is_no_key(tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(UsageError, match=r"at least 32 random bytes.*openssl rand -hex 32"):
        read_key(tmp_path / "key")


def test_a_missing_key_says_how_to_make_one(tmp_path):
    with pytest.raises(UsageError, match=r"openssl rand -hex 32 > release.key") as error:
        read_key(tmp_path / "key")
    assert "\n" not in str(error.value)


def test_others_being_able_to_read_it_is_told(tmp_path):
    (tmp_path / "key").write_bytes(os.urandom(32))
    for mode, exposed in ((0o600, False), (0o640, True), (0o604, True)):
        (tmp_path / "key").chmod(mode)
        assert read_key(tmp_path / "key").exposed is exposed


def test_a_key_is_not_shown():
    assert _SECRET.hex() not in repr(_NAMES)
    assert repr(_SECRET) not in repr(_NAMES)


@given(
    st.tuples(st.sampled_from(Kind), st.none() | st.text(), st.text()),
    st.tuples(st.sampled_from(Kind), st.none() | st.text(), st.text()),
)
def test_equal_names_alone_have_equal_pseudonyms(one, two):
    without_nul = all("\0" not in (text or "") for text in (*one[1:], *two[1:]))
    same = one[0] == two[0] and dataset_word(one[1] or "") == dataset_word(two[1] or "") and spelled(one[2]) == spelled(two[2])
    if without_nul:
        assert (_NAMES.released(*one) == _NAMES.released(*two)) is same


def test_a_name_is_one_person_however_it_is_written():
    composed, apart = (unicodedata.normalize(form, "Zoé") for form in ("NFC", "NFD"))
    found = {_NAMES.released(Kind.SUBJECT, "BP4D ", name) for name in (composed, apart, f" {composed}")}
    assert found == {_NAMES.released(Kind.SUBJECT, "bp4d", composed)}
    assert _NAMES.released(Kind.SUBJECT, "bp4d", "Zoe") not in found


def test_a_pseudonym_is_of_its_key():
    other = Names(Key(bytes(range(2, 34))))
    assert _NAMES.released(Kind.SUBJECT, "bp4d", "F001") != other.released(Kind.SUBJECT, "bp4d", "F001")
    assert _NAMES.check != other.check
    # RFC 2104 over "subject\0bp4d\0F001", as `openssl dgst -sha256 -mac HMAC` gives it
    assert _NAMES.released(Kind.SUBJECT, "bp4d", "F001") == "137dccc0ec6535d0bb86e16a67e9c456"


def test_plain_names_stay():
    assert Names(None).released(Kind.SUBJECT, "bp4d", "F001") == "F001"
    assert Names(None).check is None
    assert "F001" not in Names(None).tombstone(Kind.SUBJECT, "bp4d", "F001")
