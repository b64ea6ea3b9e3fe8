import hashlib

import pyarrow as pa
from fixtures.pairs import batch, failed_row, ok_row
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from normpipe.records import IMAGE_TYPE
from normpipe.release.digests import row_digests

_SCHEMA = pa.schema(
    [
        pa.field("text", pa.string()),
        pa.field("number", pa.int32()),
        pa.field("box", pa.list_(pa.float32(), 2)),
        pa.field("votes", pa.list_(pa.float32())),
        pa.field("image", IMAGE_TYPE),
    ]
)
_FLOATS = st.floats(width=32, allow_nan=False)
_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | st.sampled_from(["", "a", "ab", "ä"]),
            "number": st.none() | st.integers(-9, 9),
            "box": st.none() | st.lists(_FLOATS, min_size=2, max_size=2),
            "votes": st.none() | st.lists(_FLOATS, max_size=3),
            "image": st.fixed_dictionaries(
                {"bytes": st.none() | st.sampled_from([b"", b"x", b"xyz"]), "path": st.none() | st.sampled_from(["", "p"])}
            ),
        }
    ),
    max_size=4,
)
_PATIENT = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def made(rows):
    return pa.RecordBatch.from_pylist(rows, schema=_SCHEMA)


@_PATIENT
@given(_ROWS)
def test_rows_have_equal_digests_exactly_if_they_are_equal(rows):
    batch = made(rows)
    told = [repr(row) for row in batch.to_pylist()]  # its keys in the schema's order
    digests = row_digests(batch)
    for one, first in zip(told, digests, strict=True):
        for two, second in zip(told, digests, strict=True):
            assert (first == second) == (one == two)


@_PATIENT
@given(_ROWS, st.integers(0, 8), st.integers(0, 8))
def test_a_digest_does_not_depend_on_the_rows_around(rows, start, length):
    whole, part = row_digests(made(rows)), made(rows).slice(start, length)
    assert row_digests(part) == whole[start : start + length]


def test_a_digest_can_be_made_by_hand():
    row = {"text": "ab", "number": None, "box": [1.0, 2.0], "votes": [], "image": {"bytes": b"xyz", "path": None}}
    block = b"\1" + (2).to_bytes(8, "little") + b"\0" * 5 + b"\1" + b"\0\0\x80\x3f\0\0\0\x40" + b"\1" + b"\0" * 8
    block += b"\1" + (3).to_bytes(8, "little") + b"\0" * 9
    assert row_digests(made([row])) == [hashlib.sha256(block + b"ab" + b"xyz").digest()]


def test_chosen_columns_alone_count():
    one, two = ok_row("a", emotion="fear"), ok_row("a", emotion="anger")
    assert row_digests(batch([one]), ["sample_id"]) == row_digests(batch([two]), ["sample_id"])
    assert row_digests(batch([one]), ["emotion"]) != row_digests(batch([two]), ["emotion"])


def test_every_column_of_the_pairs_counts():
    assert len(set(row_digests(batch([ok_row("a"), ok_row("a", 1), failed_row("a"), failed_row("b")])))) == 4
