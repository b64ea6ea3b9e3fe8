"""Plain measures of expression: linear, blind to where the face lies, alike on both sides, and named rightly."""

import numpy as np
import pytest
from fixtures.portraits import Expression
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.faces.geometry import mean_shape, mirror_points
from normpipe.training.measures import Region, expression_measures, measure_regions

MIRROR = mirror_points(mean_shape().points)
ONE_SIDED, MIDDLE = 12, 8
LEFT, RIGHT = slice(0, ONE_SIDED), slice(ONE_SIDED, 2 * ONE_SIDED)
INNER_BROW, UPPER_LID, CORNER_HEIGHT, CORNER_STRETCH = 0, 3, 6, 7  # of a side
OPENING, JAW = 2 * ONE_SIDED + 2, 2 * ONE_SIDED + 5


def shapes(seed, count=3):
    return np.random.default_rng(seed).normal(0, 0.1, (count, 936)).astype(np.float32)


def measure(values):
    return expression_measures(values, MIRROR)


def of(expression):
    return measure(expression.offsets().reshape(1, -1))[0]


def reflected(values):
    return (values.reshape(-1, 468, 2)[:, MIRROR] * np.array([-1, 1], np.float32)).reshape(values.shape)


def test_there_is_a_dozen_per_side_and_some_in_the_middle():
    found = measure(shapes(0))
    assert found.shape == (3, 2 * ONE_SIDED + MIDDLE)
    assert found.dtype == np.float32
    assert (measure(np.zeros((1, 936), np.float32)) == 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(0, 999), st.floats(-3, 3), st.floats(-3, 3))
def test_measures_are_linear(first, second, a, b):
    combined = measure((a * shapes(first) + b * shapes(second)).astype(np.float32))
    np.testing.assert_allclose(combined, a * measure(shapes(first)) + b * measure(shapes(second)), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.floats(-2, 2), st.floats(-2, 2))
def test_moving_the_whole_face_is_no_expression(seed, x, y):
    moved = shapes(seed) + np.tile(np.array([x, y], np.float32), 468)
    np.testing.assert_allclose(measure(moved), measure(shapes(seed)), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999))
def test_a_mirrored_face_has_its_sides_exchanged(seed):
    here, there = measure(shapes(seed)), measure(reflected(shapes(seed)))
    np.testing.assert_allclose(np.abs(there[:, LEFT]), np.abs(here[:, RIGHT]), atol=1e-5)
    np.testing.assert_allclose(np.abs(there[:, RIGHT]), np.abs(here[:, LEFT]), atol=1e-5)
    np.testing.assert_allclose(there[:, 2 * ONE_SIDED :], here[:, 2 * ONE_SIDED :], atol=1e-5)
    heights = [CORNER_HEIGHT, INNER_BROW, UPPER_LID]
    np.testing.assert_allclose(there[:, heights], here[:, [ONE_SIDED + height for height in heights]], atol=1e-5)


def test_each_measure_sees_what_it_is_named_after():
    assert of(Expression(brows=0.2))[INNER_BROW] < -0.05  # up
    assert of(Expression(brows=0.2))[ONE_SIDED + INNER_BROW] < -0.05
    assert of(Expression(lids=0.1))[UPPER_LID] < -0.02
    assert of(Expression(jaw=0.4))[OPENING] > 0.1
    assert of(Expression(jaw=0.4))[JAW] > 0.05
    grin = of(Expression(left_corner=0.2))
    assert grin[CORNER_HEIGHT] < -0.1
    assert grin[CORNER_STRETCH] < -0.1  # to the image's left
    assert abs(grin[ONE_SIDED + CORNER_HEIGHT]) < 0.25 * abs(grin[CORNER_HEIGHT])


def test_every_measure_belongs_to_a_region_of_the_face():
    regions = measure_regions(MIRROR)
    assert regions.shape == (2 * ONE_SIDED + MIDDLE,)
    np.testing.assert_array_equal(regions[LEFT], regions[RIGHT])
    assert regions[[INNER_BROW, UPPER_LID, CORNER_HEIGHT, OPENING, JAW]].tolist() == [
        Region.BROW,
        Region.EYE,
        Region.MOUTH,
        Region.MOUTH,
        Region.MOUTH,
    ]


@pytest.mark.parametrize(
    ("points", "region"),
    [
        ((70, 63, 105, 66, 107, 46, 53, 52, 65, 55), Region.BROW),
        ((158, 159, 160), Region.EYE),
        ((144, 145, 153), Region.EYE),
        ((61,), Region.MOUTH),
        ((13, 40, 39, 0), Region.MOUTH),
        ((152,), Region.MOUTH),
    ],
    ids=["brow", "upper lid", "lower lid", "lip corner", "upper lip", "chin"],
)
def test_what_moves_alone_is_measured_in_its_region_alone(points, region):
    shape = np.zeros((1, 468, 2), np.float32)
    shape[0, list(points)] = (0.05, -0.1)
    changed = np.abs(measure(shape.reshape(1, -1))[0]) > 1e-6
    assert changed.any()
    assert set(measure_regions(MIRROR)[changed].tolist()) == {region}


@pytest.mark.parametrize("measure_of", range(2 * ONE_SIDED + MIDDLE))
def test_no_measure_is_blind_or_a_copy_of_another(measure_of):
    found = measure(shapes(0, 400))
    assert found[:, measure_of].std() > 0.01
    correlations = np.corrcoef(found.T)[measure_of]
    assert np.sum(np.abs(correlations) > 0.999) == 1
