"""Angles: the inverse of rotations, with the signs that batches.Face promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normpipe.faces.geometry import mean_shape
from normpipe.faces.pose import angles, pose, rotation

NOSE_TIP, LEFT_EYE, RIGHT_EYE = 4, 33, 263


@given(st.floats(-89, 89), st.floats(-179, 179), st.floats(-179, 179))
def test_angles_invert_rotation(yaw, pitch, roll):
    degrees = np.array([[yaw, pitch, roll]])
    np.testing.assert_allclose(angles(rotation(degrees)), degrees, atol=1e-2)


def _turned(yaw=0.0, pitch=0.0, roll=0.0):
    return (mean_shape().points @ rotation(np.array([[yaw, pitch, roll]]))[0].T).astype(np.float32)


def test_frontal_is_zero():
    np.testing.assert_allclose(pose(_turned()[None]), 0, atol=1e-3)


def test_positive_yaw_turns_the_nose_to_the_right():
    assert _turned(yaw=30)[NOSE_TIP, 0] > mean_shape().points[NOSE_TIP, 0] + 0.2
    assert pose(_turned(yaw=30)[None])[0, 0] == pytest.approx(30, abs=0.01)


def test_positive_pitch_lifts_the_nose():
    # y points down
    assert _turned(pitch=30)[NOSE_TIP, 1] < mean_shape().points[NOSE_TIP, 1] - 0.2
    assert pose(_turned(pitch=30)[None])[0, 1] == pytest.approx(30, abs=0.01)


def test_positive_roll_lowers_the_right_eye():
    turned = _turned(roll=30)
    assert turned[RIGHT_EYE, 1] > turned[LEFT_EYE, 1] + 0.5
    assert pose(turned[None])[0, 2] == pytest.approx(30, abs=0.01)


def test_undoing_the_roll_levels_the_eyes_of_any_pose():
    turned = _turned(yaw=35, pitch=-20, roll=140)
    roll = float(pose(turned[None])[0, 2])
    upright = turned @ rotation(np.array([[0, 0, -roll]]))[0].T
    left, right = upright[[LEFT_EYE, 133], 1].mean(), upright[[RIGHT_EYE, 362], 1].mean()
    assert left == pytest.approx(right, abs=1e-3)
