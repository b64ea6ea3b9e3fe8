"""Warps: portraits of calm people that are made to do what the rig does; real skin in an expression that is known.

The rig says how far an expression moves each point of the face mesh; the picture is moved along, and a mouth that opens shows
the rig's. Their people look calm to mean_face, and whatever they do in truth counts as nothing. Gaze is not warped: its weights
are not known.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from normpipe.batches import AlignedFace, Floats, Image
from normpipe.config import Align, Detect
from normpipe.errors import NormpipeError
from normpipe.faces.build import build_landmarker
from normpipe.faces.looks import steadied
from normpipe.faces.protocols import Landmarker
from normpipe.normalizers.mean_face.expression import read_face
from normpipe.normalizers.mean_face.interior import draw_interior
from normpipe.normalizers.mean_face.model import MeanFaceModel, load_model
from normpipe.raster import rasterize_flat
from normpipe.stages.align import alignment_matrix, template_detection, transform
from normpipe.synthetic.heads import PIVOT, HeadRig, project
from normpipe.synthetic.paint import FRONTAL
from normpipe.training.norface.examples import Example, Kind, shrunk
from normpipe.training.norface.expressions import by_name, of_gaze, random_expression
from normpipe.training.norface.rig_mesh import RigMesh
from normpipe.training.norface.runs import FinishedRun, RunFace, mouth_opening

WARPS_PER_PERSON = 10

_ORDER, _PERSON, _WARP = range(3, 6)  # what a generator is for; heads have those before
_TRIES = 50
_EYE_CORNERS = (33, 263)
_OPENED = 0.02  # eye distances that lips go apart when they show what is behind them
_LEAST_COSINE = 0.8  # of the yaw: the eye distance of a turned face, seen from the front
_SPREAD = 14 / 256  # sides; over so much the surroundings follow the face
_SURROUNDED = 0.35  # share of the face within the spread at which they follow it wholly
_MOUTH_SIDE, _MOUTH_EXTENT = 320, 30.0  # of the rig's view that mouths are taken from


@dataclass(frozen=True, slots=True)
class WarpMaker:
    """Makes warps.

    Attributes:
        rig: The rig.
        tied: The face mesh on it.
        run: Of the portraits.
        calm: Numbers of the portraits that are warped, in turn.
        landmarker: Places landmarks.
        model: Of mean_face.
        seed: Of all warps.
        side: Of the pictures.
    """

    rig: HeadRig
    tied: RigMesh
    run: FinishedRun
    calm: NDArray[np.int64]
    landmarker: Landmarker
    model: MeanFaceModel
    seed: int
    side: int

    @classmethod
    def prepared(cls, rig: HeadRig, run: FinishedRun, seed: int, side: int) -> "WarpMaker":
        """Load the landmarker, tie its mesh to the rig, and choose the portraits.

        Raises:
            UsageError: no portrait of the run looks into the camera.
        """
        landmarker, model, tied = build_landmarker(Detect(), "cpu"), load_model(), RigMesh.of(rig)
        calm = np.random.default_rng([seed, _ORDER]).permutation(run.calm(model))
        return cls(rig, tied, run, calm, landmarker, model, seed, side)

    def examples(self, start: int, stop: int) -> Iterator[Example]:
        """Warps by number, [start, stop).

        Raises:
            NormpipeError: the landmarker sees no face in a portrait, however it is warped.
        """
        person = -1
        for number in range(start, stop):
            if number // WARPS_PER_PERSON != person:
                person = number // WARPS_PER_PERSON
                portrait = self.run.face(int(self.calm[person % len(self.calm)]))
                random = np.random.default_rng([self.seed, _PERSON, person])
                portrait = replace(portrait, face=steadied(portrait.face, self.landmarker, random))
            yield self._example(number, portrait)

    def warped(self, face: AlignedFace, weights: Floats) -> tuple[Image, Floats]:
        """A face made to do what the (57,) weights say.

        Returns:
            (s, s, 3) uint8 crop of the face's own side, and (468, 3) float32, where its landmarks should be now.
        """
        turn = float(np.cos(np.radians(face.pose[0])))
        left, right = face.landmarks[list(_EYE_CORNERS), :2]
        unit = float(np.linalg.norm(right - left)) / max(turn, _LEAST_COSINE)
        moved = face.landmarks.copy()
        moved[:, :2] += np.tensordot(weights, self.tied.offsets, axes=1) * unit * np.array([turn, 1], np.float32)
        image = self._moved_picture(face, moved)
        before, after = mouth_opening(np.stack([face.landmarks, moved]))
        if after - before > _OPENED:
            image = self._with_mouth(image, moved, weights)
        return image, moved

    def _example(self, number: int, portrait: RunFace) -> Example:
        random = np.random.default_rng([self.seed, _WARP, number])
        face, gaze = portrait.face, of_gaze(self.rig.expression_names)
        size = face.image.shape[0]
        place = template_detection(size, Align().margin)
        for _ in range(_TRIES):
            weights = np.where(gaze, np.float32(0), random_expression(self.rig.expression_names, random))
            image, _ = self.warped(face, weights)
            seen = self.landmarker.landmarks(image, [place])[0]
            if seen is not None:
                reading = read_face(replace(face, image=image, landmarks=seen.points), self.model)
                return Example(
                    example_id=f"{Kind.WARP.value}-{number:07d}",
                    person=portrait.person,
                    kind=Kind.WARP,
                    image=shrunk(image, self.side),
                    expression=np.where(gaze, np.float32(np.nan), weights),
                    shape=reading.shape,
                    detail=reading.detail,
                    landmarks=seen.points / np.float32(size),
                )
        raise NormpipeError(
            f"warp {number}: the landmarker sees no face in {_TRIES} warps of a portrait; give clearer portraits"
        )

    def _moved_picture(self, face: AlignedFace, moved: Floats) -> Image:
        """The crop with the mesh moved, its surroundings following as far as they are near."""
        size = face.image.shape[0]
        places = np.zeros((len(moved), 3), np.float32)
        places[:, :2] = np.clip(face.landmarks[:, :2] / size, 0, 1)
        triangles = np.concatenate([self.model.eye_triangles, self.model.skin_triangles, self.model.mouth_triangles])
        source, inside = rasterize_flat(moved[:, :2], triangles, places, (size, size))
        centres = np.arange(size, dtype=np.float32) + np.float32(0.5)
        here = np.stack(np.meshgrid(centres, centres), axis=-1)
        share = inside.astype(np.float32)
        shift = (source[..., :2] * size - here) * share[..., None]
        near = _blurred(share, size)
        beside = _blurred(shift, size) / (near + np.float32(1e-3))[..., None]
        beside *= np.clip(near / _SURROUNDED, 0, 1)[..., None]
        at = here + np.where(inside[..., None], shift, beside) - np.float32(0.5)
        return np.asarray(
            cv2.remap(face.image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8
        )

    def _with_mouth(self, image: Image, moved: Floats, weights: Floats) -> Image:
        """The crop with what the rig shows between the lips in that expression."""
        size = image.shape[0]
        expression = by_name(self.rig.expression_names, weights)
        view = replace(FRONTAL, expression=expression, size=_MOUTH_SIDE, extent=_MOUTH_EXTENT)
        posed = np.asarray(self.tied.mesh.points(self.rig.vertices(expression, ())) - PIVOT, np.float32)
        points = project(posed, view)
        points[:, 2] = (points[:, 2] - points[:, 2].mean()) * (_MOUTH_SIDE / _MOUTH_EXTENT)
        matrix = alignment_matrix(points, size, Align().margin)
        crop = cv2.warpAffine(self.rig.render(view, self.tied.atlas).image, matrix, (size, size))
        corners = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float32)
        actor = AlignedFace(np.asarray(crop, np.uint8), transform(points, matrix), np.zeros(3, np.float32), corners)
        drawn = image.copy()
        flat = moved[:, :2].copy()
        draw_interior(drawn, flat, actor, image, self.model)
        _, mouth = rasterize_flat(flat, self.model.mouth_triangles, np.zeros((len(moved), 3), np.float32), (size, size))
        return np.where(mouth[..., None], drawn, image)


def _blurred(values: Floats, size: int) -> Floats:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), _SPREAD * size), np.float32)
