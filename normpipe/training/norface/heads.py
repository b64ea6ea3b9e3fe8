"""Synthetic heads: examples whose expression is known to the last weight, gaze included.

A head of the rig, painted with the skin of somebody's portrait, does something at random, in any pose, light and surroundings,
and is then found and cut out as a photo would be. What a head looks like follows from the seed and its number alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from normpipe.batches import AlignedFace, Floats, Frame, FrameRef, Image
from normpipe.config import Align, Detect
from normpipe.errors import NormpipeError, shown_sample
from normpipe.faces.build import build_detector, build_landmarker
from normpipe.faces.protocols import Detector, Landmarker
from normpipe.normalizers.mean_face.expression import read_face
from normpipe.normalizers.mean_face.model import MeanFaceModel, load_model
from normpipe.records import Failure
from normpipe.stages.align import align
from normpipe.stages.detect import detect
from normpipe.synthetic.heads import HeadParams, HeadRig
from normpipe.synthetic.paint import FRONTAL, draw_atlas, face_atlas
from normpipe.training.norface.examples import Example, Kind
from normpipe.training.norface.expressions import by_name, random_expression
from normpipe.training.norface.runs import FinishedRun
from normpipe.training.turned_heads import random_background

HEADS_PER_PERSON = 10
HEADS_PER_SKIN = 100
"""Painting a skin takes as long as rendering dozens of heads; a shape of its own costs next to nothing."""

_ORDER, _PERSON, _HEAD = range(3)  # what a generator is for
_TRIES = 50
_VIEW_SIDE = 208
_YAW, _PITCH, _ROLL = 18.0, 9.0, 6.0  # standard deviations, degrees
_YAW_LIMIT, _PITCH_LIMIT = 60.0, 25.0


@dataclass(frozen=True, slots=True)
class HeadMaker:
    """Makes heads.

    Attributes:
        rig: The rig.
        on_rig: (468, 2) float32, where the landmarker sees its points in the view FRONTAL.
        run: Of the portraits.
        skins: Numbers of the portraits that become skins, in turn.
        detector: Finds the heads.
        landmarker: Places their landmarks.
        model: Of mean_face.
        seed: Of all heads.
        side: Of the pictures.
    """

    rig: HeadRig
    on_rig: Floats
    run: FinishedRun
    skins: NDArray[np.int64]
    detector: Detector
    landmarker: Landmarker
    model: MeanFaceModel
    seed: int
    side: int

    @classmethod
    def prepared(cls, rig: HeadRig, run: FinishedRun, seed: int, side: int) -> "HeadMaker":
        """Load the networks and look where they see the rig's points.

        Raises:
            UsageError: no portrait of the run looks into the camera.
        """
        detector, landmarker = build_detector(Detect(), "cpu"), build_landmarker(Detect(), "cpu")
        drawn = rig.render(FRONTAL, draw_atlas(rig)).image
        on_rig = landmarker.landmarks(drawn, detector.detect(drawn)[:1])[0]
        assert on_rig is not None, "the drawn head is found"
        skins = np.random.default_rng([seed, _ORDER]).permutation(run.near_frontal())
        return cls(rig, on_rig.points[:, :2].copy(), run, skins, detector, landmarker, load_model(), seed, side)

    def examples(self, start: int, stop: int) -> Iterator[Example]:
        """Heads by number, [start, stop).

        Raises:
            NormpipeError: the face engine does not find a head, however often it is drawn.
        """
        person, skin = -1, -1
        for number in range(start, stop):
            if number // HEADS_PER_SKIN != skin:
                skin = number // HEADS_PER_SKIN
                portrait = self.run.face(int(self.skins[skin % len(self.skins)]))
                atlas = face_atlas(self.rig, portrait.face.image, portrait.face.landmarks[:, :2], self.on_rig)
                shown = shown_sample(portrait.name, hash_ids=True)
            if number // HEADS_PER_PERSON != person:
                person = number // HEADS_PER_PERSON
                somebody = random_person(self.rig, np.random.default_rng([self.seed, _PERSON, person]))
            yield self._example(number, f"{Kind.HEAD.value} {person} {shown}", somebody, atlas)

    def _example(self, number: int, person: str, rig: HeadRig, atlas: Image) -> Example:
        random = np.random.default_rng([self.seed, _HEAD, number])
        for _ in range(_TRIES):
            weights = random_expression(rig.expression_names, random)
            face = self._found(rig.render(random_view(rig, weights, random), atlas).image)
            if face is not None:
                reading = read_face(face, self.model)
                return Example(
                    example_id=f"{Kind.HEAD.value}-{number:07d}",
                    person=person,
                    kind=Kind.HEAD,
                    image=face.image,
                    expression=weights,
                    shape=reading.shape,
                    detail=reading.detail,
                    landmarks=face.landmarks / np.float32(self.side),
                )
        raise NormpipeError(f"head {number}: the face engine found none of {_TRIES} synthetic heads; give clearer portraits")

    def _found(self, image: Image) -> AlignedFace | None:
        row = detect([Frame(FrameRef("head", ""), image, None)], self.detector, self.landmarker, Detect())[0]
        face = align(row, self.side, Align())
        return None if isinstance(face, Failure) else face


def random_person(rig: HeadRig, random: np.random.Generator) -> HeadRig:
    """The rig with somebody's neutral head in the place of the mean one."""
    identity = random.standard_normal(len(rig.identity_deltas)) * random.uniform(0.5, 1.1)
    return replace(rig, neutral=rig.vertices({}, identity.tolist()))


def random_view(rig: HeadRig, weights: Floats, random: np.random.Generator) -> HeadParams:
    """Pose, light, camera and background for a head in a given expression, (57,) float32.

    Yaw and pitch are normal with 18 and 9 degrees, none beyond 60 and 25; the light comes from somewhere before the face.
    """
    ambient = float(random.uniform(0.3, 0.75))
    return HeadParams(
        yaw=float(np.clip(random.normal(0, _YAW), -_YAW_LIMIT, _YAW_LIMIT)),
        pitch=float(np.clip(random.normal(0, _PITCH), -_PITCH_LIMIT, _PITCH_LIMIT)),
        roll=float(random.normal(0, _ROLL)),
        expression=by_name(rig.expression_names, weights),
        distance=float(random.uniform(60, 200)),
        size=_VIEW_SIDE,
        extent=float(random.uniform(30, 36)),
        light=(float(random.uniform(-1.2, 1.2)), float(random.uniform(-0.4, 1)), 1.0),
        ambient=ambient,
        diffuse=1.1 - ambient,
        background=random_background(_VIEW_SIDE, random),
    )
