"""What is seen through the eyes and the mouth: an average face has no gaze and no teeth, so these come from the source.

Only their luminance does; the colours are those of a palette, the same for everyone. Eye colour, make-up and the camera's
white balance stay behind. A lid or a lip that is nearly shut shows too few pixels to tell anything, so there the common face's
own eye and a dark line take over.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from normpipe.batches import AlignedFace, Floats, Image
from normpipe.normalizers.mean_face.model import MeanFaceModel
from normpipe.raster import rasterize

# Landmarks in the middle of the lids and of the inner lips (upper, lower), and the corners of each eye.
_LIDS = (((159, 145), (33, 133)), ((386, 374), (362, 263)))
_INNER_LIPS = (13, 14)
_EYE_SHUT_OPEN = (0.06, 0.2)  # opening over width of the eye, from all common to all source
_MOUTH_SHUT_OPEN = (0.02, 0.06)  # opening over distance of the eyes

_SKIN_LEVEL = 168.0  # grey level that the source's skin is brought to before the mouth's palette is read
_LIP_LINE = 51.0  # level of the mouth's palette between lips that are shut
_PALETTE_STOPS = np.array([0.0, 0.45, 1.0]) * 255
_MOUTH_STOPS = np.array([[18, 6, 6], [140, 92, 84], [236, 224, 206]])
_EYE_STOPS = np.array([[14, 10, 8], [128, 110, 98], [240, 232, 224]])


def _palette(stops: NDArray[np.int64]) -> NDArray[np.uint8]:
    levels = np.arange(256)
    return np.stack([np.interp(levels, _PALETTE_STOPS, stops[:, channel]) for channel in range(3)], axis=1).astype(np.uint8)


_MOUTH_PALETTE = _palette(_MOUTH_STOPS)
_EYE_PALETTE = _palette(_EYE_STOPS)


def draw_interior(canvas: Image, points: Floats, face: AlignedFace, common: Image, model: MeanFaceModel) -> NDArray[np.bool_]:
    """Draw eyes and mouth into an image of the deformed common face.

    Args:
        canvas: (size, size, 3) uint8, drawn into.
        points: (468, 2) float32, landmarks of the deformed common face in canvas pixels.
        face: The source.
        common: (size, size, 3) uint8, the common face's own texture deformed alike, eyes included.
        model: Triangles.

    Returns:
        (size, size) bool, the pixels drawn.
    """
    grey = np.asarray(cv2.cvtColor(face.image, cv2.COLOR_RGB2GRAY), np.uint8)
    mouth = _draw_mouth(canvas, points, face, grey, model)
    eyes = np.zeros_like(mouth)
    half = len(model.eye_triangles) // 2
    for triangles, ((upper, lower), corners) in zip(
        (model.eye_triangles[:half], model.eye_triangles[half:]), _LIDS, strict=True
    ):
        opening = _distance(face.landmarks, upper, lower) / max(_distance(face.landmarks, *corners), 1e-6)
        luminance, mask = _seen(points, face, grey, triangles)
        _draw_eye(canvas, common, luminance, mask, _fade(opening, _EYE_SHUT_OPEN))
        eyes |= mask
    return mouth | eyes


def draw_shut_mouth(canvas: Image, points: Floats, model: MeanFaceModel) -> NDArray[np.bool_]:
    """Draw the line between the lips of a face without a source; arguments and result as for `draw_interior`."""
    flat = np.column_stack([points, np.ones(len(points), np.float32)]).astype(np.float32)
    _, mask = rasterize(flat, model.mouth_triangles, np.zeros_like(flat), canvas.shape[:2])
    canvas[mask] = _MOUTH_PALETTE[int(_LIP_LINE)]
    return mask


def _draw_mouth(
    canvas: Image, points: Floats, face: AlignedFace, grey: NDArray[np.uint8], model: MeanFaceModel
) -> NDArray[np.bool_]:
    luminance, mask = _seen(points, face, grey, model.mouth_triangles)
    if not mask.any():
        return mask
    skin = grey[_skin_pixels(face)]
    level = float(np.median(skin)) if skin.size else _SKIN_LEVEL
    toned = np.clip(luminance[mask] * (_SKIN_LEVEL / max(level, 20.0)), 0, 255)
    eye_distance = _distance(face.landmarks, 33, 263)
    share = _fade(_distance(face.landmarks, *_INNER_LIPS) / max(eye_distance, 1e-6), _MOUTH_SHUT_OPEN)
    toned = share * toned + (1 - share) * _LIP_LINE
    canvas[mask] = _MOUTH_PALETTE[toned.astype(np.uint8)]
    return mask


def _draw_eye(canvas: Image, common: Image, luminance: Floats, mask: NDArray[np.bool_], share: float) -> None:
    """Blend the common face's eye with the source's, of which `share` (0 to 1) is taken."""
    own = common[mask].astype(np.float32)
    if share == 0.0 or not mask.any():
        canvas[mask] = common[mask]
        return
    target, seen = own.mean(axis=1), luminance[mask]
    # Mean and contrast of the common eye: light and skin tone of the source do not pass.
    contrast = max(float(target.std()), 12.0) * 1.3 / max(float(seen.std()), 4.0)
    toned = (seen - seen.mean()) * contrast + target.mean()
    colour = _EYE_PALETTE[np.clip(toned, 0, 255).astype(np.uint8)]
    canvas[mask] = np.clip(share * colour + (1 - share) * own, 0, 255).astype(np.uint8)


def _seen(
    points: Floats, face: AlignedFace, grey: NDArray[np.uint8], triangles: NDArray[np.int32]
) -> tuple[Floats, NDArray[np.bool_]]:
    """The source's luminance where the triangles lie in the canvas: (size, size) float32 and the mask of where that is."""
    size = grey.shape[0]
    places = np.zeros((len(points), 3), np.float32)
    places[:, :2] = np.clip(face.landmarks[:, :2] / size, 0, 1)
    flat = np.column_stack([points, np.ones(len(points), np.float32)]).astype(np.float32)
    source, mask = rasterize(flat, triangles, places, (size, size))
    across, down = source[..., 0] * size - 0.5, source[..., 1] * size - 0.5
    luminance = cv2.remap(grey, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return luminance.astype(np.float32), mask


def _skin_pixels(face: AlignedFace) -> NDArray[np.bool_]:
    """Pixels of the crop inside the outline of the nose and cheeks, where skin is likeliest to be seen."""
    mask = np.zeros(face.image.shape[:2], np.uint8)
    outline = cv2.convexHull(face.landmarks[_CHEEKS, :2].astype(np.float32))
    cv2.fillConvexPoly(mask, np.round(np.clip(outline, -1e4, 1e4)).astype(np.int32), 1)
    return (mask > 0) & (face.inside() > 0)


_CHEEKS = np.array([50, 101, 118, 36, 205, 280, 330, 347, 266, 425, 4, 2])


def _distance(landmarks: Floats, first: int, second: int) -> float:
    return float(np.linalg.norm(landmarks[first, :2] - landmarks[second, :2]))


def _fade(value: float, between: tuple[float, float]) -> float:
    low, high = between
    return float(np.clip((value - low) / (high - low), 0, 1))
