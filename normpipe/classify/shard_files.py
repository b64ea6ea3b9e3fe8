"""One file of pair shards, on a disk or at a URL: its rows without their pictures, and pictures by row group.

All that can be wrong with a file is said here, in one line that names the file, not the folders above it.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from normpipe.errors import UsageError
from normpipe.records import LABEL_SCHEMA, PAIRS_SCHEMA
from normpipe.shards.writer import class_names
from normpipe.sources.root import Root, is_remote

_OPTIONAL = ("emotion_raw", "compound_emotion")
"""Of these a release without names has none."""

_ROW_COLUMNS = ("sample_id", "dataset", "subject", "face_index", "split", "status", "reason", *LABEL_SCHEMA.names)

ROWS_SCHEMA = pa.schema([PAIRS_SCHEMA.field(name) for name in _ROW_COLUMNS])
"""What of a row is read without its pictures."""

_BYTES = "bytes"
_STREAM_BYTES = 1 << 20
_REMEDY = "give the OUT of `normpipe run`, a release, or Parquet files of pairs"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is made, as its footer tells without any row being read.

    Attributes:
        counts: (groups,) rows of each row group.
        sizes: (groups,) bytes of each row group, all columns.
        digest: Hex digest of the footer, which says where every value lies and how long it is: of another file another one, but
            for values exchanged by others of the same length.
    """

    counts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    digest: str


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A file with columns of PAIRS_SCHEMA.

    Attributes:
        root: Folder or URL that the user named.
        uri: The file's place below it.
        source: What messages call the root.
    """

    root: Root
    uri: str
    source: str

    def __str__(self) -> str:
        return f"{self.source}/{self.name}"

    @property
    def name(self) -> str:
        """The file's place below the root, without the query of an address, which may be a password."""
        return self.uri if self.root.is_local else self.uri.partition("?")[0]

    def rows(self, pictures: Sequence[str]) -> tuple[pa.Table, NDArray[np.int64]]:
        """The rows, and how many each row group has.

        Args:
            pictures: Columns that must be there, but are not read.

        Returns:
            A table of ROWS_SCHEMA, and (groups,) counts.

        Raises:
            UsageError: the file is damaged or cannot be read, or lacks a column.
        """
        with self._open() as file:
            self._check_columns(file, [name for name in _ROW_COLUMNS if name not in _OPTIONAL], pictures)
            stored = [name for name in _ROW_COLUMNS if name in file.schema_arrow.names]
            table = file.read(columns=stored, use_threads=False).combine_chunks()
            batch = table.to_batches()[0] if len(table) else pa.RecordBatch.from_pylist([], schema=table.schema)
            rows = self._conformed(batch, ROWS_SCHEMA, (), class_names(file.schema_arrow))
            counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        return pa.Table.from_batches([rows]), np.array(counts, np.int64)

    def pictures(self, group: int, columns: Sequence[str]) -> list[pa.BinaryArray]:
        """Encoded pictures of a row group, for each column; nothing else of the file is transferred but its footer.

        Raises:
            UsageError: the file is damaged or cannot be read.
        """
        with self._open(f", row group {group}") as file:
            table = file.read_row_group(group, columns=[f"{name}.{_BYTES}" for name in columns], use_threads=False)
            return [pa.compute.struct_field(table[name].combine_chunks(), _BYTES).cast(pa.binary()) for name in columns]

    def layout(self, pictures: Sequence[str]) -> Layout:
        """How the file is made.

        Args:
            pictures: Columns that must be there, as sample_id must.

        Raises:
            UsageError: the file is damaged or cannot be read, or lacks a column.
        """
        with self._open() as file:
            self._check_columns(file, ("sample_id",), pictures)
            groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
            counts, sizes = [group.num_rows for group in groups], [group.total_byte_size for group in groups]
            return Layout(np.array(counts, np.int64), np.array(sizes, np.int64), _footer_digest(file))

    def batches(
        self,
        columns: pa.Schema,
        pictures: Sequence[str],
        rows: range,
        *,
        most: int,
        streamed: bool = False,
        digest: str | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Some of the rows, in order; no batch holds rows of two row groups.

        Args:
            columns: To read; null where the file lacks one.
            pictures: Columns of encoded pictures, which are there.
            rows: Numbers in the file, one after the other.
            most: Rows of a batch.
            streamed: Hold a few pages of each column instead of a row group. At a URL that takes many more requests.
            digest: Of the footer that the file must have.

        Yields:
            Batches of `columns` and then of `pictures`, these as binary.

        Raises:
            UsageError: the file is another one, damaged or cannot be read; a column is of another type; a row has no sample id.
        """
        with self._open(streamed=streamed) as file:
            if digest not in {None, _footer_digest(file)}:
                raise UsageError(f"{self}: is not the file that the work was begun with; put that back, or give another OUT")
            stored = [name for name in columns.names if name in file.schema_arrow.names]
            wanted = [*stored, *(f"{name}.{_BYTES}" for name in pictures)]
            classes = class_names(file.schema_arrow)
            first = 0
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if first < rows.stop and first + count > rows.start:
                    at = first
                    for batch in file.iter_batches(most, row_groups=[group], columns=wanted, use_threads=False):
                        low, high = max(rows.start - at, 0), min(rows.stop - at, batch.num_rows)
                        if low < high:
                            yield self._conformed(batch.slice(low, high - low), columns, pictures, classes)
                        at += batch.num_rows
                first += count

    def sample_id(self, group: int, row: int) -> str:
        """Of a row of a row group, for messages; errors as for `pictures`."""
        with self._open(f", row group {group}") as file:
            return str(file.read_row_group(group, columns=["sample_id"], use_threads=False)["sample_id"][row])

    def _check_columns(self, file: pq.ParquetFile, names: Sequence[str], pictures: Sequence[str]) -> None:
        for name in (*names, *pictures):
            if name not in file.schema_arrow.names:
                raise UsageError(f"{self}: has no column {name!r}; {_REMEDY}")
        for name in pictures:
            kind = file.schema_arrow.field(name).type
            if not pa.types.is_struct(kind) or kind.get_field_index(_BYTES) < 0:
                raise UsageError(f"{self}: the column {name!r} holds no pictures; {_REMEDY}")

    def _conformed(
        self, batch: pa.RecordBatch, columns: pa.Schema, pictures: Sequence[str], classes: Mapping[str, Sequence[str]]
    ) -> pa.RecordBatch:
        if "sample_id" in columns.names and batch["sample_id"].null_count:
            raise UsageError(f"{self}: a row has no sample_id; {_REMEDY}")
        stored = set(batch.schema.names)
        arrays = [
            self._cast(batch[field.name], field, classes) if field.name in stored else pa.nulls(len(batch), field.type)
            for field in columns
        ]
        arrays += [pa.compute.struct_field(batch[name], _BYTES).cast(pa.binary()) for name in pictures]
        schema = pa.schema([*columns, *(pa.field(name, pa.binary()) for name in pictures)])
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _cast(self, column: pa.Array, field: pa.Field, classes: Mapping[str, Sequence[str]]) -> pa.Array:
        try:
            if field.name in classes and pa.types.is_integer(column.type):  # a release's
                return pa.array(classes[field.name], pa.string()).take(column)
            return column.cast(field.type)
        except pa.ArrowException as error:
            raise UsageError(f"{self}: the column {field.name!r} is no {field.type}; {_REMEDY}") from error

    @contextmanager
    def _open(self, where: str = "", *, streamed: bool = False) -> Iterator[pq.ParquetFile]:
        try:
            path = self.root.local_path(self.uri)
            source = self.root.open(self.uri) if path is None else path
            how = {"buffer_size": _STREAM_BYTES} if streamed else {"pre_buffer": path is None}
            with pq.ParquetFile(source, **how) as file:
                yield file
        except (pa.ArrowException, OSError) as error:  # Arrow raises either, by what is damaged
            if isinstance(error, OSError) and error.errno is not None:
                raise UsageError(f"{self}: cannot be read ({os.strerror(error.errno)})") from error  # Arrow's text has the path
            raise UsageError(
                f"{self}{where}: damaged; fetch the file again, or delete it and repeat the run that wrote it"
            ) from error
        except ValueError as error:  # fsspec's, of a server that knows no ranges
            raise UsageError(f"{self}: the server gives no parts of files; fetch the files and name their folder") from error


def shown_root(url: str) -> str:
    """A folder or URL as messages name it: without what is above it, and without what may be a password."""
    if not is_remote(url):
        return url.rstrip("/").rpartition("/")[2] or url
    address = re.sub(r"(?<=://)[^/]*@", "", url).partition("?")[0]
    return address.rstrip("/").rpartition("/")[2]


def _footer_digest(file: pq.ParquetFile) -> str:
    footer = pa.BufferOutputStream()
    file.metadata.write_metadata_file(footer)
    return hashlib.sha256(footer.getvalue()).hexdigest()
