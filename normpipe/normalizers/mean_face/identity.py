"""Whose face is drawn: the average of many by default, or the face of one photo."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from normpipe.batches import AlignedFace, Floats, Frame, FrameRef, Image
from normpipe.config import FacePolicy, Pipeline
from normpipe.errors import UsageError
from normpipe.faces.build import build_detector, build_landmarker
from normpipe.normalizers.mean_face.expression import expression_of, measured_shape
from normpipe.normalizers.mean_face.model import MeanFaceModel
from normpipe.raster import rasterize_flat
from normpipe.records import Failure
from normpipe.sources.root import Root
from normpipe.stages.align import align
from normpipe.stages.decode import decode
from normpipe.stages.detect import detect

_CROP = 512
"""Pixels of the photo's crop: a common identity deserves more than the dataset's size."""


@dataclass(frozen=True, slots=True)
class CommonIdentity:
    """The face that every expression is drawn on.

    Attributes:
        shape: (468, 2) float32 face units, without expression.
        texture: (a, a, 3) uint8 RGB in the atlas.
    """

    shape: Floats
    texture: Image


def common_identity(model: MeanFaceModel) -> CommonIdentity:
    """The average face."""
    return CommonIdentity(model.neutral, model.texture)


def identity_from_photo(path: Path, pipeline: Pipeline, model: MeanFaceModel) -> CommonIdentity:
    """The largest face of a photo, with its expression taken off its shape.

    Raises:
        UsageError: the photo cannot be read or shows no face.
    """
    options = pipeline.detect.model_copy(update={"policy": FacePolicy.LARGEST})
    frames: list[Frame] = list(decode([FrameRef("identity", path.name)], Root(str(path.parent)), pipeline.decode))
    row = detect(frames, build_detector(options, "cpu"), build_landmarker(options, "cpu"), options)[0]
    face = align(row, _CROP, pipeline.align)
    if isinstance(face, Failure):
        raise UsageError(
            f"--identity {path.name}: {face.reason.value} {face.detail}".strip() + "; give a photo of one clear face"
        )
    shape, pose = measured_shape(face.landmarks[None])
    own = (shape - pose @ model.pose_effect - model.shape_offset).reshape(468, 2)
    offsets = expression_of(face, model).offsets
    # Offsets are amplified for drawing: as much of them is taken off as the face holds.
    share = float((own * offsets).sum() / max((offsets**2).sum(), 1e-12))
    return CommonIdentity(model.neutral + own - np.float32(share) * offsets, texture_of(face, model))


def texture_of(face: AlignedFace, model: MeanFaceModel) -> Image:
    """A face's colours in the atlas, at the resolution of the model's texture."""
    size, side = face.image.shape[0], model.texture.shape[0]
    places = np.zeros((len(model.atlas_points), 3), np.float32)
    places[:, :2] = np.clip(face.landmarks[:, :2] / size, 0, 1)
    triangles = np.concatenate([model.eye_triangles, model.skin_triangles])
    source, _ = rasterize_flat(model.atlas_points * side, triangles, places, (side, side))
    across, down = source[..., 0] * size - 0.5, source[..., 1] * size - 0.5
    texture = cv2.remap(face.image, across, down, cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return texture.astype(np.uint8, copy=False)
