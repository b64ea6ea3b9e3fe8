"""Which pixels a triangle covers, what is interpolated, what hides what."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.raster import rasterize

SQUARE = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def square(x0, y0, x1, y1, depth=5.0):
    return np.array([[x0, y0, depth], [x1, y0, depth], [x1, y1, depth], [x0, y1, depth]], np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 12), st.integers(0, 8), st.integers(1, 12), st.integers(1, 8), st.floats(0.1, 1000))
def test_a_rectangle_on_pixel_borders_covers_exactly_its_pixels(x, y, width, height, depth):
    points = square(x, y, x + width, y + height, depth)
    _, drawn = rasterize(points, SQUARE, np.ones((4, 3), np.float32), (20, 30))
    expected = np.zeros((20, 30), bool)
    expected[y : y + height, x : x + width] = True
    np.testing.assert_array_equal(drawn, expected)


def test_attributes_are_those_of_the_pixels_centre():
    points = square(2, 1, 10, 5)
    attributes = points[:, [0, 1, 2]] / 16
    values, drawn = rasterize(points, SQUARE, attributes, (8, 16))
    ys, xs = np.nonzero(drawn)
    np.testing.assert_allclose(values[drawn][:, 0] * 16, xs + 0.5, atol=1e-3)
    np.testing.assert_allclose(values[drawn][:, 1] * 16, ys + 0.5, atol=1e-3)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_triangle_hides_the_farther_one(order):
    surfaces = [(square(0, 0, 8, 8, depth=10), 0.25), (square(2, 2, 6, 6, depth=4), 0.75)]
    points = np.concatenate([surfaces[i][0] for i in order])
    attributes = np.concatenate([np.full((4, 3), surfaces[i][1], np.float32) for i in order])
    values, _ = rasterize(points, np.concatenate([SQUARE, SQUARE + 4]), attributes, (8, 8))
    assert values[4, 4, 0] == pytest.approx(0.75)
    assert values[1, 1, 0] == pytest.approx(0.25)


def test_both_sides_are_drawn():
    for triangles in (SQUARE, SQUARE[:, ::-1].copy()):
        assert rasterize(square(1, 1, 4, 4), triangles, np.ones((4, 3), np.float32), (6, 6))[1].sum() == 9


@pytest.mark.parametrize("x", [-20.0, -3.0, 5.0, 40.0])
def test_what_lies_outside_the_picture_is_cut(x):
    values, drawn = rasterize(square(x, 2, x + 6, 5), SQUARE, np.full((4, 3), 0.5, np.float32), (8, 8))
    covered = max(0, min(8, int(x) + 6) - max(0, int(x)))
    assert drawn.sum() == 3 * covered
    assert (values[~drawn] == 0).all()
