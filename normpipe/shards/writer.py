"""Rows to Parquet: the layout that keeps reads short, bytes reproducible, and images visible to Hugging Face tools.

Image bytes are compressed already and are stored as they are; all other columns use zstd. Row groups hold 128 rows, so that
one sample is read in milliseconds. Rows arrive in micro-batches and leave in row groups: memory holds one row group, and the
file's bytes do not depend on how the rows were batched. Nothing in the file tells a time, a host or a path.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from normpipe.records import FORMAT_VERSION, IMAGE_TYPE
from normpipe.shards.atomic import AtomicFile, Written

ROW_GROUP_ROWS = 128

_NO_CLASSES: Mapping[str, Sequence[str]] = {}


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows lie in a file.

    Attributes:
        classes: Of columns that hold numbers of classes, the classes' names.
        row_group_rows: Rows of a row group.
        compression: Of columns without pictures.
        content_defined_pages: Whether pages end where their content says so.
    """

    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    row_group_rows: int = ROW_GROUP_ROWS
    compression: str = "zstd"
    content_defined_pages: bool = True


_SHARDS = Layout()


class ShardWriter:
    """One Parquet file, written row group by row group, that appears when the `with` block ends without an exception.

    Args:
        target: Path of the file.
        schema: Schema of all batches; kept as it is, with metadata added.
        layout: How the rows lie in it.
    """

    def __init__(self, target: Path, schema: pa.Schema, layout: Layout = _SHARDS) -> None:
        self._plain_schema = schema
        self._schema = with_metadata(schema, layout.classes)
        self._group = layout.row_group_rows
        self._file = AtomicFile(target)
        self._writer = pq.ParquetWriter(self._file, self._schema, **_writer_options(schema, layout))
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows; a row group is written as soon as it is full.

        Raises:
            ValueError: the rows have another schema.
        """
        if not batch.schema.equals(self._plain_schema):
            raise ValueError("rows of another schema")
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        while self._pending_rows >= self._group:
            self._flush(self._group)

    @property
    def written(self) -> Written:
        """Digest and size, known once the `with` block has ended."""
        assert self._file.written is not None
        return self._file.written

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            if kind is None and self._pending_rows:
                self._flush(self._pending_rows)
            self._writer.close()
        except BaseException as second:
            self._file.__exit__(type(second), second, second.__traceback__)
            raise
        self._file.__exit__(kind, error, traceback)

    def _flush(self, rows: int) -> None:
        table = pa.Table.from_batches(self._pending)
        group = table.slice(0, rows).cast(self._schema).combine_chunks()
        self._writer.write_table(group, row_group_size=self._group)
        self._pending = table.slice(rows).to_batches()
        self._pending_rows -= rows


def with_metadata(schema: pa.Schema, classes: Mapping[str, Sequence[str]] = _NO_CLASSES) -> pa.Schema:
    """The schema with the format version and the features that `datasets.load_dataset` understands.

    Images are decoded, and the numbers of `classes` have names.
    """
    features = hub_features(schema, classes)
    return schema.with_metadata(
        {
            "huggingface": json.dumps({"info": {"features": features}}, sort_keys=True),
            "normpipe": json.dumps({"format_version": FORMAT_VERSION}),
        }
    )


def hub_features(schema: pa.Schema, classes: Mapping[str, Sequence[str]] = _NO_CLASSES) -> dict[str, object]:
    """What the library `datasets` calls each column's type."""
    return {
        field.name: {"_type": "ClassLabel", "names": list(classes[field.name])}
        if field.name in classes
        else _feature(field.type)
        for field in schema
    }


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Of a file's columns that hold numbers of classes, the classes' names, as `with_metadata` and `datasets` note them."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {name: feature["names"] for name, feature in features.items() if feature["_type"] == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):  # a stranger's metadata
        return {}
    return {name: list(map(str, names)) for name, names in found.items() if isinstance(names, list)}


def _feature(kind: pa.DataType) -> dict[str, object]:
    if kind == IMAGE_TYPE:
        return {"_type": "Image"}
    if pa.types.is_fixed_size_list(kind):
        return {"_type": "List", "feature": _value(kind.value_type), "length": kind.list_size}
    if pa.types.is_list(kind):
        return {"_type": "List", "feature": _value(kind.value_type)}
    return _value(kind)


def _value(kind: pa.DataType) -> dict[str, object]:
    names = {pa.float32(): "float32", pa.float64(): "float64"}
    return {"_type": "Value", "dtype": names.get(kind, str(kind))}


def _writer_options(schema: pa.Schema, layout: Layout) -> dict[str, object]:
    """Options by leaf column: images neither compressed, nor dictionary-encoded, nor described by statistics."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    leaves = [column.path for column in pq.ParquetFile(sink.getvalue()).schema]
    images = {f"{field.name}.bytes" for field in schema if field.type == IMAGE_TYPE}
    strings = [field.name for field in schema if pa.types.is_string(field.type)]
    return {
        "version": "2.6",
        "compression": {leaf: "none" if leaf in images else layout.compression for leaf in leaves},
        "use_dictionary": strings,
        "write_statistics": [leaf for leaf in leaves if leaf not in images],
        "write_page_index": True,
        "use_content_defined_chunking": layout.content_defined_pages,
    }
