"""What is seen through the eyes and the mouth: an average face has no gaze and no teeth, so these come from the source.

Only their luminance does; the colours are those of a palette, the same for everyone. Eye colour, make-up and the camera's
white balance stay behind. A lid or a lip that is nearly shut shows too few pixels to tell anything, so there the common face's
own eye and a dark line take over.
"""

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from normpipe.batches import AlignedFace, Floats, Image
from normpipe.normalizers.mean_face.model import MeanFaceModel
from normpipe.raster import rasterize_flat

_Pixel = TypeVar("_Pixel", bound=np.generic)

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
    drawn = np.zeros(canvas.shape[:2], bool)
    grey = np.asarray(cv2.cvtColor(face.image, cv2.COLOR_RGB2GRAY), np.uint8)
    mouth = _Opening.of(points, model.mouth_triangles, face, grey)
    if mouth is not None:
        opening = _distance(face.landmarks, *_INNER_LIPS) / max(_distance(face.landmarks, 33, 263), 1e-6)
        _draw_mouth(mouth.of_image(canvas), mouth, _skin_level(face, grey), _fade(opening, _MOUTH_SHUT_OPEN))
        mouth.of_image(drawn)[mouth.mask] = True
    half = len(model.eye_triangles) // 2
    for triangles, (lids, corners) in zip((model.eye_triangles[:half], model.eye_triangles[half:]), _LIDS, strict=True):
        eye = _Opening.of(points, triangles, face, grey)
        if eye is not None:
            opening = _distance(face.landmarks, *lids) / max(_distance(face.landmarks, *corners), 1e-6)
            _draw_eye(eye.of_image(canvas), eye.of_image(common), eye, _fade(opening, _EYE_SHUT_OPEN))
            eye.of_image(drawn)[eye.mask] = True
    return drawn


def draw_shut_mouth(canvas: Image, points: Floats, model: MeanFaceModel) -> NDArray[np.bool_]:
    """Draw the line between the lips of a face without a source; arguments and result as for `draw_interior`."""
    _, mask = rasterize_flat(points, model.mouth_triangles, np.zeros((len(points), 3), np.float32), canvas.shape[:2])
    canvas[mask] = _MOUTH_PALETTE[int(_LIP_LINE)]
    return mask


@dataclass(frozen=True, slots=True)
class _Opening:
    """An eye or the mouth in the canvas, with what the source shows there.

    Attributes:
        left: First column of the part of the canvas.
        top: First row.
        mask: (height, width) bool, the opening within that part.
        luminance: (height, width) float32, grey levels of the source.
    """

    left: int
    top: int
    mask: NDArray[np.bool_]
    luminance: Floats

    @staticmethod
    def of(points: Floats, triangles: NDArray[np.int32], face: AlignedFace, grey: NDArray[np.uint8]) -> "_Opening | None":
        """None where the opening covers no pixel of the canvas."""
        size = grey.shape[0]
        corners = points[triangles.ravel()]
        left, top = (int(value) for value in np.clip(np.floor(corners.min(axis=0)), 0, size))
        right, bottom = (int(value) for value in np.clip(np.ceil(corners.max(axis=0)), 0, size))
        if right - left < 1 or bottom - top < 1:
            return None
        places = np.zeros((len(points), 3), np.float32)
        places[:, :2] = np.clip(face.landmarks[:, :2] / size, 0, 1)
        source, mask = rasterize_flat(points - np.array((left, top)), triangles, places, (bottom - top, right - left))
        if not mask.any():
            return None
        across, down = source[..., 0] * size - 0.5, source[..., 1] * size - 0.5
        luminance = cv2.remap(grey, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return _Opening(left, top, mask, luminance.astype(np.float32))

    def of_image(self, image: NDArray[_Pixel]) -> NDArray[_Pixel]:
        """The part of an image of the canvas' size, as a view."""
        height, width = self.mask.shape
        return image[self.top : self.top + height, self.left : self.left + width]


def _draw_mouth(part: Image, mouth: _Opening, skin_level: float, share: float) -> None:
    """Blend a dark line with what the source shows, of which `share` (0 to 1) is taken."""
    toned = np.clip(mouth.luminance[mouth.mask] * (_SKIN_LEVEL / max(skin_level, 20.0)), 0, 255)
    part[mouth.mask] = _MOUTH_PALETTE[(share * toned + (1 - share) * _LIP_LINE).astype(np.uint8)]


def _draw_eye(part: Image, common: Image, eye: _Opening, share: float) -> None:
    """Blend the common face's eye with the source's, of which `share` (0 to 1) is taken."""
    if share == 0.0:
        part[eye.mask] = common[eye.mask]
        return
    own = common[eye.mask].astype(np.float32)
    target, seen = own.mean(axis=1), eye.luminance[eye.mask]
    # Mean and contrast of the common eye: light and skin tone of the source do not pass.
    contrast = max(float(target.std()), 12.0) * 1.3 / max(float(seen.std()), 4.0)
    toned = (seen - seen.mean()) * contrast + target.mean()
    colour = _EYE_PALETTE[np.clip(toned, 0, 255).astype(np.uint8)]
    part[eye.mask] = np.clip(share * colour + (1 - share) * own, 0, 255).astype(np.uint8)


def _skin_level(face: AlignedFace, grey: NDArray[np.uint8]) -> float:
    """Median grey level inside the outline of the nose and cheeks, where skin is likeliest to be seen."""
    mask = np.zeros(grey.shape, np.uint8)
    outline = cv2.convexHull(face.landmarks[_CHEEKS, :2].astype(np.float32))
    cv2.fillConvexPoly(mask, np.round(np.clip(outline, -1e4, 1e4)).astype(np.int32), 1)
    skin = grey[(mask > 0) & (face.inside() > 0)]
    return float(np.median(skin)) if skin.size else _SKIN_LEVEL


_CHEEKS = np.array([50, 101, 118, 36, 205, 280, 330, 347, 266, 425, 4, 2])


def _distance(landmarks: Floats, first: int, second: int) -> float:
    return float(np.linalg.norm(landmarks[first, :2] - landmarks[second, :2]))


def _fade(value: float, between: tuple[float, float]) -> float:
    low, high = between
    return float(np.clip((value - low) / (high - low), 0, 1))
