"""The face mesh on the rig: where the landmarker sees it, and moved by what moves the skin there."""

import numpy as np
import pytest

from normpipe.batches import Detection, Landmarks
from normpipe.config import Detect, Pipeline
from normpipe.errors import NormpipeError
from normpipe.faces import build_detector, build_landmarker
from normpipe.faces.geometry import mean_shape, mirror_points
from normpipe.normalizers.mean_face import MeanFace
from normpipe.synthetic.heads import PIVOT, project
from normpipe.synthetic.paint import FRONTAL, fit_face_atlas
from normpipe.synthetic.surface import MeshOnRig

IMAGE_LEFT_CORNER, IMAGE_RIGHT_CORNER = 61, 291  # the latter is the person's left
UPPER_LIP, LOWER_LIP, CHIN, FOREHEAD = 13, 14, 152, 10


@pytest.fixture(scope="module")
def engine():
    return build_detector(Detect(), "cpu"), build_landmarker(Detect(), "cpu")


@pytest.fixture(scope="module")
def skin(rig, engine):
    """The common face's: on the hand-drawn one, the landmarker sees the outline beside the head."""
    common = MeanFace(Pipeline())
    common.prepare("cpu")
    neutral = common.neutral()
    detector, landmarker = engine
    points = landmarker.landmarks(neutral, detector.detect(neutral)[:1])[0].points[:, :2].copy()
    return fit_face_atlas(rig, neutral, points, detector, landmarker)


@pytest.fixture(scope="module")
def mesh(rig, skin, engine):
    return MeshOnRig.fit(rig, skin, *engine)


def offsets(mesh, rig, **expression):
    return mesh.offsets(rig.vertices(expression, ()), rig.neutral)


def test_every_point_lies_within_a_triangle(mesh, rig):
    assert mesh.vertices.shape == mesh.shares.shape == (468, 3)
    assert mesh.vertices.min() >= 0
    assert mesh.vertices.max() < len(rig.neutral)
    assert mesh.shares.min() >= 0
    np.testing.assert_allclose(mesh.shares.sum(axis=1), 1, atol=1e-5)


def test_points_are_where_the_landmarker_sees_them(mesh, rig, skin, engine):
    detector, landmarker = engine
    image = rig.render(FRONTAL, skin).image
    seen = landmarker.landmarks(image, detector.detect(image)[:1])[0].points[:, :2]
    placed = project(mesh.points(rig.neutral) - PIVOT, FRONTAL)[:, :2]
    assert np.linalg.norm(placed - seen, axis=1).mean() < 6, "pixels of 1024"


def test_points_lie_on_the_face_and_on_both_sides_alike(mesh, rig):
    points = mesh.points(rig.neutral)
    assert points[:, 2].min() > 0, "before the middle of the head"
    mirrored = points[mirror_points(mean_shape().points)] * [-1, 1, 1]
    assert np.linalg.norm((mirrored - points)[:, :2], axis=1).mean() < 0.3, "cm"


def test_of_no_expression_nothing_moves(mesh, rig):
    assert not offsets(mesh, rig).any()


def test_a_smile_on_the_persons_left_lifts_the_corner_on_the_images_right(mesh, rig):
    moved = offsets(mesh, rig, mouthSmile_L=1.0)
    assert moved[IMAGE_RIGHT_CORNER, 0] > 0.03
    assert moved[IMAGE_RIGHT_CORNER, 1] < -0.03
    assert np.abs(moved[IMAGE_LEFT_CORNER]).max() < 0.02


def test_a_jaw_that_opens_parts_the_lips_and_leaves_the_forehead(mesh, rig):
    moved = offsets(mesh, rig, jawOpen=1.0)
    assert moved[CHIN, 1] > 0.2
    assert moved[LOWER_LIP, 1] - moved[UPPER_LIP, 1] > 0.2
    assert np.abs(moved[FOREHEAD]).max() < 0.01


def test_offsets_are_in_eye_distances_and_linear(mesh, rig):
    whole, half = (offsets(mesh, rig, mouthSmile_R=weight) for weight in (1.0, 0.5))
    np.testing.assert_allclose(whole, 2 * half, atol=1e-5)
    grown = mesh.offsets(3 * rig.vertices({"mouthSmile_R": 1.0}, ()), 3 * rig.neutral)
    np.testing.assert_allclose(grown, whole, atol=1e-5)


class _Blind:
    fingerprint = "blind"

    def detect(self, image) -> list[Detection]:
        return []

    def landmarks(self, image, detections) -> list[Landmarks | None]:
        return [None for _ in detections]


def test_an_engine_that_does_not_find_the_head_is_an_error_in_words(rig, atlas):
    with pytest.raises(NormpipeError, match="does not find the synthetic head"):
        MeshOnRig.fit(rig, atlas, _Blind(), _Blind())


def test_landmarks_beside_the_head_are_an_error_in_words(rig, atlas, engine):
    with pytest.raises(NormpipeError, match="landmarks beside the synthetic head"):
        MeshOnRig.fit(rig, atlas, *engine)
