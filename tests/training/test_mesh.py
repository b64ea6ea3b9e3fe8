"""The mesh is one sheet with three holes, and the strips close them."""

from collections import Counter

import numpy as np
import pytest

from normpipe.faces.geometry import mean_shape
from normpipe.normalizers.mean_face.model import load_model
from normpipe.training.mesh import eye_triangles, mouth_triangles, skin_triangles

POINTS = mean_shape().points


@pytest.fixture(scope="module")
def skin():
    pytest.importorskip("mediapipe", reason="needs mediapipe for the edges of its mesh")
    return skin_triangles(POINTS)


def edges(triangles):
    """How many triangles lie at each edge."""
    return Counter(tuple(sorted(pair)) for a, b, c in triangles.tolist() for pair in ((a, b), (b, c), (c, a)))


def boundary(triangles):
    return {edge for edge, uses in edges(triangles).items() if uses == 1}


def loops(pairs):
    """Sets of points of the closed lines that edges form."""
    neighbours = {}
    for first, second in pairs:
        neighbours.setdefault(first, set()).add(second)
        neighbours.setdefault(second, set()).add(first)
    assert all(len(near) == 2 for near in neighbours.values()), "every point of a boundary has two neighbours on it"
    found = []
    while neighbours:
        loop, front = set(), [next(iter(neighbours))]
        while front:
            point = front.pop()
            if point in neighbours:
                loop.add(point)
                front.extend(neighbours.pop(point))
        found.append(loop)
    return sorted(found, key=len)


def test_the_skin_is_a_sheet_with_three_holes(skin):
    assert skin.shape == (852, 3)
    assert skin.dtype == np.int32
    assert np.unique(skin).tolist() == list(range(468))
    assert set(edges(skin).values()) == {1, 2}
    vertices, sides, faces = 468, len(edges(skin)), len(skin)
    assert vertices - sides + faces == 1 - 3
    assert len({tuple(sorted(triangle)) for triangle in skin.tolist()}) == len(skin)


def test_its_rims_are_two_eyes_the_mouth_and_the_oval(skin):
    left, right, mouth, oval = loops(boundary(skin))
    assert [len(rim) for rim in (left, right, mouth, oval)] == [16, 16, 20, 36]
    assert {frozenset(left), frozenset(right)} == {frozenset(eye.ravel().tolist()) for eye in np.split(eye_triangles(), 2)}
    assert mouth == set(mouth_triangles().ravel().tolist())
    assert {10, 152} <= oval, "the oval goes over forehead and chin"


def test_the_strips_close_the_holes(skin):
    whole = np.concatenate([skin, eye_triangles(), mouth_triangles()])
    assert set(edges(whole).values()) == {1, 2}
    (oval,) = loops(boundary(whole))
    assert len(oval) == 36
    assert 468 - len(edges(whole)) + len(whole) == 1, "a disc"


@pytest.mark.parametrize(("strip", "count"), [(eye_triangles, 28), (mouth_triangles, 18)])
def test_a_strip_has_no_degenerate_triangle(strip, count):
    triangles = strip()
    assert triangles.shape == (count, 3)
    assert triangles.dtype == np.int32
    assert all(len(set(triangle)) == 3 for triangle in triangles.tolist())


def test_every_skin_triangle_runs_clockwise_in_the_picture(skin):
    a, b, c = (POINTS[skin[:, corner], :2].astype(np.float64) for corner in range(3))
    first, second = b - a, c - a
    assert (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] > 0).all()  # y points down


def test_the_triangles_of_the_shipped_arrays_are_these(skin):
    np.testing.assert_array_equal(load_model().skin_triangles, skin)
    np.testing.assert_array_equal(load_model().eye_triangles, eye_triangles())
    np.testing.assert_array_equal(load_model().mouth_triangles, mouth_triangles())
