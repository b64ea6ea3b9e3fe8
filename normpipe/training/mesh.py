"""Topology of the 468-point face mesh: triangles, the strips that close eyes and mouth, and which points mirror which.

MediaPipe publishes the mesh as a list of edges (FaceLandmarksConnections in its package, Apache-2.0). The triangles are the
3-cycles of these edges, without the two that merely surround others. The mirror is read off the mean shape, which is symmetric.
"""

from collections import Counter
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from normpipe.batches import Floats

# Contours from corner to corner: upper then lower, as seen in the image.
_MOUTH = ((78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308), (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308))
_LEFT_EYE = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133))
_RIGHT_EYE = ((263, 466, 388, 387, 386, 385, 384, 398, 362), (263, 249, 390, 373, 374, 380, 381, 382, 362))

Triangles = NDArray[np.int32]


def skin_triangles(points: Floats) -> Triangles:
    """(852, 3) int32, clockwise in the picture of the frontal (468, 2 or 3) points; eyes and mouth are holes.

    Raises:
        ModuleNotFoundError: mediapipe is not installed.
    """
    from mediapipe.tasks.python.vision import FaceLandmarksConnections

    edges = {tuple(sorted((edge.start, edge.end))) for edge in FaceLandmarksConnections.FACE_LANDMARKS_TESSELATION}
    neighbours: dict[int, set[int]] = {}
    for first, second in edges:
        neighbours.setdefault(first, set()).add(second)
        neighbours.setdefault(second, set()).add(first)
    cycles = sorted(
        {tuple(sorted((first, second, third))) for first, second in edges for third in neighbours[first] & neighbours[second]}
    )
    uses = Counter(edge for cycle in cycles for edge in combinations(cycle, 2))
    # In a surface an edge has at most two sides: a cycle whose every edge has three is no face of it.
    faces = [cycle for cycle in cycles if not all(uses[edge] == 3 for edge in combinations(cycle, 2))]
    return _clockwise(np.array(faces, np.int32), points)


def mouth_triangles() -> Triangles:
    """(18, 3) int32 strip across the mouth."""
    return _strip(*_MOUTH)


def eye_triangles() -> Triangles:
    """(28, 3) int32 strips across the image-left eye and then the image-right eye."""
    return np.concatenate([_strip(*_LEFT_EYE), _strip(*_RIGHT_EYE)])


def _strip(upper: tuple[int, ...], lower: tuple[int, ...]) -> Triangles:
    rungs = list(pairwise(zip(upper, lower, strict=True)))
    triangles = [(a, b, c) for (a, c), (b, _) in rungs] + [(b, d, c) for (_, c), (b, d) in rungs]
    return np.array([triangle for triangle in triangles if len(set(triangle)) == 3], np.int32)


def _clockwise(triangles: Triangles, points: Floats) -> Triangles:
    corners = points[triangles][..., :2]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    inverted = first[:, 0] * second[:, 1] < first[:, 1] * second[:, 0]
    turned = triangles.copy()
    turned[inverted] = turned[inverted][:, [0, 2, 1]]
    return turned
