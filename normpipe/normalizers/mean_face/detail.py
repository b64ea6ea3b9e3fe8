"""Wrinkles: the source's fine luminance, in atlas coordinates.

Detail is the logarithm of luminance between two blurs, so that light, skin tone and camera drop out and what is left multiplies
the texture. Skin that is turned away or lies outside the picture shows no detail, and says so. expression.py tells which part
of it is expression.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from normpipe.batches import AlignedFace, Floats
from normpipe.raster import rasterize_flat

ATLAS_SIDE = 128
"""Pixels; finer than most datasets' faces, coarse enough that pores stay out."""

_SENSOR_BLUR = 0.003  # of the crop's side: below the atlas's own resolution
_FINE_BLUR = 1.0  # atlas pixels
_COARSE_BLUR = 6.0
_LIGHT_FLOOR = 12.0  # grey levels added before the logarithm: shadows are noise
_LIMIT = 0.7  # of the logarithm, either way: hair and borders are no wrinkles
_FACING = (0.15, 0.4)  # cosine between skin and view over which detail fades in


@dataclass(frozen=True, slots=True)
class Detail:
    """Fine luminance of a face at the k pixels of a mask over the atlas.

    Attributes:
        values: (k,) float32, band-passed log luminance within +-0.7.
        weights: (k,) float32, 0 where the source shows nothing to 1 where it is seen well.
    """

    values: Floats
    weights: Floats

    def deviation(self, offset: Floats) -> Floats:
        """(k,) float32 difference from another detail, none where nothing is seen."""
        return (self.values - offset) * self.weights


def extract_detail(face: AlignedFace, atlas_points: Floats, triangles: NDArray[np.int32], mask: NDArray[np.bool_]) -> Detail:
    """Band-passed log luminance of a face in the atlas.

    Args:
        face: The source.
        atlas_points: (468, 2) float32, 0 to 1.
        triangles: (t, 3) int32 skin triangles.
        mask: (ATLAS_SIDE, ATLAS_SIDE) bool, pixels wanted.
    """
    size = face.image.shape[0]
    places = np.column_stack([face.landmarks[:, :2] / size, facing(face.landmarks, triangles)]).astype(np.float32)
    # Attributes must stay within 0 and 1; landmarks beyond the crop have nothing to show anyway.
    outside = (places[:, :2] < 0).any(axis=1) | (places[:, :2] > 1).any(axis=1)
    places[outside, 2] = 0
    source, _ = rasterize_flat(atlas_points * ATLAS_SIDE, triangles, np.clip(places, 0, 1), (ATLAS_SIDE, ATLAS_SIDE))
    across, down = source[..., 0] * size - 0.5, source[..., 1] * size - 0.5
    grey = cv2.cvtColor(face.image, cv2.COLOR_RGB2GRAY)
    smooth = cv2.GaussianBlur(grey, (0, 0), _SENSOR_BLUR * size).astype(np.float32)
    light = cv2.remap(smooth, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    weight = np.clip((source[..., 2] - _FACING[0]) / (_FACING[1] - _FACING[0]), 0, 1)
    weight *= cv2.remap(face.inside(), across, down, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
    weight *= mask
    log_light = np.log(light + np.float32(_LIGHT_FLOOR))
    band = _blur(log_light, weight, _FINE_BLUR) - _blur(log_light, weight, _COARSE_BLUR)
    return Detail(np.clip(band, -_LIMIT, _LIMIT)[mask], weight[mask])


def facing(landmarks: Floats, triangles: NDArray[np.int32]) -> Floats:
    """Cosine between each landmark's surface normal and the view, (468,) float32, negative where turned away."""
    corners = landmarks[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat = triangles.ravel()
    summed = np.stack(
        [np.bincount(flat, np.repeat(normals[:, axis], 3), len(landmarks)) for axis in range(3)],
        axis=1,
    )
    lengths = np.linalg.norm(summed, axis=1) + 1e-9
    # Skin triangles run clockwise in the picture and z grows with depth, so that the normals of visible skin have positive z.
    cosine: Floats = (summed[:, 2] / lengths).astype(np.float32)
    return cosine


def _blur(values: Floats, weight: Floats, sigma: float) -> Floats:
    """Gaussian mean of the pixels that have weight."""
    total = cv2.GaussianBlur(weight, (0, 0), sigma) + np.float32(1e-3)
    mean: Floats = cv2.GaussianBlur(values * weight, (0, 0), sigma) / total
    return mean
