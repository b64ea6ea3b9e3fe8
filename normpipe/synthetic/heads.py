"""Heads of the ICT FaceKit morphable rig, rendered with known pose, expression, identity, light and background.

The rig (Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020, MIT licence) has 57 expression shapes
named after ARKit and 100 identity shapes but no skin: `paint.py` makes the texture. All parts are textured from one atlas of
square tiles side by side, so that one raster pass (atlas coordinate and light per pixel) and one look-up draw the head.

Units are the rig's: about one centimetre. Axes are the camera's: x to the image's right, y up, z towards the camera.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from normpipe.batches import Floats, Image
from normpipe.errors import UsageError
from normpipe.raster import rasterize

cv2.setNumThreads(1)


class Tile(IntEnum):
    """Place of each part in the atlas, left to right."""

    FACE = 0
    HEAD = 1
    GUMS = 2
    TEETH = 3
    EYES = 4
    SOCKETS = 5


# Quads of each part (SOURCE_README of the rig) and the tile they are painted from. Lacrimal fluid, eye blend and eye occlusion
# meshes are transparent shells and eyelashes are strips with an alpha texture: left out, the paint draws the lash line.
_PART_QUADS = (
    (0, 9230, Tile.FACE),
    (9230, 11144, Tile.HEAD),  # with the neck
    (11144, 14034, Tile.SOCKETS),  # of mouth and eyes
    (14034, 17006, Tile.GUMS),
    (17006, 21496, Tile.TEETH),
    (21496, 23094, Tile.EYES),
    (23094, 24692, Tile.EYES),
)

# The 68 points of Multi-PIE on the rig, in their usual order (SOURCE_README of the rig).
MULTI_PIE_68 = (
    *(1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443),
    *(268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509),
    *(978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360),
    *(1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732),
    *(5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841),
    *(5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966),
)

PIVOT = np.array([0.0, 2.0, 2.0], np.float32)  # between the ears: heads turn about it
_SUPERSAMPLE = 2
EYE_TILE = 3.4
"""Length that the side of the eyes' tile covers, a little more than an eyeball's diameter."""


@dataclass(frozen=True, slots=True)
class HeadParams:
    """What a head looks like and where it is.

    Attributes:
        yaw: Degrees, positive turns the face to the image's right.
        pitch: Degrees, positive up.
        roll: Degrees, positive clockwise in the image.
        expression: Weight, usually 0 to 1, by shape name of the rig (`jawOpen`, `mouthSmile_L`, ...).
        identity: Up to 100 coefficients, each about standard normal; missing ones are 0.
        size: Side of the square picture in pixels.
        extent: Length that the picture's side covers at the head's centre, in the rig's unit (cm).
        centre: Where the head's centre is drawn, as a share of the side, x and y.
        distance: Camera to head's centre in cm; None is an orthographic camera.
        light: Direction towards the light, need not be of unit length.
        ambient: Light that reaches every point, as a factor of the paint's colour.
        diffuse: Lambertian light at normal incidence, as a factor of the paint's colour.
        background: RGB colour, or a picture that is resized to fill.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    expression: Mapping[str, float] = field(default_factory=dict)
    identity: Sequence[float] = ()
    size: int = 256
    extent: float = 34.0
    centre: tuple[float, float] = (0.5, 0.5)
    distance: float | None = 90.0
    light: tuple[float, float, float] = (0.2, 0.4, 1.0)
    ambient: float = 0.45
    diffuse: float = 0.6
    background: tuple[int, int, int] | Image = (128, 128, 128)


@dataclass(frozen=True, slots=True)
class HeadImage:
    """A rendered head with its truth.

    Attributes:
        image: (size, size, 3) uint8 RGB.
        face_mask: (size, size) bool: skin of the face, eyes and mouth; not scalp, ears and neck.
        head_mask: (size, size) bool: everything but the background.
        points: (68, 2) float32 Multi-PIE points in pixels, hidden ones included.
    """

    image: Image
    face_mask: NDArray[np.bool_]
    head_mask: NDArray[np.bool_]
    points: Floats


@dataclass(frozen=True, slots=True)
class HeadRig:
    """The rig's arrays, in the form the renderer needs.

    Attributes:
        neutral: (26719, 3) float32 vertices of the mean neutral head.
        expression_names: Names of the expression shapes.
        expression_deltas: (57, 26719, 3) float32 offsets.
        identity_deltas: (100, 26719, 3) float32 offsets.
        triangles: (t, 3) int32, into corners.
        corner_vertex: (c,) int32 vertex of each corner; a vertex on a texture seam has several corners.
        corner_uv: (c, 2) float32 atlas coordinates in tiles: x 0 to 6, y 0 to 1.
    """

    neutral: Floats
    expression_names: tuple[str, ...]
    expression_deltas: Floats
    identity_deltas: Floats
    triangles: NDArray[np.int32]
    corner_vertex: NDArray[np.int32]
    corner_uv: Floats

    @classmethod
    def load(cls, path: Path) -> "HeadRig":
        """Read `ict_facekit.npz`.

        Raises:
            UsageError: the file is missing or lacks the rig's arrays.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                neutral = arrays["neutral"]
                names = tuple(str(name) for name in arrays["expr_names"])
                expression, identity = arrays["expr_delta"], arrays["id_delta"]
                quads, quads_uv, uv = arrays["faces"], arrays["faces_uv"], arrays["uv"]
        except (OSError, KeyError, ValueError) as error:
            raise UsageError(f"{path.name}: not a readable ICT FaceKit archive; give the path of ict_facekit.npz") from error
        corners: list[NDArray[np.int32]] = []  # (t, 3, 3): vertex, texture coordinate, tile
        for start, stop, tile in _PART_QUADS:
            part = np.stack([quads[start:stop], quads_uv[start:stop], np.full_like(quads[start:stop], tile)], axis=2)
            corners.append(part[:, [0, 1, 2]])
            corners.append(part[part[:, 3, 0] >= 0][:, [0, 2, 3]])  # a triangle has -1 as its fourth corner
        unique, inverse = np.unique(np.concatenate(corners).reshape(-1, 3), axis=0, return_inverse=True)
        corner_uv = uv[unique[:, 1]].astype(np.float32)
        eyes = unique[:, 2] == Tile.EYES
        corner_uv[eyes] = _eye_uv(neutral[unique[eyes, 0]])
        corner_uv[:, 0] = corner_uv[:, 0] % 1.0 + unique[:, 2]
        return cls(
            neutral=neutral,
            expression_names=names,
            expression_deltas=expression,
            identity_deltas=identity,
            triangles=inverse.reshape(-1, 3).astype(np.int32),
            corner_vertex=unique[:, 0].astype(np.int32),
            corner_uv=corner_uv,
        )

    def vertices(self, expression: Mapping[str, float], identity: Sequence[float]) -> Floats:
        """Vertices (26719, 3) of a head in the rig's own axes, before pose.

        Raises:
            UsageError: an expression shape is unknown or there are too many identity coefficients.
        """
        unknown = sorted(set(expression) - set(self.expression_names))
        if unknown:
            raise UsageError(f"the rig has no expression shape {unknown[0]!r}; it has {', '.join(self.expression_names)}")
        if len(identity) > len(self.identity_deltas):
            raise UsageError(f"{len(identity)} identity coefficients: the rig has {len(self.identity_deltas)} shapes")
        vertices = self.neutral.copy()
        for name, weight in expression.items():
            vertices += np.float32(weight) * self.expression_deltas[self.expression_names.index(name)]
        if len(identity):
            coefficients = np.asarray(identity, np.float32)
            vertices += np.tensordot(coefficients, self.identity_deltas[: len(coefficients)], axes=1)
        return vertices

    def normals(self, vertices: Floats) -> Floats:
        """Unit normals (n, 3) of the smooth surface, each the area-weighted mean over the triangles around a vertex."""
        triangles = self.corner_vertex[self.triangles]
        a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
        facets = np.cross(b - a, c - a)
        normals = np.empty_like(vertices)
        for axis in range(3):
            weights = np.repeat(facets[:, axis], 3)
            normals[:, axis] = np.bincount(triangles.ravel(), weights, minlength=len(vertices))
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        return np.asarray(normals / np.maximum(length, 1e-12), np.float32)

    def render(self, params: HeadParams, atlas: Image) -> HeadImage:
        """Draw a head.

        Args:
            params: Pose, shape, light, camera and background.
            atlas: (side, 6 * side, 3) uint8 RGB texture of all parts, from `paint.py`.

        Raises:
            UsageError: an expression shape is unknown or there are too many identity coefficients.
        """
        vertices = self.vertices(params.expression, params.identity)
        rotation = rotation_matrix(params.yaw, params.pitch, params.roll)
        posed = np.asarray((vertices - PIVOT) @ rotation.T, np.float32)
        projected = project(posed, params)
        light = np.asarray(params.light, np.float32)
        lambert = np.clip(self.normals(posed) @ (light / np.linalg.norm(light)), 0.0, None)
        shade = np.clip(params.ambient + params.diffuse * lambert, 0.0, 2.0)

        side = params.size * _SUPERSAMPLE
        attributes = np.column_stack([self.corner_uv[:, 0] / len(Tile), self.corner_uv[:, 1], shade[self.corner_vertex] / 2])
        points = projected[self.corner_vertex] * np.array([_SUPERSAMPLE, _SUPERSAMPLE, 1], np.float32)
        values, drawn = rasterize(points, self.triangles, attributes.astype(np.float32), (side, side))

        height, width = atlas.shape[:2]
        albedo = cv2.remap(atlas, values[..., 0] * width - 0.5, values[..., 1] * height - 0.5, cv2.INTER_LINEAR)
        head = albedo.astype(np.float32) * (2 * values[..., 2:])
        canvas = np.where(drawn[..., None], head, _background(params.background, side))
        tile = (values[..., 0] * len(Tile)).astype(np.int32)
        shrunk = (params.size, params.size)
        image = cv2.resize(canvas, shrunk, interpolation=cv2.INTER_AREA)
        return HeadImage(
            image=np.clip(np.rint(image), 0, 255).astype(np.uint8),
            face_mask=_majority(drawn & (tile != Tile.HEAD), shrunk),
            head_mask=_majority(drawn, shrunk),
            points=np.ascontiguousarray(projected[list(MULTI_PIE_68), :2]),
        )


def rotation_matrix(yaw: float, pitch: float, roll: float) -> Floats:
    """Rotation (3, 3) of a head about its own axes: first pitch, then yaw, then roll; degrees, signs as in HeadParams."""
    y, p, r = np.deg2rad([yaw, pitch, -roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x, np.float32)


def _eye_uv(vertices: Floats) -> Floats:
    """Texture coordinates (n, 2) of eyeballs, seen along their axis: the rig's own lay iris and sclera over each other."""
    uv = np.empty((len(vertices), 2), np.float32)
    for side in (vertices[:, 0] > 0, vertices[:, 0] < 0):
        eye = vertices[side, :2]
        centre = (eye.min(axis=0) + eye.max(axis=0)) / 2
        uv[side] = 0.5 + (eye - centre) / EYE_TILE
    return uv


def project(posed: Floats, params: HeadParams) -> Floats:
    """Pixels and depth (n, 3) of points given relative to the head's centre."""
    scale = params.size / params.extent
    if params.distance is None:
        depth = 100.0 - posed[:, 2]
        magnification = np.full(len(posed), scale, np.float32)
    else:
        depth = params.distance - posed[:, 2]
        magnification = scale * params.distance / depth
    x = params.centre[0] * params.size + posed[:, 0] * magnification
    y = params.centre[1] * params.size - posed[:, 1] * magnification
    return np.column_stack([x, y, depth]).astype(np.float32)


def _background(background: tuple[int, int, int] | Image, side: int) -> Floats:
    if isinstance(background, tuple):
        return np.full((side, side, 3), background, np.float32)
    return cv2.resize(background, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.float32)


def _majority(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A supersampled mask at the picture's size: pixels covered by at least half."""
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
