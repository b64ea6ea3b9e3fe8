"""The columns of a release, and what they are called to those who load it.

They are those of PAIRS_SCHEMA that --include leaves. Emotions become numbers with names (`ClassLabel`), since that is what
loaders and training code expect. Columns that could lead back to the source's names or files stay out unless names are kept
anyway.
"""

import pyarrow as pa
import pyarrow.compute as pc

from normpipe.errors import UsageError
from normpipe.records import EMOTIONS, IMAGE_TYPE, PAIRS_SCHEMA
from normpipe.release.terms import Include

IMAGES = tuple(field.name for field in PAIRS_SCHEMA if field.type == IMAGE_TYPE)
CLASSES = {"emotion": EMOTIONS}

_PICTURES = {Include.PAIRS: IMAGES, Include.NORMALIZED: ("normalized",), Include.LABELS: ()}
_NEVER = {"detail"}
_LEADS_BACK = {"emotion_raw", "compound_emotion", "content_sha256"}


def release_schema(include: Include, plain_ids: bool) -> pa.Schema:
    """Schema of the data files, without metadata."""
    left_out = _NEVER | (set() if plain_ids else _LEADS_BACK) | (set(IMAGES) - set(_PICTURES[include]))
    fields = [field for field in PAIRS_SCHEMA if field.name not in left_out]
    return pa.schema([field.with_type(pa.int64()) if field.name in CLASSES else field for field in fields])


def pictures(include: Include) -> tuple[str, ...]:
    """Image columns of a release."""
    return _PICTURES[include]


def class_numbers(column: pa.Array, names: tuple[str, ...]) -> pa.Array:
    """Names as int64 numbers, null where there is none.

    Raises:
        UsageError: a name is not one of the classes.
    """
    numbers = pc.index_in(column, value_set=pa.array(names, pa.string())).cast(pa.int64())
    if numbers.null_count != column.null_count:
        raise UsageError(f"a row's emotion is none of {', '.join(names)}")
    return numbers
