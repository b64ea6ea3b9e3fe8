"""Warps: the picture moves as the rig says, and nothing is said of gaze."""

from dataclasses import replace

import numpy as np
import pytest

from normpipe.batches import Detection
from normpipe.faces.geometry import extent, five_points
from normpipe.training.norface.examples import EXPRESSION_SHAPES, Kind
from normpipe.training.norface.expressions import of_gaze
from normpipe.training.norface.warps import WARPS_PER_PERSON, WarpMaker

IMAGE_LEFT_CORNER, IMAGE_RIGHT_CORNER = 61, 291  # the latter is the person's left
CHIN, FOREHEAD = 152, 10


@pytest.fixture(scope="module")
def maker(rig, portraits):
    return WarpMaker.prepared(rig, portraits, 0, 128)


@pytest.fixture(scope="module")
def calm(maker):
    return maker.run.face(int(maker.calm[0])).face


@pytest.fixture(scope="module")
def first(maker):
    return list(maker.examples(0, 4))


def weights(maker, **given):
    values = np.zeros(EXPRESSION_SHAPES, np.float32)
    for name, value in given.items():
        values[maker.rig.expression_names.index(name)] = value
    return values


def seen(maker, image, points):
    place = Detection(extent(points), 1.0, five_points(points)[:2])
    return maker.landmarker.landmarks(image, [place])[0].points


def test_of_nothing_done_the_picture_stays(maker, calm):
    image, points = maker.warped(calm, weights(maker))
    np.testing.assert_allclose(points, calm.landmarks, atol=1e-4)
    assert np.abs(image.astype(int) - calm.image).mean() < 0.5


def test_the_landmarker_sees_what_the_rig_does(maker, calm):
    before = seen(maker, calm.image, calm.landmarks)
    wanted, found = [], []
    for done in (
        {"mouthSmile_L": 1.0, "mouthSmile_R": 1.0},
        {"mouthSmile_L": 1.0},
        {"jawOpen": 0.7},
        {"mouthFrown_L": 1.0, "mouthFrown_R": 1.0},
        {"browInnerUp_L": 1.0, "browInnerUp_R": 1.0, "browOuterUp_L": 1.0, "browOuterUp_R": 1.0},
        {"browDown_L": 1.0, "browDown_R": 1.0, "jawOpen": 0.5},
        {"mouthLeft": 1.0},
    ):
        image, points = maker.warped(calm, weights(maker, **done))
        wanted.append((points - calm.landmarks)[:, :2].ravel())
        found.append((seen(maker, image, points) - before)[:, :2].ravel())
    each = [np.corrcoef(*pair)[0, 1] for pair in zip(wanted, found, strict=True)]
    assert min(each) > 0.5, "of a frown, it sees half"
    assert np.corrcoef(np.concatenate(wanted), np.concatenate(found))[0, 1] > 0.7


def test_a_smile_on_the_persons_left_lifts_the_corner_on_the_images_right(maker, calm):
    _, points = maker.warped(calm, weights(maker, mouthSmile_L=1.0))
    moved = (points - calm.landmarks)[:, :2]
    assert moved[IMAGE_RIGHT_CORNER, 0] > 2
    assert moved[IMAGE_RIGHT_CORNER, 1] < -2
    assert np.abs(moved[IMAGE_LEFT_CORNER]).max() < 1.5


def test_an_opening_mouth_shows_what_is_behind_the_lips(maker, calm):
    done = weights(maker, jawOpen=0.8)
    image, points = maker.warped(calm, done)
    plain = maker._moved_picture(calm, points)
    (x, top), (_, bottom) = points[[13, 14], :2].round().astype(int)
    assert bottom - top > 10
    changed = np.abs(image.astype(int) - plain)
    assert changed[top:bottom, x - 8 : x + 8].mean() > 8, "not the lips drawn out"
    assert not changed[: top - 4].any()
    assert not changed[bottom + 8 :].any()


def test_the_surroundings_follow_and_the_rim_stays(maker, calm):
    image, _ = maker.warped(calm, weights(maker, jawOpen=0.6))
    changed = np.abs(image.astype(int) - calm.image).mean(axis=2)
    assert changed[:8].mean() < 0.5
    assert changed[:, :8].mean() < 1


def test_a_warp_is_an_example_that_says_nothing_of_gaze(maker, first):
    gaze = of_gaze(maker.rig.expression_names)
    for number, warp in enumerate(first):
        assert warp.example_id == f"warp-{number:07d}"
        assert warp.kind is Kind.WARP
        assert warp.image.shape == (128, 128, 3)
        np.testing.assert_array_equal(np.isnan(warp.expression), gaze)
        assert 0.3 < warp.landmarks[:, :2].mean() < 0.7
    assert len({warp.image.tobytes() for warp in first}) > 1


def test_a_warp_is_of_the_person_in_the_portrait(maker, first):
    assert {warp.person for warp in first} == {maker.run.face(int(maker.calm[0])).person}
    assert len(first) < WARPS_PER_PERSON


def test_a_warp_follows_from_seed_and_number_alone(maker, first):
    alone = next(maker.examples(2, 3))
    np.testing.assert_array_equal(alone.image, first[2].image)
    np.testing.assert_array_equal(alone.shape, first[2].shape)
    other = next(replace(maker, seed=1).examples(2, 3))
    assert (other.image != alone.image).any()
