"""The crop is upright, centred and at one size whatever the pose, and its landmarks lie on its pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.batches import Face, FaceRow, Frame, FrameRef
from normpipe.config import Align, Detect
from normpipe.faces.build import build_detector
from normpipe.faces.geometry import extent, five_points, mean_shape
from normpipe.faces.pose import pose, rotation
from normpipe.records import Failure, Reason
from normpipe.stages.align import align, alignment_matrix, template, template_detection, transform
from normpipe.stages.detect import detect
from tests.fixtures import photos


def _head(scale=100.0, angles=(0.0, 0.0, 0.0), at=(300.0, 200.0)):
    turned = mean_shape().points @ rotation(np.array([angles], np.float64))[0].T
    return (scale * turned + (*at, 0)).astype(np.float32)


@pytest.mark.parametrize(("size", "margin"), [(256, 0.1), (128, 0.0), (224, 0.25)])
def test_template_is_centred_with_its_margin_free(size, margin):
    x0, y0, x1, y1 = extent(template(size, margin))
    assert (x0 + x1) / 2 == pytest.approx(size / 2, abs=1e-3)
    assert y0 == pytest.approx(margin * size, abs=1e-3)
    assert y1 == pytest.approx((1 - margin) * size, abs=1e-3)
    assert x0 >= y0


@settings(max_examples=60, deadline=None)
@given(st.floats(5, 2000), st.floats(-179, 179), st.floats(-500, 5000), st.floats(-500, 5000))
def test_a_frontal_face_lands_on_the_template(scale, roll, x, y):
    head = _head(scale, (0, 0, roll), (x, y))
    found = transform(head, alignment_matrix(head, 256, 0.1))
    np.testing.assert_allclose(found, template(256, 0.1), atol=0.5)


@settings(max_examples=60, deadline=None)
@given(st.floats(-60, 60), st.floats(-40, 40), st.floats(-179, 179))
def test_pose_changes_neither_size_nor_place_and_roll_goes(yaw, pitch, roll):
    head = _head(80, (yaw, pitch, roll))
    matrix = alignment_matrix(head, 256, 0.1)
    frontal = alignment_matrix(_head(80), 256, 0.1)
    assert np.linalg.det(matrix[:, :2]) == pytest.approx(np.linalg.det(frontal[:, :2]), rel=1e-3)
    assert matrix[0, 0] == pytest.approx(matrix[1, 1])
    assert matrix[0, 1] == pytest.approx(-matrix[1, 0])
    aligned = transform(head, matrix)
    np.testing.assert_allclose(pose(aligned[None])[0], [yaw, pitch, 0], atol=0.1)
    assert extent(aligned).min() > -0.15 * 256
    assert extent(aligned).max() < 1.15 * 256


def test_expression_does_not_move_the_crop():
    open_mouth = _head()
    lips = mean_shape().weights == 0
    open_mouth[lips] += (0, 15, 0)
    np.testing.assert_allclose(alignment_matrix(open_mouth, 256, 0.1), alignment_matrix(_head(), 256, 0.1), atol=1e-4)


def _row(image):
    engine = build_detector(Detect(), "cpu")
    return detect([Frame(FrameRef("a", "a.png"), image, None)], engine, engine, Detect())[0]


@pytest.mark.parametrize("size", [64, 256, 400])
def test_landmarks_lie_on_the_crops_pixels(size):
    row = _row(photos.astronaut())
    aligned = align(row, size, Align())
    assert aligned.image.shape == (size, size, 3)
    assert aligned.image.dtype == np.uint8
    again = _row(aligned.image)
    eyes = np.linalg.norm(five_points(aligned.landmarks)[0] - five_points(aligned.landmarks)[1])
    difference = np.linalg.norm(five_points(again.face.landmarks) - five_points(aligned.landmarks), axis=1)
    assert difference.max() < 0.06 * eyes
    assert abs(again.face.pose[2]) < 2


def test_the_known_place_spares_the_detector():
    aligned = align(_row(photos.astronaut()), 256, Align())
    engine = build_detector(Detect(), "cpu")
    found = engine.landmarks(aligned.image, [template_detection(256, 0.1)])[0]
    assert found.score > 0.9
    assert np.linalg.norm(found.points[:, :2] - aligned.landmarks[:, :2], axis=1).mean() < 2


def test_outside_the_image_is_one_colour():
    head = _head(60, at=(0, 0))
    image = np.zeros((300, 300, 3), np.uint8)
    face = Face(extent(head), five_points(head), head, pose(head[None])[0], 0.9, 0.9)
    aligned = align(FaceRow(Frame(FrameRef("a", "a"), image, None), 0, face), 128, Align())
    np.testing.assert_array_equal(aligned.image[0], np.full((128, 3), 127))
    np.testing.assert_array_equal(aligned.image[-1, -1], (0, 0, 0))


def test_failures_are_handed_on():
    no_face = Failure(Reason.NO_FACE)
    image = np.zeros((9, 9, 3), np.uint8)
    assert align(FaceRow(Frame(FrameRef("a", "a"), image, None), None, no_face), 256, Align()) is no_face
