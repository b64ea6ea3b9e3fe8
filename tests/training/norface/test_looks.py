"""What mean_face reads: the coefficients that its renderer draws from, steadier for several looks."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures.portraits import SMILE, landmarks, mirror_index, mirrored, portrait, turned

from normpipe.config import Detect
from normpipe.faces.build import build_landmarker
from normpipe.normalizers.mean_face.expression import compressed, expression_of
from normpipe.normalizers.mean_face.model import load_model
from normpipe.training.norface.examples import DETAIL_TERMS, SHAPE_TERMS
from normpipe.training.norface.looks import mouth_opening, read_face, steadied


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture(scope="module")
def landmarker():
    return build_landmarker(Detect(), "cpu")


def smiling(model, yaw=8.0):
    return portrait(model, turned(landmarks(SMILE), yaw=yaw))


def test_the_coefficients_are_those_that_are_drawn(model):
    face = smiling(model)
    read, drawn = read_face(face, model), expression_of(face, model)
    assert read.shape.shape == (SHAPE_TERMS,)
    assert read.detail.shape == (DETAIL_TERMS,)
    offsets = compressed((read.shape @ model.shape_out).reshape(-1, 2), float(model.offset_limit[0]))
    np.testing.assert_allclose(offsets, drawn.offsets, atol=1e-5)
    np.testing.assert_allclose(read.detail @ model.detail_out, drawn.detail[model.detail_mask], atol=1e-5)


class _Shaky:
    """The landmarker, a few pixels off at random."""

    fingerprint = "shaky"

    def __init__(self, landmarker):
        self._landmarker = landmarker
        self._random = np.random.default_rng(1)

    def landmarks(self, image, detections):
        return [
            found and replace(found, points=found.points + self._random.normal(0, 2, found.points.shape).astype(np.float32))
            for found in self._landmarker.landmarks(image, detections)
        ]


def test_several_looks_see_the_same_face_and_steadier(model, landmarker):
    face = smiling(model)
    calm = steadied(face, landmarker, np.random.default_rng(0))
    assert np.abs(calm.landmarks - face.landmarks)[:, :2].mean() < 4, "the drawn truth, in pixels of 256"
    shaky = steadied(face, _Shaky(landmarker), np.random.default_rng(0))
    error = (shaky.landmarks - calm.landmarks)[:, :2].std()
    assert error == pytest.approx(2 / np.sqrt(8), rel=0.2)


def test_both_sides_are_looked_at_alike(model, landmarker):
    face = smiling(model)
    other = replace(face, image=np.ascontiguousarray(face.image[:, ::-1]), landmarks=mirrored(face.landmarks))
    here, there = (steadied(one, landmarker, np.random.default_rng(0)).landmarks for one in (face, other))
    assert np.abs(mirrored(there) - here)[:, :2].mean() < 0.5
    single = landmarker.landmarks  # one look errs more
    assert single is not None
    offsets = [
        (read_face(replace(one, landmarks=points), model).shape @ model.shape_out).reshape(-1, 2)
        for one, points in ((face, here), (other, there))
    ]
    back = offsets[1][mirror_index()] * [-1, 1]
    assert np.corrcoef(back.ravel(), offsets[0].ravel())[0, 1] > 0.95


def test_the_same_generator_gives_the_same_looks(model, landmarker):
    first, second = (steadied(smiling(model), landmarker, np.random.default_rng(5)).landmarks for _ in range(2))
    np.testing.assert_array_equal(first, second)


class _Blind:
    fingerprint = "blind"

    def landmarks(self, image, detections):
        return [None for _ in detections]


def test_where_no_look_shows_a_face_it_stays_as_it_is(model):
    face = smiling(model)
    np.testing.assert_array_equal(steadied(face, _Blind(), np.random.default_rng(0)).landmarks, face.landmarks)


def test_a_mouths_opening_does_not_depend_on_the_size(model):
    points = np.stack([landmarks(), landmarks()])
    points[1] *= 3
    points[:, 14, 1] = points[:, 13, 1] + 0.1 * np.linalg.norm(points[:, 33, :2] - points[:, 263, :2], axis=1)
    points[:, 14, 0] = points[:, 13, 0]
    np.testing.assert_allclose(mouth_opening(points), 0.1, rtol=1e-5)
