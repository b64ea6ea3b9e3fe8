"""What turning a head does to its measured shape, learnt where the truth is known: synthetic heads in several poses.

A landmarker sees a turned face less well, and errs the same way on everybody: noses slide, hidden cheeks are guessed. One head
in one expression has one shape, so whatever its measured shape changes from view to view is such an error.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from normpipe.batches import Floats, Frame, FrameRef
from normpipe.config import Pipeline
from normpipe.faces.build import build_detector, build_landmarker
from normpipe.normalizers.mean_face.expression import measured_shape
from normpipe.records import Failure
from normpipe.stages.detect import detect
from normpipe.synthetic.heads import HeadParams, HeadRig
from normpipe.synthetic.paint import draw_atlas

_HEADS = 80
_VIEWS = 5  # of each head, the first frontal
_YAW, _PITCH = 50.0, 15.0  # degrees, either way
_SHAPES_AT_ONCE = 4  # of the rig, for a random expression


@dataclass(frozen=True, slots=True)
class TurnedHeads:
    """Views of synthetic heads.

    Attributes:
        shapes: (n, 936) float32, see `measured_shape`.
        poses: (n, 6) float32.
        heads: (n,) str, equal for views of one head in one expression.
    """

    shapes: Floats
    poses: Floats
    heads: np.ndarray[tuple[int, ...], np.dtype[np.str_]]


def turned_heads(rig_file: Path, pipeline: Pipeline) -> TurnedHeads:
    """Render and measure random heads; views that show no face to the engine are left out."""
    rig = HeadRig.load(rig_file)
    atlas = draw_atlas(rig)
    detector, landmarker = build_detector(pipeline.detect, "cpu"), build_landmarker(pipeline.detect, "cpu")
    random = np.random.default_rng(pipeline.seed + 1)
    found, names = [], []
    for number in range(_HEADS):
        chosen = random.choice(len(rig.expression_names), _SHAPES_AT_ONCE, replace=False)
        head = HeadParams(
            expression={rig.expression_names[index]: float(random.uniform(0, 0.8)) for index in chosen},
            identity=random.standard_normal(len(rig.identity_deltas)).tolist(),
            distance=float(random.uniform(60, 200)),
            size=512,
            extent=42.0,
        )
        for view in range(_VIEWS):
            yaw, pitch = (0.0, 0.0) if view == 0 else (random.uniform(-_YAW, _YAW), random.uniform(-_PITCH, _PITCH))
            image = rig.render(replace(head, yaw=float(yaw), pitch=float(pitch)), atlas).image
            face = detect([Frame(FrameRef("head", ""), image, None)], detector, landmarker, pipeline.detect)[0].face
            if not isinstance(face, Failure):
                found.append(face.landmarks)
                names.append(f"head {number}")
    shapes, poses = measured_shape(np.stack(found))
    return TurnedHeads(shapes, poses, np.array(names))
