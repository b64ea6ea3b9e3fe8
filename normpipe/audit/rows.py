"""`audit/rows/`: what the audit says of each row, to filter and to weigh by. Public: no vector that recognizes a person.

Parts lie beside those of the run: same names, same rows, same order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from normpipe.audit.features import ANGLES, BLENDSHAPE, SIDES, FeatureColumns, FeatureStore, column
from normpipe.audit.groups import Floats, Indices, Names
from normpipe.audit.table import RowTable
from normpipe.shards.reader import open_part
from normpipe.shards.writer import ShardWriter

ROWS_FOLDER = "rows"

_CHUNK = 2048
_ORIGINAL, _NORMALIZED = SIDES


@dataclass(frozen=True, slots=True)
class RowFindings:
    """What the reduce says of single rows, (n,) float32 in the table's order, NaN where it says nothing.

    Attributes:
        kept: Share of the row's expression, as deviation from the person's mean, that the normalized image shows; 1 is all.
        residual: Root mean square distance of the two deviations, in eye distances.
        size: Root mean square of the original's deviation, in eye distances.
        similarity: Cosine of the two pictures' embeddings, the highest of all embeddings.
        tremble_original: Root mean square second difference of the landmarks over time, in eye distances.
        tremble_normalized: The same of the normalized image.
    """

    kept: Floats
    residual: Floats
    size: Floats
    similarity: Floats
    tremble_original: Floats
    tremble_normalized: Floats

    @classmethod
    def empty(cls, rows: int) -> Self:
        """Nothing said of any row yet."""
        return cls(*(np.full(rows, np.nan, np.float32) for _ in fields(cls)))


_FROM_REDUCE = {
    "expression_kept": "kept",
    "expression_residual": "residual",
    "expression_size": "size",
    "identity_similarity": "similarity",
    "tremble_original": "tremble_original",
    "tremble_normalized": "tremble_normalized",
}
_GAP = "blendshape_gap"

ROWS_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("face_index", pa.int32()),
        pa.field("face_in_original", pa.bool_()),
        pa.field("face_in_normalized", pa.bool_()),
        *(pa.field(f"residual_{name}", pa.float32()) for name in ANGLES),
        pa.field("sharpness_normalized", pa.float32()),
        pa.field(_GAP, pa.float32()),
        *(pa.field(name, pa.float32()) for name in _FROM_REDUCE),
    ]
)


def write_rows(
    folder: Path, parts: Sequence[str], store: FeatureStore, columns: FeatureColumns, table: RowTable, findings: RowFindings
) -> None:
    """Write all parts, one after the other.

    Args:
        folder: `OUT/audit`.
        parts: Stems of the parts.
        store: Features of all rows.
        columns: What features there are.
        table: The rows in the order of `findings`.
        findings: What the reduce says of them.
    """
    (folder / ROWS_FOLDER).mkdir(exist_ok=True)
    place = np.empty(len(table), np.intp)
    place[table.number] = np.arange(len(table))
    for part, features, start, stop in zip(parts, store.parts, store.starts[:-1], store.starts[1:], strict=True):
        numbers = np.arange(start, stop)
        with open_part(features) as file:
            ids = file.read(columns=["sample_id", "face_index"])
        pairs = np.asarray(table.ok[place[numbers]])
        values = {name: getattr(findings, source)[place[numbers]] for name, source in _FROM_REDUCE.items()}
        values |= {f"residual_{name}": store.load(column(name, _NORMALIZED), numbers) for name in ANGLES}
        values["sharpness_normalized"] = store.load(column("sharpness", _NORMALIZED), numbers)
        values[_GAP] = _gap(store, numbers) if columns.blendshapes else np.full(len(numbers), np.nan, np.float32)
        arrays = {
            "sample_id": ids["sample_id"].combine_chunks(),
            "face_index": ids["face_index"].combine_chunks(),
            "face_in_original": _found(store, _ORIGINAL, numbers, pairs),
            "face_in_normalized": _found(store, _NORMALIZED, numbers, pairs),
            **{name: pa.array(each, pa.float32(), mask=~np.isfinite(each)) for name, each in values.items()},
        }
        batch = pa.RecordBatch.from_arrays([arrays[name] for name in ROWS_SCHEMA.names], schema=ROWS_SCHEMA)
        with ShardWriter(folder / ROWS_FOLDER / f"{part}.parquet", ROWS_SCHEMA) as writer:
            writer.append(batch)


def tremble(shapes: Floats, clips: Names, frames: NDArray[np.int64]) -> Floats:
    """(n,) size of the second difference at each row that stands between two others of its clip at equal steps; NaN elsewhere.

    Args:
        shapes: (n, k) x, y of landmarks.
        clips: (n,).
        frames: (n,).
    """
    found = np.full(len(shapes), np.nan, np.float32)
    order = np.lexsort((frames, clips))
    first, second, third = order[:-2], order[1:-1], order[2:]
    even = (frames[third] - frames[second] == frames[second] - frames[first]) & (frames[second] > frames[first])
    even &= (clips[first] == clips[second]) & (clips[second] == clips[third])
    for places in np.array_split(np.flatnonzero(even), even.sum() // _CHUNK + 1):
        bend = shapes[first[places]] - 2 * shapes[second[places]] + shapes[third[places]]
        found[second[places]] = np.sqrt(2 * (bend**2).mean(axis=1))
    return found


def _gap(store: FeatureStore, numbers: Indices) -> Floats:
    """(n,) root mean square difference of the blendshapes."""
    one, two = (store.load(column(BLENDSHAPE, side), numbers) for side in SIDES)
    return np.asarray(np.sqrt(((one - two) ** 2).mean(axis=1)), np.float32)


def _found(store: FeatureStore, side: str, numbers: Indices, pairs: NDArray[np.bool_]) -> pa.Array:
    """Whether the landmarker sees a face; null where there is no picture."""
    return pa.array(np.isfinite(store.load(column(ANGLES[0], side), numbers)), pa.bool_(), mask=~pairs)
