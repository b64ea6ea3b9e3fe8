"""`audit/features/`: what the instruments say of each row, between the workers that measure and the driver that judges.

Embeddings and shapes of originals recognize people: these files are biometric data, and they go when the audit is done unless
they are asked for. Rows are those of the run's own parts, in their order; a row without pictures, and a measurement without a
face, is NaN.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from normpipe.audit.blendshapes import BLENDSHAPES
from normpipe.audit.descriptors import GROUND_COLUMNS, SHAPE_COLUMNS, THUMBNAIL_SIDE
from normpipe.audit.embeddings import EmbeddingFile
from normpipe.audit.groups import Floats, Indices
from normpipe.shards.reader import open_part

FEATURES_FOLDER = "features"

HOG_COLUMNS = 2592
SIDES = ("original", "normalized")

SHAPE, BLENDSHAPE, HOG, GROUND, THUMBNAIL = "shape", "blendshapes", "hog", "ground", "thumbnail"
SOURCE_SHAPE = "shape_source"
"""Shape by the landmarks of the run, which were placed in the source image: the same face measured another time."""

ANGLES = ("yaw", "pitch", "roll")


@dataclass(frozen=True, slots=True)
class FeatureColumns:
    """The columns of a features file.

    Attributes:
        embeddings: Whose vectors there are.
        blendshapes: Whether there are blendshapes.
    """

    embeddings: tuple[EmbeddingFile, ...]
    blendshapes: bool

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each vector column, by name without its side."""
        sizes = {embedding_column(number): each.size for number, each in enumerate(self.embeddings)}
        sizes |= {SHAPE: SHAPE_COLUMNS, HOG: HOG_COLUMNS, GROUND: GROUND_COLUMNS, THUMBNAIL: THUMBNAIL_SIDE**2}
        if self.blendshapes:
            sizes[BLENDSHAPE] = len(BLENDSHAPES)
        return sizes

    @property
    def vectors(self) -> dict[str, int]:
        """Length of each vector column by its whole name."""
        both = {column(name, side): size for name, size in self.sizes.items() for side in SIDES}
        return {**both, SOURCE_SHAPE: SHAPE_COLUMNS}

    @property
    def scalars(self) -> tuple[str, ...]:
        """Columns of single numbers."""
        return tuple(column(name, side) for name in (*ANGLES, "sharpness") for side in SIDES)

    @property
    def schema(self) -> pa.Schema:
        """All columns; vectors are half precision, which is finer than what the instruments repeat."""
        fields = [pa.field("sample_id", pa.string(), nullable=False), pa.field("face_index", pa.int32())]
        fields += [pa.field(name, pa.float32()) for name in self.scalars]
        fields += [pa.field(name, pa.list_(pa.float16(), size)) for name, size in self.vectors.items()]
        return pa.schema(fields)


def embedding_column(number: int) -> str:
    """Column of an embedding; files have names of their users' choice, columns have not."""
    return f"embedding_{number}"


def column(name: str, side: str) -> str:
    """Whole name of a column of one side of the pairs."""
    return f"{name}_{side}"


def features_batch(
    ids: Sequence[str], faces: Sequence[int | None], values: dict[str, Floats], schema: pa.Schema
) -> pa.RecordBatch:
    """Rows of a features file from (n,) and (n, k) float32 arrays by column."""
    columns: list[pa.Array] = [pa.array(ids, pa.string()), pa.array(faces, pa.int32())]
    for field in list(schema)[2:]:
        numbers = values[field.name]
        if pa.types.is_fixed_size_list(field.type):
            flat = pa.array(numbers.astype(np.float16).reshape(-1))
            columns.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type))
        else:
            columns.append(pa.array(numbers, pa.float32()))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


@dataclass(frozen=True, slots=True)
class FeatureStore:
    """The features of a whole run.

    Attributes:
        parts: Files, in order.
        starts: (p + 1,) first row of each part among all rows, and their number.
    """

    parts: tuple[Path, ...]
    starts: Indices

    def load(self, name: str, rows: Indices) -> Floats:
        """One column of some rows.

        Args:
            name: Column.
            rows: (n,) numbers of rows among all rows, in any order.

        Returns:
            (n,) or (n, k) float32 in that order. Memory holds the result and one row group.
        """
        order = np.argsort(rows, kind="stable")
        wanted = rows[order]
        found = self._room(name, len(rows))
        for part, start, stop in zip(self.parts, self.starts[:-1], self.starts[1:], strict=True):
            low, high = np.searchsorted(wanted, (start, stop))
            if low == high:
                continue
            place, begin = low, int(start)
            for block in _blocks(part, name):
                end = int(np.searchsorted(wanted[:high], begin + len(block)))
                found[order[place:end]] = block[wanted[place:end] - begin]
                place, begin = end, begin + len(block)
        return found

    def _room(self, name: str, rows: int) -> Floats:
        with open_part(self.parts[0]) as file:
            kind = file.schema_arrow.field(name).type
        return np.empty((rows, kind.list_size) if pa.types.is_fixed_size_list(kind) else rows, np.float32)


def _blocks(part: Path, name: str) -> Iterator[Floats]:
    """A column, row group by row group, as stored."""
    with open_part(part) as file:
        for group in range(file.num_row_groups):
            stored = file.read_row_group(group, columns=[name])[name].combine_chunks()
            if pa.types.is_fixed_size_list(stored.type):
                flat = stored.flatten().to_numpy(zero_copy_only=False)
                yield flat.reshape(len(stored), stored.type.list_size)
            else:
                yield stored.to_numpy(zero_copy_only=False)
