"""A row's digest: what it holds, whatever wrote it down.

Parquet files of equal rows differ between versions of the library that writes them. The digest is over the values instead: the
sha256 of a block of fixed length, of all texts behind it, and of all bytes and lists behind these. In the block stands, for
each column in order, a byte that tells whether there is a value, and then the value: numbers and lists of a fixed length
little-endian, of texts, bytes and lists of any length the length in 8 bytes; zeros where there is none. An image counts as two
columns, its bytes and its path.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from normpipe.records import IMAGE_TYPE

_LENGTH_BYTES = 8

Bytes = NDArray[np.uint8]


def row_digests(batch: pa.RecordBatch, columns: Sequence[str] | None = None) -> list[bytes]:
    """The sha256 of each row, over all columns or those named, in the batch's order."""
    rows = batch.num_rows
    blocks: list[Bytes] = []
    texts: list[pa.Array] = []
    contents = []
    for column in _columns(batch, columns):
        width = _width(column.type)
        there = column.is_valid().to_numpy(zero_copy_only=False)
        block = np.zeros((rows, 1 + (width or _LENGTH_BYTES)), np.uint8)
        if column.null_count < rows:
            block[:, 0] = there
            block[:, 1:] = _raw(column, width) if width else _lengths(column)
            if column.null_count:
                block[~there, 1:] = 0
            if pa.types.is_string(column.type):
                texts.append(column.cast(pa.binary()))
            elif not width:
                contents.append(_contents(column))
        blocks.append(block)
    if texts:  # joined, since a call for each would take longer than the hash
        joined = pc.binary_join_element_wise(*texts, b"", null_handling="replace", null_replacement=b"")
        contents.insert(0, binary_views(joined))
    whole = np.concatenate(blocks, axis=1)
    digests = []
    for row, block in enumerate(whole):
        digest = hashlib.sha256(block)
        for data, places in contents:
            digest.update(data[places[row] : places[row + 1]])
        digests.append(digest.digest())
    return digests


def split_digest(digests: Iterable[bytes]) -> str:
    """Hex sha256 over rows' digests in order."""
    whole = hashlib.sha256()
    for digest in digests:
        whole.update(digest)
    return whole.hexdigest()


def binary_views(column: pa.Array) -> tuple[memoryview, list[int]]:
    """The bytes of an array of texts or bytes one after the other, not copied, and where each value begins and ends."""
    _, offsets, data = column.buffers()
    places = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1].tolist()
    return memoryview(data).cast("B") if data is not None else memoryview(b""), places


def _columns(batch: pa.RecordBatch, columns: Sequence[str] | None) -> Iterable[pa.Array]:
    for field in batch.schema:
        if columns is None or field.name in columns:
            column = batch[field.name]
            yield from (column.field("bytes"), column.field("path")) if field.type == IMAGE_TYPE else (column,)


def _width(kind: pa.DataType) -> int:
    """Bytes of a value, 0 where they vary."""
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _width(kind.value_type)
    return int(kind.bit_width) // 8 if pa.types.is_integer(kind) or pa.types.is_floating(kind) else 0


def _raw(column: pa.Array, width: int) -> Bytes:
    """The values' bytes (rows, width), anything where there is none."""
    values = column
    if pa.types.is_fixed_size_list(column.type):
        size = column.type.list_size
        values = column.values.slice(column.offset * size, len(column) * size)
    return _little(values.fill_null(0).to_numpy(zero_copy_only=False)).reshape(len(column), width)


def _lengths(column: pa.Array) -> Bytes:
    lengths = pc.list_value_length(column) if pa.types.is_list(column.type) else pc.binary_length(column)
    return _little(lengths.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)).reshape(len(column), _LENGTH_BYTES)


def _contents(column: pa.Array) -> tuple[memoryview, list[int]]:
    if not pa.types.is_list(column.type):
        return binary_views(column)
    size = _width(column.type.value_type)
    places = (np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1] * size).tolist()
    return memoryview(_little(column.values.fill_null(0).to_numpy(zero_copy_only=False)).reshape(-1)), places  # type: ignore[arg-type]


def _little(numbers: NDArray[np.generic]) -> Bytes:
    return np.ascontiguousarray(numbers.astype(numbers.dtype.newbyteorder("<"), copy=False)).view(np.uint8)
