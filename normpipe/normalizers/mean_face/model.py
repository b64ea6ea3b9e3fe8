"""The fitted arrays of mean_face: what normpipe.training.mean_face writes and the normalizer reads.

Shapes are in face units: the distance of the mean face's eyes is 1, the middle between them the origin, y down, frontal. The
atlas is the common texture space: the neutral face drawn in the unit square, so that wrinkles and colours of all faces lie at
the same place.
"""

import hashlib
import io
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from normpipe.batches import Floats, Image
from normpipe.shards.atomic import write_bytes

MODEL_FILE = Path(__file__).parents[2] / "assets" / "embedded" / "mean_face.npz"


@dataclass(frozen=True, slots=True)
class MeanFaceModel:
    """All arrays of the renderer. `r` and `s` are the ranks of the two estimates.

    Attributes:
        neutral: (468, 2) float32, the neutral common face, face units.
        atlas_points: (468, 2) float32, where the landmarks lie in the atlas, 0 to 1.
        texture: (a, a, 3) uint8 RGB, colours of the common face in the atlas.
        skin_triangles: (852, 3) int32, the face without eyes and mouth.
        eye_triangles: (e, 3) int32.
        mouth_triangles: (m, 3) int32.
        pose_effect: (6, 936) float32, what head pose does to measured shape beyond rotation, per `expression.pose_terms`.
        shape_offset: (936,) float32, measured neutral shape minus the mean shape: the point of zero expression.
        detail_mask: (d, d) bool, pixels of the detail atlas that carry wrinkles; k of them.
        detail_offset: (k,) float32, detail of an expressionless face.
        shape_in: (936, r) float32 and shape_out: (r, 936) float32: the expression part of a measured shape, amplified by the
            fitted gains.
        offset_limit: (1,) float32, root mean square offset of the landmarks, face units, that is compressed to 0.7 of itself.
        detail_from_shape: (936, s) float32, detail_from_detail: (k, s) float32 and detail_out: (s, k) float32: the expression
            part of detail at full strength, from measured shape and detail.
    """

    neutral: Floats
    atlas_points: Floats
    texture: Image
    skin_triangles: NDArray[np.int32]
    eye_triangles: NDArray[np.int32]
    mouth_triangles: NDArray[np.int32]
    pose_effect: Floats
    shape_offset: Floats
    detail_mask: NDArray[np.bool_]
    detail_offset: Floats
    shape_in: Floats
    shape_out: Floats
    offset_limit: Floats
    detail_from_shape: Floats
    detail_from_detail: Floats
    detail_out: Floats


_STORED_AS = {"float32": np.float16, "int32": np.int16}
"""The file holds half the bytes; both are exact enough by far for shapes of a few units and indices below 468."""


def save_model(model: MeanFaceModel, path: Path) -> None:
    """Write the arrays, the same bytes for the same arrays."""
    stored = {}
    for field in fields(model):
        array = getattr(model, field.name)
        stored[field.name] = array.astype(_STORED_AS.get(array.dtype.name, array.dtype))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **stored)
    write_bytes(path, buffer.getvalue())


@cache
def load_model(path: Path = MODEL_FILE) -> MeanFaceModel:
    """Read the arrays; the ones that ship with the package unless told otherwise."""
    with np.load(path) as stored:
        arrays = {field.name: stored[field.name] for field in fields(MeanFaceModel)}
    widened = {np.dtype(np.float16): np.float32, np.dtype(np.int16): np.int32}
    return MeanFaceModel(
        **{name: np.ascontiguousarray(array.astype(widened.get(array.dtype, array.dtype))) for name, array in arrays.items()}
    )


@cache
def model_sha256(path: Path = MODEL_FILE) -> str:
    """Hex digest of the file: part of the normalizer's fingerprint."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
