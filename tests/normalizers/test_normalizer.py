"""A rendered face: frontal, symmetric, on its background, and a function of nothing but the face and the options."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from fixtures.faces import noise
from fixtures.photos import astronaut
from fixtures.portraits import SIZE, aligned, hull_mask, landmarks, mirror_index, portrait, turned
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from normpipe.batches import Frame, FrameRef
from normpipe.config import Align, Detect, Normalize, Pipeline
from normpipe.faces.build import build_detector, build_landmarker
from normpipe.faces.pose import pose
from normpipe.normalizers.mean_face import MeanFace
from normpipe.normalizers.mean_face.expression import expression_of, measured_shape
from normpipe.normalizers.mean_face.model import load_model, save_model
from normpipe.records import Failure, Reason
from normpipe.stages.align import align, template, template_detection, template_map
from normpipe.stages.detect import detect
from normpipe.training.measures import expression_measures

from .conftest import prepared

RENDERER = prepared()
WALL = hull_mask(landmarks(), SIZE, margin=4)


def difference(first, second):
    return np.abs(first.astype(int) - second.astype(int))


@pytest.fixture(scope="module")
def photo():
    """A real face with a broad smile."""
    engine = build_detector(Detect(), "cpu")
    row = detect([Frame(FrameRef("a", "a.png"), astronaut(), None)], engine, engine, Detect())[0]
    return align(row, SIZE, Align())


@pytest.fixture(scope="module")
def measure():
    """Landmarks that the embedded network finds on a rendered picture."""
    landmarker = build_landmarker(Detect(), "cpu")
    return lambda image: landmarker.landmarks(image, [template_detection(image.shape[0], 0.1)])[0]


def test_the_face_without_expression_is_symmetric(renderer):
    neutral = renderer.neutral()
    asymmetry = difference(neutral, neutral[:, ::-1])
    assert np.percentile(asymmetry, 99) <= 1
    assert asymmetry.mean() < 0.2
    assert asymmetry.max() < 12


def test_the_face_without_expression_is_a_frontal_face_without_expression(renderer, measure, model):
    found = measure(renderer.neutral())
    assert found.score > 0.9
    yaw, pitch, roll = pose(found.points[None])[0]
    assert abs(yaw) < 2
    assert abs(pitch) < 3
    assert abs(roll) < 2
    assert np.abs(expression_of(aligned(renderer.neutral(), found.points), model).offsets).max() < 0.1


def test_a_real_smile_is_still_a_smile_and_no_weaker(renderer, measure, photo, model):
    """By the plain measures of the landmarks; how much stronger than life is the fit's choice, within reason."""
    shapes, terms = measured_shape(np.stack([photo.landmarks, measure(renderer.render(photo)).points]))
    neutral = (shapes - terms @ model.pose_effect - model.shape_offset).astype(np.float32)
    wanted, got = expression_measures(neutral, mirror_index())
    assert np.corrcoef(wanted, got)[0, 1] > 0.85
    assert 0.7 < (wanted * got).sum() / (wanted**2).sum() < 2.5


def test_a_turned_head_is_rendered_frontal(renderer, measure, model):
    for yaw, pitch in ((30, 0), (-20, 10), (0, -15)):
        image = renderer.render(portrait(model, turned(landmarks(), yaw, pitch)))
        found = measure(image)
        assert found.score > 0.9
        assert np.abs(pose(found.points[None])[0]).max() < 6


def test_every_face_gets_its_own_picture_whatever_its_batch(renderer, model):
    faces = [aligned(noise(seed), turned(landmarks(), 5 * seed)) for seed in range(3)]
    together = renderer.normalize(faces)
    backwards = renderer.normalize(faces[::-1])[::-1]
    for face, first, second in zip(faces, together, backwards, strict=True):
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, renderer.render(face))
        np.testing.assert_array_equal(first, prepared().render(face))
    assert not np.array_equal(together[0], together[1])
    assert renderer.normalize([]) == []


@pytest.mark.parametrize("size", [64, 200, 512])
def test_a_picture_has_the_size_of_the_pipeline(size):
    image = prepared(size=size).render(aligned(noise(0, size, size), landmarks(size=size)))
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert image.flags["C_CONTIGUOUS"]


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_the_corners_are_exactly_the_background(colour):
    image = prepared(background=colour).render(aligned(noise(0), landmarks()))
    for corner in (image[:12, :12], image[:12, -12:], image[-12:, :12], image[-12:, -12:]):
        assert (corner == np.array(colour, np.uint8)).all()


def test_only_the_rim_shares_pixels_with_the_background():
    dark, bright = (prepared(background=(level,) * 3).neutral() for level in (0, 255))
    changed = difference(dark, bright).max(axis=2) > 0
    face = ~changed
    assert 0.2 < face.mean() < 0.8
    rim = (difference(dark, bright) != 255).any(axis=2) & changed
    assert rim.mean() < 0.1


def test_the_wall_behind_a_face_changes_nothing(renderer, model):
    face = portrait(model, landmarks())
    image = face.image.copy()
    image[~WALL] = noise(1)[~WALL]
    np.testing.assert_array_equal(renderer.render(replace(face, image=image)), renderer.render(face))


def test_the_wall_behind_a_real_face_changes_a_few_levels_at_most(renderer, photo):
    image = photo.image.copy()
    wall = ~hull_mask(photo.landmarks, SIZE, margin=2)
    image[wall] = noise(1)[wall]
    changed = difference(renderer.render(replace(photo, image=image)), renderer.render(photo))
    assert changed.max() <= 3
    assert changed.mean() < 0.1


def with_forehead_lines(face):
    image = face.image.copy()
    x, y = np.round(face.landmarks[151, :2]).astype(int)
    for line in (-10, 0, 10):
        cv2.line(image, (int(x) - 35, int(y) + line), (int(x) + 35, int(y) + line), (60, 40, 30), 2)
    return replace(face, image=image)


def test_without_detail_wrinkles_change_nothing(model):
    plain = portrait(model, landmarks())
    without = prepared(detail=0.0)
    np.testing.assert_array_equal(without.render(with_forehead_lines(plain)), without.render(plain))


def test_with_detail_wrinkles_change_the_skin_the_more_the_stronger(model):
    plain = portrait(model, landmarks())
    changes = []
    for strength in (0.25, 0.5, 1.0):
        renderer = prepared(detail=strength)
        changes.append(difference(renderer.render(with_forehead_lines(plain)), renderer.render(plain)).mean())
    assert 0 < changes[0] < changes[1] < changes[2]


def test_the_colours_of_the_source_do_not_pass(renderer, photo):
    grey = np.repeat(cv2.cvtColor(photo.image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    np.testing.assert_array_equal(renderer.render(replace(photo, image=grey)), renderer.render(photo))


def test_a_darker_photo_gives_nearly_the_same_picture(renderer, photo):
    dark = replace(photo, image=(photo.image * 0.7).astype(np.uint8))
    assert difference(renderer.render(dark), renderer.render(photo)).mean() < 3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_landmarks_that_are_no_numbers_are_a_failure(renderer, value):
    points = landmarks()
    points[17, 1] = value
    good = aligned(noise(0), landmarks())
    rendered = renderer.normalize([good, replace(good, landmarks=points), good])
    assert isinstance(rendered[1], Failure)
    assert rendered[1].reason is Reason.NOT_RENDERED
    np.testing.assert_array_equal(rendered[0], rendered[2])


def rendered_with(points):
    """What comes of a crop with such landmarks."""
    return RENDERER.render(replace(aligned(noise(0), landmarks()), landmarks=points.astype(np.float32)))


@pytest.mark.filterwarnings("error")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.floats(-3, 4), st.floats(-15, 15), st.floats(-15, 15), st.floats(-180, 180), st.floats(-180, 180))
def test_a_face_anywhere_in_any_size_is_a_picture_or_a_failure(magnitude, across, down, yaw, pitch):
    """Faces up to 10 crop sides away that have some pixels are drawn, others fail, none ends in a warning of the arithmetic."""
    points = turned(landmarks(), yaw, pitch) * 10.0**magnitude + np.array([across * SIZE, down * SIZE, 0])
    rendered = rendered_with(points)
    eye_distance = 10.0**magnitude * template_map(SIZE, 0.1)[0]
    if np.abs(points).max() > 10.01 * SIZE or eye_distance < 1.9:
        assert isinstance(rendered, Failure)
        assert rendered.reason is Reason.NOT_RENDERED
    elif np.abs(points).max() < 9.99 * SIZE and eye_distance > 2.2:
        assert rendered.shape == (SIZE, SIZE, 3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "points",
    [
        np.zeros((468, 3)),
        np.full((468, 3), 50.0),
        landmarks() * 0.02,
        np.random.default_rng(0).normal(128, 1, (468, 3)),
        landmarks() + np.array([0, 11 * SIZE, 0]),
        landmarks() + np.array([0, 0, -11 * SIZE]),
        landmarks() * 1e30,
    ],
    ids=["zeros", "one point", "tiny", "a speck", "far below", "far in front", "huge"],
)
def test_landmarks_that_can_be_no_face_are_a_failure(points):
    rendered = rendered_with(points)
    assert isinstance(rendered, Failure)
    assert rendered.reason is Reason.NOT_RENDERED


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "points",
    [
        np.linspace([0, 0, 0], [256, 256, 0], 468),
        np.random.default_rng(0).normal(128, 600, (468, 3)),
        landmarks() * [1, 1, 0],
        landmarks()[::-1],
        -landmarks(),
    ],
    ids=["a line", "a cloud", "flat", "shuffled", "inside out"],
)
def test_absurd_landmarks_of_a_crops_size_are_drawn_without_a_warning(points):
    assert rendered_with(points).shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize(("size", "margin"), [(64, 0.4), (64, 0.0), (1024, 0.4), (1024, 0.0)])
def test_every_aligned_face_can_be_a_face(size, margin):
    """The smallest and largest face that a pipeline can ask for, seen from the front and turned far aside."""
    pipeline = Pipeline(size=size, align=Align(margin=margin))
    renderer = MeanFace(pipeline)
    renderer.prepare("cpu")
    for yaw in (0, 85):
        rendered = renderer.render(aligned(noise(0, size, size), turned(template(size, margin), yaw)))
        assert rendered.shape == (size, size, 3)


def test_the_fingerprint_names_every_option_that_changes_the_picture(tmp_path):
    save_model(replace(load_model(), texture=255 - load_model().texture), tmp_path / "other.npz")
    photos = [tmp_path / "one.jpg", tmp_path / "two.jpg"]
    for content, path in enumerate(photos):
        path.write_bytes(bytes([content]))
    normalizers = [
        MeanFace(Pipeline()),
        MeanFace(Pipeline(size=128)),
        MeanFace(Pipeline(align=Align(margin=0.2))),
        MeanFace(Pipeline(normalize=Normalize(detail=0.0))),
        MeanFace(Pipeline(normalize=Normalize(background=(0, 0, 0)))),
        *(MeanFace(Pipeline(normalize=Normalize(identity=str(path)))) for path in photos),
        MeanFace(Pipeline(), tmp_path / "other.npz"),
    ]
    fingerprints = [normalizer.fingerprint for normalizer in normalizers]
    assert len(set(fingerprints)) == len(fingerprints)
    assert MeanFace(Pipeline(seed=9, shard_size=3)).fingerprint == fingerprints[0]
    assert json.loads(fingerprints[0])["normalizer"] == "mean_face"


def test_the_fingerprint_knows_the_identity_by_content_not_by_place(tmp_path):
    fingerprints = set()
    for name in ("here.jpg", "there.jpg"):
        (tmp_path / name).write_bytes(b"the same")
        fingerprints.add(MeanFace(Pipeline(normalize=Normalize(identity=str(tmp_path / name)))).fingerprint)
    assert len(fingerprints) == 1
    assert str(tmp_path) not in fingerprints.pop()
