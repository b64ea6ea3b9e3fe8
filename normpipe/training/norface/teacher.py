"""The teacher of the drawing stage: mean_face's renderer, told by a code what to draw.

The layout says where the landmarks of the drawing are. From that follow the place in the common face that each pixel comes
from, how much lighter or darker it is there, and the picture. All but the last costs little and is made when it is asked for.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from normpipe.batches import AlignedFace, Floats, Image
from normpipe.config import Normalize
from normpipe.normalizers.mean_face.detail import ATLAS_SIDE
from normpipe.normalizers.mean_face.interior import draw_interior
from normpipe.normalizers.mean_face.model import MeanFaceModel
from normpipe.normalizers.norface.common_face import CommonFace
from normpipe.normalizers.norface.layout import FaceLayout
from normpipe.raster import rasterize_flat

_LIGHT_LIMIT = 1.0  # of log luminance, either way


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a drawing shall be, on a grid of g x g.

    Attributes:
        flow: (2, g, g) float32, how far from a pixel of the drawing its place in the common face is, in sides.
        light: (1, g, g) float32 log of the factor on its colour, within +-1.
        mask: (1, g, g) float32, 1 where both are known: the face without the mouth's opening.
    """

    flow: Floats
    light: Floats
    mask: Floats


@dataclass(frozen=True, slots=True)
class Teacher:
    """Knows what a code looks like.

    Attributes:
        model: Of mean_face.
        layout: Says where landmarks go.
    """

    model: MeanFaceModel
    layout: FaceLayout

    def lesson(self, passed: Floats, grid: int) -> Lesson:
        """Flow and light for the (121,) numbers that passed."""
        model = self.model
        places = self.layout.points(passed) * np.float32(grid)
        triangles = np.concatenate([model.eye_triangles, model.skin_triangles])
        source, mask = rasterize_flat(places, triangles, _attributes(self.layout.neutral()), (grid, grid))
        in_atlas, _ = rasterize_flat(places, triangles, _attributes(model.atlas_points), (grid, grid))
        atlas = self.layout.expression(passed).detail
        across, down = in_atlas[..., 0] * ATLAS_SIDE - 0.5, in_atlas[..., 1] * ATLAS_SIDE - 0.5
        limited = np.clip(atlas, -_LIGHT_LIMIT, _LIGHT_LIMIT)
        light = np.asarray(cv2.remap(limited, across, down, cv2.INTER_LINEAR), np.float32)
        centres = (np.arange(grid, dtype=np.float32) + np.float32(0.5)) / np.float32(grid)
        here = np.stack(np.meshgrid(centres, centres), axis=-1)
        flow = (source[..., :2] - here) * mask[..., None]
        return Lesson(np.ascontiguousarray(flow.transpose(2, 0, 1)), (light * mask)[None], mask.astype(np.float32)[None])


@dataclass(frozen=True, slots=True)
class Layers:
    """The common face as the teacher draws with it.

    Attributes:
        colour: (s, s, 3) uint8 RGB.
        alpha: (s, s) uint8, 255 on the face.
        neutral: (468, 2) float32 its landmarks, in sides.
    """

    colour: Image
    alpha: Image
    neutral: Floats

    @classmethod
    def of(cls, face: CommonFace, neutral: Floats) -> "Layers":
        """Of a part of the network."""
        return cls(face.colour[0].permute(1, 2, 0).cpu().numpy().copy(), face.alpha[0, 0].cpu().numpy().copy(), neutral)

    def picture(self, points: Floats, image: Image, landmarks: Floats, model: MeanFaceModel) -> Image:
        """The common face on other landmarks, without wrinkles, with somebody's eyes and mouth.

        Args:
            points: (468, 2) float32, where its landmarks shall be, in sides.
            image: (n, n, 3) uint8 RGB crop of somebody.
            landmarks: (468, 3) float32 of that crop, in sides.
            model: Of mean_face.

        Returns:
            (n, n, 3) uint8 RGB.
        """
        size = self.colour.shape[0]
        places, across, down, alpha = self._placed(points, model)
        canvas = np.asarray(cv2.remap(self.colour, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
        corners = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float32)
        crop = np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)
        face = AlignedFace(crop, landmarks * np.float32(size), np.zeros(3, np.float32), corners)
        drawn = draw_interior(canvas, places, face, canvas.copy(), model)
        alpha[drawn] = 1
        ground = np.full(canvas.shape, Normalize().background, np.uint8)
        whole = cv2.blendLinear(canvas, ground, alpha, 1 - alpha)
        return np.asarray(cv2.resize(whole, image.shape[:2], interpolation=cv2.INTER_AREA), np.uint8)

    def alpha_of(self, points: Floats, side: int, model: MeanFaceModel) -> Floats:
        """(side, side) float32, 0 to 1: how much of each pixel of `picture` is the face, the rest being background."""
        *_, alpha = self._placed(points, model)
        return np.asarray(cv2.resize(alpha, (side, side), interpolation=cv2.INTER_AREA), np.float32)

    def _placed(self, points: Floats, model: MeanFaceModel) -> tuple[Floats, Floats, Floats, Floats]:
        """Landmarks in pixels; x and y, in the common face, of what each pixel shows, less half a pixel; how much it does."""
        size = self.colour.shape[0]
        places = points * np.float32(size)
        triangles = np.concatenate([model.eye_triangles, model.skin_triangles, model.mouth_triangles])
        source, mask = rasterize_flat(places, triangles, _attributes(self.neutral), (size, size))
        across, down = source[..., 0] * size - 0.5, source[..., 1] * size - 0.5
        alpha = cv2.remap(self.alpha, across, down, cv2.INTER_LINEAR).astype(np.float32) / np.float32(255) * mask
        return places, across, down, alpha


def _attributes(places: Floats) -> Floats:
    """(n, 3) for the rasteriser of (n, 2) places from 0 to 1."""
    return np.column_stack([places, np.zeros(len(places))]).astype(np.float32)
