"""Texture for the rig, which comes without any: drawn by hand, or taken from a frontal face in face-mesh topology.

Both ways end in one step: a frontal picture is projected along the view axis onto the neutral head, and whatever does not look
at the camera gets the skin colour. The hand-drawn skin is only as good as the face networks need to find and track the head;
the averaged face of the mean_face normalizer makes it look like the photos they were trained on.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from normpipe.batches import Floats, Image
from normpipe.errors import NormpipeError
from normpipe.faces.protocols import Detector, Landmarker
from normpipe.raster import rasterize_flat
from normpipe.records import LANDMARK_COUNT
from normpipe.synthetic.heads import EYE_TILE, MULTI_PIE_68, PIVOT, HeadParams, HeadRig, Tile, project

cv2.setNumThreads(1)

FRONTAL = HeadParams(size=1024, extent=34.0, distance=None)
"""The view in which frontal pictures are drawn and landmarks of the rig are measured."""

Color = tuple[int, int, int]
_TILE_SIDE = 512
_GRID_STEP = 4
_TPS_REGULARIZATION = 1e-4


@dataclass(frozen=True, slots=True)
class Palette:
    """RGB colours of what a frontal picture does not give."""

    skin: Color = (222, 176, 152)
    lips: Color = (176, 92, 88)
    brows: Color = (78, 52, 40)
    lashes: Color = (52, 34, 30)
    hair: Color = (64, 46, 38)
    iris: Color = (84, 62, 44)
    sclera: Color = (222, 218, 214)
    gums: Color = (168, 84, 84)
    teeth: Color = (236, 230, 216)
    mouth: Color = (60, 22, 22)


def draw_atlas(rig: HeadRig, palette: Palette | None = None) -> Image:
    """Atlas with a skin drawn by hand: brows, lash lines, lips, nostrils, flushed cheeks.

    Returns:
        (512, 6 * 512, 3) uint8 RGB, for HeadRig.render.
    """
    palette = palette or Palette()
    picture = _draw_front(_front_points(rig), palette)
    return _compose(rig, palette, picture, _grid(), np.ones(picture.shape[:2], np.float32))


def face_atlas(
    rig: HeadRig, texture: Image, texture_points: Floats, rig_points: Floats, palette: Palette | None = None
) -> Image:
    """Atlas painted with a frontal face.

    A thin-plate spline (Bookstein 1989) through the 468 landmark pairs carries the picture onto the head; the rest of the skin
    gets the colour along the border of the face, blended.

    Args:
        rig: The rig.
        texture: (h, w, 3) uint8 RGB frontal face.
        texture_points: (468, 2) float32 landmarks of `texture` in its pixels.
        rig_points: (468, 2) float32 landmarks of the head rendered with FRONTAL, in its pixels.
        palette: Colours of everything but the skin, whose colour comes from the texture.

    Returns:
        (512, 6 * 512, 3) uint8 RGB, for HeadRig.render.
    """
    for points in (texture_points, rig_points):
        assert points.shape == (LANDMARK_COUNT, 2), points.shape
    inside = _soft_hull(texture_points, texture.shape[:2])
    border = (inside > 0.35) & (inside < 0.95)
    red, green, blue = (int(value) for value in np.median(texture[border], axis=0))
    palette = replace(palette or Palette(), skin=(red, green, blue))
    return _compose(rig, palette, texture, _thin_plate_spline(rig_points, texture_points, _grid()), inside)


def fit_face_atlas(
    rig: HeadRig,
    texture: Image,
    texture_points: Floats,
    detector: Detector,
    landmarker: Landmarker,
    *,
    palette: Palette | None = None,
) -> Image:
    """Atlas painted with a frontal face, the rig's own landmarks being measured on its hand-drawn frontal render.

    Raises:
        NormpipeError: the networks do not find the drawn head.
    """
    drawn = rig.render(FRONTAL, draw_atlas(rig)).image
    detections = detector.detect(drawn)
    found = landmarker.landmarks(drawn, detections[:1]) if detections else [None]
    if found[0] is None:
        raise NormpipeError("the face engine does not find the drawn synthetic head: use another detector")
    return face_atlas(rig, texture, texture_points, found[0].points[:, :2], palette)


def _compose(rig: HeadRig, palette: Palette, picture: Image, lookup: Floats, weight: Floats) -> Image:
    """Fill every tile: the frontal picture where the skin looks at the camera, the palette elsewhere.

    `lookup` (256, 256, 2) holds the picture's pixel for each node of `_grid`; `weight` is how much of each pixel to use.
    """
    tiles = {
        Tile.GUMS: _plain(palette.gums),
        Tile.TEETH: _plain(palette.teeth),
        Tile.EYES: _eye(palette),
        Tile.SOCKETS: _plain(palette.mouth),
    }
    normals = rig.normals(rig.neutral)
    mouth = rig.neutral[list(MULTI_PIE_68[48:])].mean(axis=0)
    for tile in (Tile.FACE, Tile.HEAD):
        positions, covered = _texels(rig, tile, rig.neutral)
        facing = _texels(rig, tile, normals)[0][..., 2]
        pixels = _front_pixels(positions.reshape(-1, 3)).reshape(_TILE_SIDE, _TILE_SIDE, 2)
        at = _sample(lookup, pixels / np.float32(_GRID_STEP), cv2.BORDER_REPLICATE)
        seen = _sample(picture.astype(np.float32), at, cv2.BORDER_REPLICATE)
        share = _sample(weight, at, cv2.BORDER_CONSTANT)
        share *= _smoothstep(facing, 0.1, 0.5) * _smoothstep(positions[..., 2], 1.0, 4.0)
        unseen = _mix(_plain(palette.skin), _plain(palette.lips), _mouth(positions, mouth))
        colors = _mix(_mix(unseen, seen, share), _plain(palette.hair), _hair(positions))
        tiles[tile] = _extend(colors, covered)
    return _to_uint8(np.concatenate([tiles[tile] for tile in Tile], axis=1))


def _texels(rig: HeadRig, tile: Tile, values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """A per-vertex quantity (n, 3) at every texel of a tile, and which texels the tile's parts cover."""
    triangles = rig.triangles[(rig.corner_uv[rig.triangles].astype(np.int32)[..., 0] == tile).all(axis=1)]
    corners, local = np.unique(triangles, return_inverse=True)
    uv = (rig.corner_uv[corners] - np.array([tile, 0], np.float32)) * _TILE_SIDE
    wanted = values[rig.corner_vertex[corners]]
    low, high = wanted.min(axis=0), wanted.max(axis=0)
    scaled = (wanted - low) / (high - low)
    drawn, covered = rasterize_flat(uv, local.reshape(-1, 3).astype(np.int32), scaled, (_TILE_SIDE, _TILE_SIDE))
    return np.asarray(drawn * (high - low) + low, np.float32), covered


def _extend(colors: Floats, covered: NDArray[np.bool_]) -> Floats:
    """Repeat each covered texel into the empty ones nearest to it, so that look-ups at seams find skin."""
    uncovered = (~covered).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(uncovered, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    by_label: Floats = np.zeros((labels.max() + 1, 3), np.float32)
    by_label[labels[covered]] = colors[covered]
    return np.asarray(by_label[labels])


def _eye(palette: Palette) -> Floats:
    """Sclera, iris with a dark rim, pupil: rings around the eyeball's axis."""
    across = ((np.arange(_TILE_SIDE) + 0.5) / _TILE_SIDE - 0.5) * EYE_TILE
    radius = np.hypot(across[:, None], across[None, :]).astype(np.float32)
    iris = np.asarray(palette.iris, np.float32)
    colors = _plain(palette.sclera)
    for outer, color in ((0.64, iris * 0.5), (0.56, iris), (0.26, iris * 0.1)):
        colors = _mix(colors, color, 1 - _smoothstep(radius, outer - 0.03, outer + 0.03))
    return colors


def _hair(positions: Floats) -> Floats:
    """Share of hair: above a line that runs from the forehead down behind the ears."""
    x, y, z = np.abs(positions[..., 0]), positions[..., 1], positions[..., 2]
    line = -3.0 + 13.0 * _smoothstep(z, -1.0, 8.0)
    ear = _smoothstep(x, 7.5, 8.0) * (1 - _smoothstep(y, 3.6, 4.4)) * _smoothstep(z, -3.5, -2.5)
    return _smoothstep(y - line, -0.4, 0.6) * (1 - ear)


def _mouth(positions: Floats, centre: Floats) -> Floats:
    """Share of the lips' inner side, which no frontal picture shows."""
    x, y = (positions[..., :2] - centre[:2]).transpose(2, 0, 1)
    return _smoothstep(positions[..., 2], 0.0, 2.0) * (1 - _smoothstep(np.hypot(x / 3.0, y / 1.3), 0.8, 1.0))


def _draw_front(points: Floats, palette: Palette) -> Image:
    """The hand-made face on the pixels of FRONTAL; `points` are the 68 Multi-PIE points there."""
    scale = FRONTAL.size / FRONTAL.extent  # pixels per cm
    picture = np.full((FRONTAL.size, FRONTAL.size, 3), palette.skin, np.float32)

    def stroke(path: Floats, color: Color, width: float, blur: float, opacity: float) -> None:
        layer = np.zeros(picture.shape[:2], np.float32)
        cv2.polylines(layer, [np.rint(path * 8).astype(np.int32)], False, opacity, round(width * scale), cv2.LINE_AA, 3)
        _apply(layer, color, blur)

    def fill(path: Floats, color: Color, blur: float, opacity: float) -> None:
        layer = np.zeros(picture.shape[:2], np.float32)
        cv2.fillPoly(layer, [np.rint(path * 8).astype(np.int32)], opacity, cv2.LINE_AA, 3)
        _apply(layer, color, blur)

    def _apply(layer: Floats, color: Color, blur: float) -> None:
        share = np.asarray(cv2.GaussianBlur(layer, (0, 0), blur * scale), np.float32)
        picture[:] = _mix(picture, np.array(color, np.float32), share)

    flush: Color = (214, 130, 118)
    for cheek in ((48, 31, 36, 1), (54, 35, 45, 15)):
        fill(points[list(cheek)], flush, 1.4, 0.4)
    for brow in (range(17, 22), range(22, 27)):
        stroke(points[list(brow)], palette.brows, 0.75, 0.16, 0.85)
    for eye in (range(36, 42), range(42, 48)):
        around = points[[*eye, eye[0]]]
        fill(around + (around - around.mean(axis=0)) * 0.35, palette.brows, 0.3, 0.3)
        stroke(around, palette.lashes, 0.18, 0.06, 0.8)
        stroke(points[list(eye)[:4]], palette.lashes, 0.28, 0.08, 0.9)
    for nostril in ((31, 32), (34, 35)):
        stroke(points[list(nostril)] - (0, 0.1 * scale), palette.lashes, 0.32, 0.12, 0.6)
    stroke(points[31:36], palette.brows, 0.2, 0.2, 0.35)
    fill(points[48:60], palette.lips, 0.12, 0.9)
    stroke(points[[48, 60, 61, 62, 63, 64, 54]], palette.mouth, 0.14, 0.07, 0.8)
    return _to_uint8(picture)


def _front_points(rig: HeadRig) -> Floats:
    return _front_pixels(rig.neutral[list(MULTI_PIE_68)])


def _front_pixels(positions: Floats) -> Floats:
    """Pixels (n, 2) of points of the neutral head in the view FRONTAL."""
    return project(positions - PIVOT, FRONTAL)[:, :2]


def _soft_hull(points: Floats, size: tuple[int, int]) -> Floats:
    """(h, w) share: 1 well inside the outline of the landmarks, falling to 0 at it over 12 % of its width."""
    mask = np.zeros(size, np.uint8)
    hull = cv2.convexHull(points.astype(np.float32))
    cv2.fillConvexPoly(mask, np.rint(hull).astype(np.int32), 1)
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT)  # the picture's edge is an outline too
    distance = np.asarray(cv2.distanceTransform(framed, cv2.DIST_L2, 5), np.float32)[1:-1, 1:-1]
    return _smoothstep(np.asarray(distance), 0.0, 0.12 * float(np.ptp(points[:, 0])))


def _grid() -> Floats:
    """Pixels (256, 256, 2) of FRONTAL, one every 4, at which warps are evaluated: they are smooth, and texels are many."""
    along = (np.arange(FRONTAL.size // _GRID_STEP, dtype=np.float32) + 0.5) * _GRID_STEP
    return np.stack(np.meshgrid(along, along), axis=-1)


def _thin_plate_spline(source: Floats, target: Floats, points: Floats) -> Floats:
    """The smooth map that takes `source` (n, 2) to `target` (n, 2), at `points` (..., 2).

    Slightly regularized, because the inner lips nearly coincide in a closed mouth.
    """
    centre, scale = source.mean(axis=0), float(np.ptp(source))
    nodes, at = (((p - centre) / scale).reshape(-1, 2).astype(np.float64) for p in (source, points))
    count = len(nodes)
    affine = np.column_stack([np.ones(count), nodes])
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _tps_kernel(nodes, nodes) + _TPS_REGULARIZATION * np.eye(count)
    system[:count, count:], system[count:, :count] = affine, affine.T
    solution = np.linalg.solve(system, np.vstack([target.astype(np.float64), np.zeros((3, 2))]))
    chunks = [
        np.column_stack([_tps_kernel(part, nodes), np.ones(len(part)), part]) @ solution
        for part in np.array_split(at, 1 + len(at) // 8192)  # bounds the kernel matrix to 30 MB
    ]
    return np.concatenate(chunks).reshape(points.shape).astype(np.float32)


def _tps_kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    squared: NDArray[np.float64] = np.square(a[:, None, :] - b[None, :, :]).sum(axis=2)
    return np.asarray(squared * np.log(squared + 1e-12))


def _smoothstep(values: Floats, low: float, high: float) -> Floats:
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _sample(picture: Floats, at: Floats, border: int) -> Floats:
    """Bilinear look-up at pixel positions (h, w, 2) whose origin is the outer corner; cv2 counts from pixel centres."""
    sampled = cv2.remap(picture, at[..., 0] - 0.5, at[..., 1] - 0.5, cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(sampled, np.float32)


def _plain(color: Color) -> Floats:
    return np.full((_TILE_SIDE, _TILE_SIDE, 3), color, np.float32)


def _to_uint8(values: Floats) -> Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _mix(under: Floats, over: Floats, share: Floats) -> Floats:
    return np.asarray(under + (over - under) * share[..., None], np.float32)
