"""Rows between the stages become rows of the two tables: the faces table and the pairs, the same rows in the same order."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np
import pyarrow as pa

from normpipe.batches import Face, FaceRow, Floats
from normpipe.records import FACES_SCHEMA, IMAGE_TYPE, LABEL_SCHEMA, LANDMARK_COUNT, PAIRS_SCHEMA, Failure, Status
from normpipe.stages.quality import Quality

ALGORITHM_VERSION = 2

_FROM_MANIFEST = (
    "sample_id",
    "dataset",
    "subject",
    "sequence",
    "frame",
    "pts",
    "timestamp",
    "split",
    *LABEL_SCHEMA.names,
)


def first_failure(*steps: object) -> Failure | None:
    """The first Failure among a row's results, given in the order of the stages."""
    return next((step for step in steps if isinstance(step, Failure)), None)


def faces_batch(rows: Sequence[FaceRow]) -> pa.RecordBatch:
    """Rows of FACES_SCHEMA from the rows of a micro-batch, frames included."""
    sizes = [None if isinstance(row.frame.image, Failure) else row.frame.image.shape[:2] for row in rows]
    landmarks = [None if isinstance(row.face, Failure) else row.face.landmarks for row in rows]
    columns = {
        "sample_id": [row.frame.ref.sample_id for row in rows],
        "face_index": [row.face_index for row in rows],
        "track_id": [row.track_id for row in rows],
        **_outcome([first_failure(row.face) for row in rows]),
        "width": [None if size is None else size[1] for size in sizes],
        "height": [None if size is None else size[0] for size in sizes],
        **_geometry([row.face for row in rows]),
        "landmarks": _fixed_lists(landmarks, FACES_SCHEMA.field("landmarks").type),
        "content_sha256": [row.frame.content_sha256 for row in rows],
    }
    return _batch(columns, FACES_SCHEMA)


def stored_faces(table: pa.Table) -> list[Face]:
    """The faces of rows of FACES_SCHEMA that all hold one; the inverse of `faces_batch`, to the last bit."""
    boxes, points, landmarks = (_floats(table[name]) for name in ("box", "five_points", "landmarks"))
    poses = np.stack([_floats(table[name]) for name in ("yaw", "pitch", "roll")], axis=1)
    scores = zip(table["detector_score"].to_pylist(), table["landmark_score"].to_pylist(), strict=True)
    return [
        Face(boxes[row], points[row].reshape(5, 2), landmarks[row].reshape(LANDMARK_COUNT, 3), poses[row], *pair)
        for row, pair in enumerate(scores)
    ]


def _floats(column: pa.ChunkedArray) -> Floats:
    """A column of numbers (n,) or of lists of one length (n, length), none of them null, as float32."""
    whole = column.combine_chunks()
    if pa.types.is_fixed_size_list(column.type):
        whole = whole.flatten()
        return np.asarray(whole.to_numpy(zero_copy_only=False), np.float32).reshape(len(column), column.type.list_size)
    return np.asarray(whole.to_numpy(zero_copy_only=False), np.float32)


def pairs_batch(
    *,
    manifest: pa.Table,
    sources: Sequence[int],
    faces: pa.RecordBatch,
    originals: Sequence[bytes | None],
    normalized: Sequence[bytes | None],
    qualities: Sequence[Quality],
    failures: Sequence[Failure | None],
) -> pa.RecordBatch:
    """Rows of PAIRS_SCHEMA.

    Args:
        manifest: Manifest rows of the micro-batch.
        sources: For each row, the index of its manifest row.
        faces: The faces table's rows; all columns that both tables have are the same arrays, but for the outcome.
        originals: Encoded aligned crops.
        normalized: Encoded normalized images.
        qualities: Measurements.
        failures: The first failure of each row in any stage, None where it succeeded.
    """
    taken = manifest.select(_FROM_MANIFEST).take(pa.array(sources, pa.int64())).combine_chunks()
    shared = [name for name in PAIRS_SCHEMA.names if name in FACES_SCHEMA.names]
    columns: dict[str, object] = {
        **{name: taken[name].chunk(0) for name in _FROM_MANIFEST},
        **{name: faces[name] for name in shared},
        **_outcome(failures),
        **{field.name: [getattr(quality, field.name) for quality in qualities] for field in fields(Quality)},
        "original": _images(originals),
        "normalized": _images(normalized),
    }
    return _batch(columns, PAIRS_SCHEMA)


def _batch(columns: Mapping[str, object], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for field, column in ((field, columns[field.name]) for field in schema)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _outcome(failures: Sequence[Failure | None]) -> dict[str, list[str | None]]:
    return {
        "status": [Status.OK if failure is None else Status.FAILED for failure in failures],
        "reason": [None if failure is None else failure.reason.value for failure in failures],
        "detail": [None if failure is None else failure.detail or None for failure in failures],
    }


def _geometry(faces: Sequence[Face | Failure]) -> dict[str, object]:
    found = [None if isinstance(face, Failure) else face for face in faces]
    return {
        "box": _fixed_lists([None if face is None else face.box for face in found], FACES_SCHEMA.field("box").type),
        "five_points": _fixed_lists(
            [None if face is None else face.five_points for face in found], FACES_SCHEMA.field("five_points").type
        ),
        "yaw": [face and float(face.pose[0]) for face in found],
        "pitch": [face and float(face.pose[1]) for face in found],
        "roll": [face and float(face.pose[2]) for face in found],
        "detector_score": [face and face.detector_score for face in found],
        "landmark_score": [face and face.landmark_score for face in found],
    }


def _fixed_lists(values: Sequence[Floats | None], kind: pa.DataType) -> pa.Array:
    """Float arrays of one length as a fixed-size list column; null where there is none."""
    flat = np.zeros((len(values), kind.list_size), np.float32)
    for row, value in zip(flat, values, strict=True):
        if value is not None:
            row[:] = value.reshape(-1)
    missing = pa.array([value is None for value in values], pa.bool_())
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), type=kind, mask=missing)


def _images(encoded: Sequence[bytes | None]) -> pa.Array:
    missing = pa.array([content is None for content in encoded], pa.bool_())
    return pa.StructArray.from_arrays(
        [pa.array(encoded, pa.binary()), pa.nulls(len(encoded), pa.string())], fields=list(IMAGE_TYPE), mask=missing
    )
