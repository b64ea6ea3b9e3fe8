"""The mean face: a known face comes back from turned, scaled, noisy copies, symmetric, level and at unit size."""

import numpy as np
import pytest

from normpipe.faces.geometry import mean_shape, mirror_points
from normpipe.faces.pose import pose, rotation
from normpipe.training.face_shape import RIGID_POINTS, level, mean_face, symmetric

MIRROR = mirror_points(mean_shape().points)
WEIGHTS = np.isin(np.arange(468), RIGID_POINTS).astype(np.float64)
EYES = ((33, 133), (362, 263))
NOISE = 0.02  # eye distances


def known_face():
    """(468, 3) symmetric face with wider and lower cheeks than the mean's, eyes at distance 1 about the origin."""
    points = mean_shape().points.astype(np.float64)
    face = points.copy()
    for cheek, side in ((50, -1), (280, 1)):
        near = np.exp(-((points - points[cheek]) ** 2).sum(axis=1) / (2 * 0.4**2))
        face += near[:, None] * np.array([side * 0.15, 0.05, 0.1])
    face = (face + face[MIRROR] * [-1, 1, 1]) / 2
    left, right = (face[list(corners)].mean(axis=0) for corners in EYES)
    return (face - (left + right) / 2) / np.linalg.norm(right - left)


KNOWN = known_face()


def copies(count, seed, yaw, pitch, roll, noise=NOISE):
    """The known face (count, 468, 3) times, turned up to the given degrees, anywhere, in any size, each point displaced."""
    random = np.random.default_rng(seed)
    turns = rotation(random.uniform(-1, 1, (count, 3)) * [yaw, pitch, roll])
    noisy = KNOWN + random.normal(0, noise, (count, 468, 3))
    sizes, places = random.uniform(50, 200, (count, 1, 1)), random.uniform(-300, 300, (count, 1, 3))
    return np.einsum("nij,npj->npi", turns, noisy) * sizes + places


@pytest.fixture(scope="module")
def portraits():
    """Turned to both sides and tilted, but neither up nor down."""
    return copies(60, 1, yaw=15, pitch=0, roll=20)


@pytest.fixture(scope="module")
def fitted(portraits):
    faces = copies(60, 0, yaw=40, pitch=25, roll=180)
    return level(symmetric(mean_face(faces, WEIGHTS)), portraits, WEIGHTS)


def rms(values):
    return float(np.sqrt((values**2).mean()))


def test_the_known_face_comes_back(fitted):
    assert np.abs(fitted - KNOWN).max() < NOISE
    assert rms(fitted - KNOWN) < 0.25 * NOISE, "sixty faces and both sides average most of the noise"
    assert rms(fitted - KNOWN) < 0.1 * rms(mean_shape().points - KNOWN), "and not the mean face that is there already"


def test_without_noise_it_comes_back_to_the_last_digits():
    faces, portraits = copies(5, 0, 40, 25, 180, noise=0), copies(5, 1, 15, 0, 20, noise=0)
    np.testing.assert_allclose(level(symmetric(mean_face(faces, WEIGHTS)), portraits, WEIGHTS), KNOWN, atol=1e-5)


def test_both_sides_are_each_others_mirror_image(fitted):
    np.testing.assert_allclose(fitted[MIRROR] * [-1, 1, 1], fitted, atol=1e-6)


def test_the_mean_alone_is_neither_symmetric_nor_upright():
    mean = mean_face(copies(60, 0, yaw=40, pitch=25, roll=180), WEIGHTS)
    assert np.abs(mean[MIRROR] * [-1, 1, 1] - mean).max() > 0.1


def test_the_eyes_are_at_distance_1_about_the_origin(fitted):
    left, right = (fitted[list(corners)].mean(axis=0) for corners in EYES)
    np.testing.assert_allclose(right - left, [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(left + right, 0, atol=1e-6)


def test_symmetry_is_of_the_shape_and_takes_sides_alike():
    """A bump on one cheek is half a bump on both."""
    bumped = KNOWN.copy()
    near = np.exp(-((KNOWN - KNOWN[50]) ** 2).sum(axis=1) / (2 * 0.1**2))
    bumped[:, 2] -= 0.05 * near
    found = level(symmetric(bumped), copies(5, 4, yaw=0, pitch=0, roll=0, noise=0), WEIGHTS)
    expected = KNOWN.copy()
    expected[:, 2] -= 0.025 * (near + near[MIRROR])
    assert rms(found - expected) < 0.1 * rms(bumped - KNOWN)


@pytest.mark.parametrize("pitch", [-10, 5, 20])
def test_portraits_decide_what_is_level(pitch):
    """Whichever way the face was pitched before, afterwards portraits that look ahead have no pitch."""
    turn = rotation(np.array([[0.0, pitch, 0.0]], np.float32))[0]
    ahead = copies(20, 2, yaw=0, pitch=0, roll=0)
    found = level(KNOWN @ turn.T, ahead, WEIGHTS)
    np.testing.assert_allclose(found, KNOWN, atol=0.01)


def test_only_rigid_points_move_faces_onto_each_other():
    """A jaw that drops in half of the faces lowers the mean's chin by half, and turns or shifts nothing else."""
    faces = copies(40, 3, yaw=0, pitch=0, roll=0, noise=0)
    scale = np.linalg.norm(faces[:, 263] - faces[:, 33], axis=1) / np.linalg.norm(KNOWN[263] - KNOWN[33])
    faces[::2, 152, 1] += 0.4 * scale[::2]
    mean = mean_face(faces, WEIGHTS)
    others = np.arange(468) != 152
    np.testing.assert_allclose(mean[others], KNOWN[others], atol=1e-5)
    assert mean[152, 1] - KNOWN[152, 1] == pytest.approx(0.2, abs=1e-5)


def test_the_shipped_face_is_of_this_form():
    shape = mean_shape()
    np.testing.assert_array_equal(np.nonzero(shape.weights)[0], np.sort(RIGID_POINTS))
    np.testing.assert_allclose(shape.points[MIRROR] * [-1, 1, 1], shape.points, atol=1e-6)
    left, right = (shape.points[list(corners)].mean(axis=0) for corners in EYES)
    np.testing.assert_allclose(right - left, [1, 0, 0], atol=1e-6)
    assert np.abs(pose(shape.points[None])).max() < 1e-3
