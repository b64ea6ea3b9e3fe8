"""Values as files hold them become Arrow arrays of the manifest's types; what does not fit is a problem of its line, and null.

Whole columns are converted at once; only a column in which that fails is looked at cell by cell, to name the lines.
"""

import json
from collections.abc import Sequence
from typing import cast

import numpy as np
import pyarrow as pa

from normpipe.sources.problems import Problems
from normpipe.sources.rows import Column


def conform(values: Column, field: pa.Field, numbers: Sequence[int], problems: Problems) -> pa.Array:
    """Convert one column.

    Text cells of CSV are parsed (lists as JSON, "[1, 2, 3, 4]"), whole floats pass as integers, whole numbers as text.

    Args:
        values: Python values or an Arrow array.
        field: Name and type of the column.
        numbers: Line or row number of each value.
        problems: Receives each value that does not fit.

    Returns:
        Array of `field.type`, as long as `values`.
    """
    try:
        if isinstance(values, pa.Array):
            return _cast(values, field.type)
        if not pa.types.is_string(field.type) and all(value is None or isinstance(value, str) for value in values):
            return pa.array(values, pa.string()).cast(field.type)
        return pa.array(values, field.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _cell_by_cell(_cells(values) if isinstance(values, pa.Array) else values, field, numbers, problems)


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(values.type) and pa.types.is_integer(kind):
        try:
            return values.cast(kind)
        except pa.ArrowInvalid:
            return values.cast(pa.float64()).cast(kind)  # "1.0", as pandas writes integers among gaps
    converted = values.cast(kind)
    if pa.types.is_string(kind):
        converted.validate(full=True)  # Parquet files may hold any bytes as text
    return converted


def _cells(values: pa.Array) -> list[object]:
    """Python values; text that is no UTF-8 as bytes."""
    try:
        return cast("list[object]", values.to_pylist())
    except UnicodeDecodeError:
        plain = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
        return cast("list[object]", plain.cast(pa.large_binary()).to_pylist())


def _cell_by_cell(values: Sequence[object], field: pa.Field, numbers: Sequence[int], problems: Problems) -> pa.Array:
    parsed: list[object] = []
    for value, number in zip(values, numbers, strict=True):
        try:
            parsed.append(None if value is None else _parse(value, field.type))
        except (TypeError, ValueError, OverflowError) as error:
            problems.add(number, f"{field.name}: {shown(value)} {error}")
            parsed.append(None)
    return pa.array(parsed, field.type)


def shown(value: object) -> str:
    """A value as an error shows it, of bounded length."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _parse(value: object, kind: pa.DataType) -> object:
    if pa.types.is_string(kind):
        return _text(value)
    if pa.types.is_integer(kind):
        return _integer(value, kind)
    if pa.types.is_floating(kind):
        return _number(value)
    return _numbers(value, kind.list_size if pa.types.is_fixed_size_list(kind) else None)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("is not UTF-8 text") from None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError("is not text")
    try:
        str(value).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("holds half a character") from None
    return str(value)


def _integer(value: object, kind: pa.DataType) -> int:
    number = _number(value)
    limits = np.iinfo(kind.to_pandas_dtype())
    if not number.is_integer() or not limits.min <= number <= limits.max:
        raise ValueError("is not a whole number in range")
    return value if isinstance(value, int) else int(number)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError("is not a number")
    try:
        return float(value)
    except ValueError:
        raise ValueError("is not a number") from None


def _numbers(value: object, size: int | None) -> list[float]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = None
    if not isinstance(value, list) or (size is not None and len(value) != size):
        raise ValueError(f"is not a list of {'' if size is None else f'{size} '}numbers, such as [1, 2.5]")
    return [_number(item) for item in value]
