"""Where the 468 points of the face mesh lie on the rig, so that what an expression does to them is known and not measured.

A landmarker that looks at a frown sees half of it. On the rig, each landmark is tied once to the place of the skin where the
landmarker puts it on a calm face; from then on the rig says where that place goes. Points of the inner lips are tied on a head
whose mouth is a little open: where lips are shut, upper and lower lie on one another.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from normpipe.batches import Detection, Floats, Image
from normpipe.errors import NormpipeError
from normpipe.faces.geometry import extent, five_points
from normpipe.faces.protocols import Detector, Landmarker
from normpipe.synthetic.heads import PIVOT, HeadRig, project
from normpipe.synthetic.paint import FRONTAL

_OPEN_MOUTH = {"jawOpen": 0.25}
_INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 95, 88, 178, 87, 14, 317, 402, 318, 324)
_LOOKS = 3
_EYE_CORNERS = (33, 263)  # outer ones, whose distance is the unit of a face


@dataclass(frozen=True, slots=True)
class MeshOnRig:
    """The face mesh tied to the rig's surface.

    Attributes:
        vertices: (468, 3) int32, the triangle of the rig that each point lies in.
        shares: (468, 3) float32, how much each of its corners counts; sums are 1.
    """

    vertices: NDArray[np.int32]
    shares: Floats

    @classmethod
    def fit(cls, rig: HeadRig, atlas: Image, detector: Detector, landmarker: Landmarker) -> "MeshOnRig":
        """Tie the mesh to a head painted with `atlas`.

        Raises:
            NormpipeError: the networks do not find the head, or see points beside it.
        """
        vertices, shares = _tied(rig, {}, atlas, detector, landmarker)
        lips = list(_INNER_LIPS)
        open_vertices, open_shares = _tied(rig, _OPEN_MOUTH, atlas, detector, landmarker)
        vertices[lips], shares[lips] = open_vertices[lips], open_shares[lips]
        return cls(vertices, shares)

    def points(self, vertices: Floats) -> Floats:
        """(468, 3) float32 positions on a head given by its (26719, 3) vertices."""
        placed: Floats = np.einsum("pcd,pc->pd", vertices[self.vertices], self.shares).astype(np.float32)
        return placed

    def offsets(self, vertices: Floats, neutral: Floats) -> Floats:
        """(468, 2) float32, how far an expression moves each point of the frontal face, x to the image's right and y down.

        In eye distances of the neutral head. Both heads are given by their (26719, 3) vertices, before pose.
        """
        calm = self.points(neutral)
        moved = (self.points(vertices) - calm)[:, :2] * np.array([1, -1], np.float32)
        left, right = _EYE_CORNERS
        scaled: Floats = (moved / np.linalg.norm(calm[right] - calm[left])).astype(np.float32)
        return scaled


def _tied(
    rig: HeadRig, expression: dict[str, float], atlas: Image, detector: Detector, landmarker: Landmarker
) -> tuple[NDArray[np.int32], Floats]:
    """Triangle and barycentric shares of the foremost surface under each landmark of a frontal head."""
    view = replace(FRONTAL, expression=expression)
    seen = _seen(rig.render(view, atlas).image, detector, landmarker)
    projected = project(np.asarray(rig.vertices(expression, ()) - PIVOT, np.float32), view)
    triangles = rig.corner_vertex[rig.triangles]
    first, second, third = (projected[triangles[:, corner]] for corner in range(3))
    along, across = (second - first)[:, :2], (third - first)[:, :2]
    area = _cross(along, across)
    facing = area != 0
    vertices, shares = np.empty((len(seen), 3), np.int32), np.empty((len(seen), 3), np.float32)
    for number, place in enumerate(seen):
        towards = place - first[:, :2]
        with np.errstate(divide="ignore", invalid="ignore"):
            one, two = _cross(towards, across) / area, _cross(along, towards) / area
        under = np.flatnonzero(facing & (one >= 0) & (two >= 0) & (one + two <= 1))
        if not len(under):
            raise NormpipeError("the face engine sees landmarks beside the synthetic head: paint it with a clearer face")
        weights = np.column_stack([1 - one[under] - two[under], one[under], two[under]])
        depths = np.column_stack([first[under, 2], second[under, 2], third[under, 2]])
        foremost = (weights * depths).sum(axis=1).argmin()
        vertices[number], shares[number] = triangles[under[foremost]], weights[foremost]
    return vertices, shares


def _seen(image: Image, detector: Detector, landmarker: Landmarker) -> Floats:
    """(468, 2) landmarks, looked for again where they were found until they stand still."""
    detections = detector.detect(image)[:1]
    points: Floats | None = None
    for _ in range(_LOOKS):
        found = landmarker.landmarks(image, detections)[0] if detections else None
        if found is None:
            raise NormpipeError("the face engine does not find the synthetic head: use another detector")
        points = found.points
        detections = [Detection(extent(points), 1.0, five_points(points)[:2])]
    assert points is not None
    return points[:, :2]


def _cross(first: Floats, second: Floats) -> Floats:
    crossed: Floats = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    return crossed
