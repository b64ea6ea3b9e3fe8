"""Regions map to the image and back, and cut what they say."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normpipe.faces.geometry import mean_shape
from normpipe.faces.pose import rotation
from normpipe.faces.regions import Border, Region, warp


def _gradient(width: int, height: int) -> np.ndarray:
    """Red is x, green is y, of the pixel's centre."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([x, y, np.zeros_like(x)], axis=-1).round().astype(np.uint8)


def test_corners_of_an_upright_region():
    region = Region(10, 20, 4)
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
    np.testing.assert_allclose(region.to_image(corners), [[8, 18], [12, 18], [8, 22], [12, 22]])


def test_depth_is_scaled_with_the_side():
    assert Region(0, 0, 50, 1.0).to_image(np.array([[0.5, 0.5, 0.2]], np.float32))[0, 2] == pytest.approx(10)


@given(st.floats(-3, 3))
def test_an_eye_line_becomes_level(angle):
    eyes = np.array([[0, 0], [math.cos(angle), math.sin(angle)]], np.float32) * 10 + 50
    region = Region.around(np.array([40, 40, 60, 60], np.float32), eyes, 1.5)
    matrix = np.vstack([region.matrix(), [0, 0, 1]])
    left, right = (np.linalg.inv(matrix) @ [*eye, 1] for eye in eyes)
    assert left[1] == pytest.approx(right[1], abs=1e-4)
    assert left[0] < right[0]


@pytest.mark.parametrize("degrees", [0, 40, 100, 180, -90])
def test_region_of_a_face_turns_and_grows_with_it(degrees):
    turned = (100 * mean_shape().points @ rotation(np.array([[0.0, 0, degrees]]))[0].T + 300).astype(np.float32)
    region = Region.of_face(turned, 1.5)
    upright = Region.of_face(100 * mean_shape().points, 1.5)
    assert math.degrees(math.remainder(region.angle - math.radians(degrees), math.tau)) == pytest.approx(0, abs=0.1)
    assert region.side == pytest.approx(upright.side, rel=1e-4)


@pytest.mark.parametrize("side", [50.0, 90.0, 160.0, 230.0])
def test_cut_samples_the_right_places(side):
    region = Region(120, 110, side)
    cut = region.cut(_gradient(240, 220), 48, Border.REPLICATE).astype(float)
    at = (np.arange(48) + 0.5) / 48
    inside = slice(12, 36)
    np.testing.assert_allclose(cut[24, inside, 0], (120 + (at - 0.5) * side)[inside], atol=1.1)
    np.testing.assert_allclose(cut[inside, 24, 1], (110 + (at - 0.5) * side)[inside], atol=1.1)


def test_shrinking_does_not_alias():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    cut = Region(256, 256, 512).cut(stripes, 64, Border.REPLICATE)
    assert np.ptp(cut[8:-8, 8:-8].astype(int)) <= 2, "one-pixel stripes are grey from afar"


def test_outside_is_the_border_colour():
    image = np.full((10, 10, 3), 200, np.uint8)
    matrix = np.array([[1.0, 0, 20], [0, 1.0, 20]])
    out = warp(image, matrix, 50, Border.CONSTANT, (1, 2, 3))
    np.testing.assert_array_equal(out[0, 0], (1, 2, 3))
    np.testing.assert_array_equal(out[25, 25], (200, 200, 200))


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (3000, 2), (7, 900)])
def test_odd_shapes_are_cut_without_error(shape):
    image = np.full((*shape, 3), 90, np.uint8)
    cut = Region(shape[1] / 2, shape[0] / 2, max(shape)).cut(image, 128, Border.REPLICATE)
    assert cut.shape == (128, 128, 3)
    assert (cut == 90).all()


def test_threads_of_opencv_are_limited():
    assert cv2.getNumThreads() == 1
