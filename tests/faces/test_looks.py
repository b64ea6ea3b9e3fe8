"""Looking more than once: the same face, seen steadier, and alike on both sides."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures.portraits import SMILE, landmarks, mirror_index, mirrored, portrait, turned

from normpipe.batches import Detection
from normpipe.config import Detect
from normpipe.faces.build import build_landmarker
from normpipe.faces.geometry import extent, five_points
from normpipe.faces.looks import seen_twice, steadied
from normpipe.normalizers.mean_face.expression import read_face
from normpipe.normalizers.mean_face.model import load_model


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture(scope="module")
def landmarker():
    return build_landmarker(Detect(), "cpu")


def smiling(model, yaw=8.0):
    return portrait(model, turned(landmarks(SMILE), yaw=yaw))


def in_a_mirror(face):
    return replace(face, image=np.ascontiguousarray(face.image[:, ::-1]), landmarks=mirrored(face.landmarks))


def look(face, landmarker):
    """The landmarks that one look at the crop finds."""
    seen = Detection(extent(face.landmarks), 1.0, five_points(face.landmarks)[:2])
    return landmarker.landmarks(face.image, [seen])[0].points


def test_a_second_look_is_the_mirror_images_and_counts_as_much_as_the_first(model, landmarker):
    face = smiling(model)
    twice = seen_twice(face, landmarker)
    expected = (face.landmarks + mirrored(look(in_a_mirror(face), landmarker))) / 2
    np.testing.assert_allclose(twice.landmarks, expected, atol=1e-4)
    assert twice.landmarks.dtype == np.float32
    np.testing.assert_array_equal(twice.image, face.image)
    np.testing.assert_array_equal(twice.landmarks, seen_twice(face, landmarker).landmarks)
    assert (twice.landmarks != face.landmarks).any()


@pytest.mark.parametrize("yaw", [0.0, 8.0, 20.0])
def test_a_face_and_its_mirror_image_are_seen_alike_by_two_looks(model, landmarker, yaw):
    drawn = smiling(model, yaw)
    here, there = (replace(one, landmarks=look(one, landmarker)) for one in (drawn, in_a_mirror(drawn)))
    once = np.abs(mirrored(there.landmarks) - here.landmarks)[:, :2].mean()
    twice = np.abs(mirrored(seen_twice(there, landmarker).landmarks) - seen_twice(here, landmarker).landmarks)[:, :2].mean()
    assert once > 0.5, "one look errs otherwise in a mirror"
    assert twice < 0.4 * once


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
    other = in_a_mirror(face)
    here, there = (steadied(one, landmarker, np.random.default_rng(0)).landmarks for one in (face, other))
    assert np.abs(mirrored(there) - here)[:, :2].mean() < 0.5
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
    np.testing.assert_array_equal(seen_twice(face, _Blind()).landmarks, face.landmarks)
