"""What turning a head does to what is measured of it, learnt where the truth is known: synthetic heads in several poses.

A landmarker sees a turned face less well, and errs the same way on everybody: noses slide, hidden cheeks are guessed. What lies
behind a head moves its landmarks, too. One head in one expression has one shape and one set of wrinkles, so whatever is
measured otherwise from view to view is such an error. The heads have the skin of portraits, or they would have no wrinkles.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from normpipe.batches import AlignedFace, Floats, Frame, FrameRef, Image
from normpipe.config import Pipeline
from normpipe.errors import UsageError
from normpipe.faces.build import build_detector, build_landmarker
from normpipe.normalizers.mean_face.expression import measured_shape
from normpipe.records import Failure
from normpipe.stages.align import align
from normpipe.stages.detect import detect
from normpipe.synthetic.heads import HeadParams, HeadRig
from normpipe.synthetic.paint import FRONTAL, draw_atlas, face_atlas

_HEADS = 240
_VIEWS = 8  # of each head
_FRONTAL_VIEWS = 2
_SKINS = 24
_YAW, _PITCH = 50.0, 15.0  # degrees, either way
_MOST_SHAPES = 4  # of the rig at once, for a random expression
_FRONTAL_LIMIT = 10.0  # degrees; portraits turned farther are no skins
_BLOBS = 9  # most patches of colour along a side of a background


@dataclass(frozen=True, slots=True)
class TurnedHeads:
    """Views of synthetic heads.

    Attributes:
        faces: n aligned faces.
        shapes: (n, 936) float32, see `measured_shape`.
        poses: (n, 6) float32.
        heads: (n,) str, equal for views of one head in one expression.
    """

    faces: list[AlignedFace]
    shapes: Floats
    poses: Floats
    heads: NDArray[np.str_]


def turned_heads(rig_file: Path, portraits: list[AlignedFace], pipeline: Pipeline) -> TurnedHeads:
    """Render and measure random heads; views that show no face to the engine are left out.

    Raises:
        UsageError: no portrait is frontal.
    """
    rig = HeadRig.load(rig_file)
    random = np.random.default_rng(pipeline.seed + 1)
    detector, landmarker = build_detector(pipeline.detect, "cpu"), build_landmarker(pipeline.detect, "cpu")

    def measured(image: Image) -> AlignedFace | None:
        row = detect([Frame(FrameRef("head", ""), image, None)], detector, landmarker, pipeline.detect)[0]
        face = align(row, pipeline.size, pipeline.align)
        return None if isinstance(face, Failure) else face

    drawn = rig.render(FRONTAL, draw_atlas(rig)).image
    on_rig = landmarker.landmarks(drawn, detector.detect(drawn)[:1])[0]
    assert on_rig is not None, "the drawn head is found"
    frontal = [face for face in portraits if np.abs(face.pose[:2]).max() < _FRONTAL_LIMIT]
    if not frontal:
        raise UsageError("no portrait to paint synthetic heads with is frontal")
    chosen = random.permutation(len(frontal))[:_SKINS]
    skins = [face_atlas(rig, frontal[i].image, frontal[i].landmarks[:, :2], on_rig.points[:, :2]) for i in chosen]
    faces, names = [], []
    for number in range(_HEADS):
        head = _random_head(rig, random)
        for view in range(_VIEWS):
            yaw, pitch = (0, 0) if view < _FRONTAL_VIEWS else random.uniform((-_YAW, -_PITCH), (_YAW, _PITCH))
            posed = replace(head, yaw=float(yaw), pitch=float(pitch), background=random_background(head.size, random))
            face = measured(rig.render(posed, skins[number % len(skins)]).image)
            if face is not None:
                faces.append(face)
                names.append(f"head {number}")
    shapes, poses = measured_shape(np.stack([face.landmarks for face in faces]))
    return TurnedHeads(faces, shapes, poses, np.array(names))


def _random_head(rig: HeadRig, random: np.random.Generator) -> HeadParams:
    """Anybody, in a blend of the rig's expression shapes of which some have one side only, under some light."""
    chosen = random.choice(len(rig.expression_names), random.integers(_MOST_SHAPES + 1), replace=False)
    weights = {rig.expression_names[index]: float(random.uniform(0, 1)) for index in chosen}
    one_sided = {name: weight for name, weight in weights.items() if name[-2:] in ("_L", "_R")}
    both_sides = {name[:-1] + side: weight for name, weight in one_sided.items() for side in "LR"}
    ambient = float(random.uniform(0.3, 0.7))
    return HeadParams(
        expression=weights | both_sides if random.random() < 0.7 else weights,
        identity=random.standard_normal(len(rig.identity_deltas)).tolist(),
        distance=float(random.uniform(60, 200)),
        size=384,
        extent=float(random.uniform(32, 42)),
        light=(float(random.uniform(-1, 1)), float(random.uniform(-0.3, 0.9)), 1.0),
        ambient=ambient,
        diffuse=1.05 - ambient,
    )


def random_background(size: int, random: np.random.Generator) -> Image:
    """Soft patches of any colours, or one colour."""
    count = int(random.integers(1, _BLOBS))
    patches = random.integers(0, 256, (count, count, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(patches, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)
