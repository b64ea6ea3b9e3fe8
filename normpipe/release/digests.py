"""A row's digest: what it holds, whatever wrote it down.

Parquet files of equal rows differ between versions of the library that writes them. The digest is over the values instead: the
sha256 of, for each column in order, a byte that tells whether there is a value, and the value. Numbers and lists of a fixed length
are little-endian and take their place whether they are there or not (zeros where not); of texts, bytes and lists of any length comes
their length in 8 bytes first; of an image its bytes and then its path. All columns of the first kind come before those of the second.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from normpipe.records import IMAGE_TYPE

_ABSENT, _PRESENT = b"\0", b"\1"


def row_digests(batch: pa.RecordBatch, columns: Sequence[str] | None = None) -> list[bytes]:
    """The sha256 of each row, over all columns or those named, in the batch's order."""
    chosen = [field for field in batch.schema if columns is None or field.name in columns]
    fixed = [field.name for field in chosen if _width(field.type)]
    numbers = _number_cells(batch, fixed)
    lists = [_cells(batch[field.name]) for field in chosen if not _width(field.type)]
    return [hashlib.sha256(b"".join(cells)).digest() for cells in zip(numbers, *lists, strict=True)]


def split_digest(digests: Iterable[bytes]) -> str:
    """Hex sha256 over rows' digests in order."""
    whole = hashlib.sha256()
    for digest in digests:
        whole.update(digest)
    return whole.hexdigest()


def _width(kind: pa.DataType) -> int:
    """Bytes of a value, 0 where they vary."""
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _width(kind.value_type)
    return int(kind.bit_width) // 8 if pa.types.is_integer(kind) or pa.types.is_floating(kind) else 0


def _number_cells(batch: pa.RecordBatch, names: Sequence[str]) -> list[bytes]:
    rows = batch.num_rows
    widths = [1 + _width(batch.schema.field(name).type) for name in names]
    table: NDArray[np.uint8] = np.zeros((rows, sum(widths)), np.uint8)
    place = 0
    for name, width in zip(names, widths, strict=True):
        column = batch[name]
        if column.null_count < rows:
            there = column.is_valid().to_numpy(zero_copy_only=False)
            table[:, place] = there
            table[:, place + 1 : place + width] = _raw(column, width - 1)
            if column.null_count:
                table[~there, place + 1 : place + width] = 0
        place += width
    content = table.tobytes()
    return [content[start : start + sum(widths)] for start in range(0, len(content), sum(widths))]


def _raw(column: pa.Array, width: int) -> NDArray[np.uint8]:
    """The values' bytes (rows, width), anything where there is none."""
    values = column
    if pa.types.is_fixed_size_list(column.type):
        size = column.type.list_size
        values = column.values.slice(column.offset * size, len(column) * size)
    numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
    little = np.ascontiguousarray(numbers.astype(numbers.dtype.newbyteorder("<"), copy=False))
    return little.view(np.uint8).reshape(len(column), width)


def _cells(column: pa.Array) -> list[bytes]:
    if column.null_count == len(column):
        return [_ABSENT] * len(column)
    if column.type == IMAGE_TYPE:
        contents, paths = (_cells(column.field(name)) for name in ("bytes", "path"))
        there = column.is_valid().to_pylist()
        return [content + path if each else _ABSENT for each, content, path in zip(there, contents, paths, strict=True)]
    return [_ABSENT if value is None else _cell(value) for value in column.to_pylist()]


def _cell(value: object) -> bytes:
    if isinstance(value, str):
        content = value.encode("utf-8", "surrogatepass")
    elif isinstance(value, bytes):
        content = value
    else:
        assert isinstance(value, list)
        content = np.asarray([np.nan if each is None else each for each in value], "<f4").tobytes()
    return _PRESENT + len(content).to_bytes(8, "little") + content
