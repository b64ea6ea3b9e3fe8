"""One file of pair shards, on a disk or at a URL: its rows without their pictures, and pictures by row group.

All that can be wrong with a file is said here, in one line that names the file, not the folders above it.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from normpipe.errors import UsageError
from normpipe.records import LABEL_SCHEMA, PAIRS_SCHEMA
from normpipe.sources.root import Root

_ROW_COLUMNS = ("sample_id", "dataset", "subject", "face_index", "split", "status", "reason", *LABEL_SCHEMA.names)

ROWS_SCHEMA = pa.schema([PAIRS_SCHEMA.field(name) for name in _ROW_COLUMNS])
"""What of a row is read without its pictures."""

_BYTES = "bytes"
_REMEDY = "give the OUT of `normpipe run`, or Parquet files of its pairs"


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
        return f"{self.source}/{self.uri}"

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
            for name in (*_ROW_COLUMNS, *pictures):
                if name not in file.schema_arrow.names:
                    raise UsageError(f"{self}: has no column {name!r}; {_REMEDY}")
            for name in pictures:
                kind = file.schema_arrow.field(name).type
                if not pa.types.is_struct(kind) or kind.get_field_index(_BYTES) < 0:
                    raise UsageError(f"{self}: the column {name!r} holds no pictures; {_REMEDY}")
            table = file.read(columns=list(_ROW_COLUMNS), use_threads=False)
            counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        return self._conformed(table), np.array(counts, np.int64)

    def pictures(self, group: int, columns: Sequence[str]) -> list[pa.BinaryArray]:
        """Encoded pictures of a row group, for each column; nothing else of the file is transferred but its footer.

        Raises:
            UsageError: the file is damaged or cannot be read.
        """
        with self._open(f", row group {group}") as file:
            table = file.read_row_group(group, columns=[f"{name}.{_BYTES}" for name in columns], use_threads=False)
            return [pa.compute.struct_field(table[name].combine_chunks(), _BYTES).cast(pa.binary()) for name in columns]

    def sample_id(self, group: int, row: int) -> str:
        """Of a row of a row group, for messages; errors as for `pictures`."""
        with self._open(f", row group {group}") as file:
            return str(file.read_row_group(group, columns=["sample_id"], use_threads=False)["sample_id"][row])

    def _conformed(self, table: pa.Table) -> pa.Table:
        columns = []
        for field in ROWS_SCHEMA:
            try:
                columns.append(table[field.name].cast(field.type))
            except pa.ArrowException as error:
                raise UsageError(f"{self}: the column {field.name!r} is no {field.type}; {_REMEDY}") from error
        return pa.table(columns, schema=ROWS_SCHEMA)

    @contextmanager
    def _open(self, where: str = "") -> Iterator[pq.ParquetFile]:
        try:
            path = self.root.local_path(self.uri)
            with pq.ParquetFile(self.root.open(self.uri) if path is None else path, pre_buffer=path is None) as file:
                yield file
        except (pa.ArrowException, OSError) as error:  # Arrow raises either, by what is damaged
            if isinstance(error, OSError) and error.errno is not None:
                raise UsageError(f"{self}: cannot be read ({os.strerror(error.errno)})") from error  # Arrow's text has the path
            raise UsageError(
                f"{self}{where}: damaged; fetch the file again, or delete it and repeat the run that wrote it"
            ) from error


def shown_root(url: str) -> str:
    """A folder or URL as messages name it, without what is above it."""
    return url.rstrip("/").rpartition("/")[2] or url
