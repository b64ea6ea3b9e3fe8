"""What of a face counts as expression: not its place, size and turn, and alike on both sides."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from fixtures.faces import noise
from fixtures.portraits import SIZE, SMILE, SURPRISE, Expression, aligned, landmarks, mirror_index, mirrored, turned
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.batches import Face, Frame, FrameRef, OwnNeutral
from normpipe.config import Detect
from normpipe.faces.build import build_detector
from normpipe.faces.geometry import mean_shape
from normpipe.faces.pose import pose
from normpipe.normalizers.mean_face.expression import (
    compressed,
    expression_of,
    measurable,
    measured_shape,
    pose_terms,
    read_face,
    shape_deviation,
)
from normpipe.normalizers.mean_face.model import load_model
from normpipe.stages.detect import detect
from normpipe.synthetic.heads import HeadParams, HeadRig
from normpipe.synthetic.paint import draw_atlas

MODEL = load_model()
PERFECT_LANDMARKER = replace(MODEL, pose_effect=np.zeros_like(MODEL.pose_effect))
AMOUNTS = st.floats(-0.1, 0.3)
EXPRESSIONS = st.builds(Expression, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS)


PLAIN = np.full((SIZE, SIZE, 3), 160, np.uint8)


def offsets(points, model):
    return expression_of(aligned(PLAIN, points), model).offsets


def assert_same(found, expected, relative=1e-3):
    assert np.abs(found - expected).max() <= relative * (1 + np.abs(expected).max())


@settings(max_examples=50, deadline=None)
@given(EXPRESSIONS, st.floats(-60, 60), st.floats(-45, 45), st.floats(-179, 179))
def test_turning_a_rigid_head_changes_nothing(expression, yaw, pitch, roll):
    frontal = landmarks(expression)
    head = turned(frontal, yaw, pitch, roll)
    shapes, _ = measured_shape(np.stack([frontal, head]))
    np.testing.assert_allclose(shapes[1], shapes[0], atol=1e-5)
    assert_same(offsets(head, PERFECT_LANDMARKER), offsets(frontal, PERFECT_LANDMARKER))


@settings(max_examples=50, deadline=None)
@given(EXPRESSIONS, st.floats(0.05, 50), st.floats(-500, 500), st.floats(-500, 500))
def test_size_and_place_change_nothing(expression, scale, x, y):
    points = landmarks(expression)
    moved = (points * scale + np.array([x, y, 0])).astype(np.float32)
    # Coordinates have 24 bits: far away, a small face has fewer left for its shape.
    tolerance = 1e-3 * (1 + (abs(x) + abs(y)) / (256 * scale))
    assert_same(offsets(moved, MODEL), offsets(points, MODEL), tolerance)


@settings(max_examples=50, deadline=None)
@given(EXPRESSIONS, st.floats(-40, 40), st.floats(-30, 30))
def test_a_mirrored_face_moves_mirrored(expression, yaw, pitch):
    points = turned(landmarks(expression), yaw, pitch)
    expected = offsets(points, MODEL)[mirror_index()] * np.array([-1, 1])
    assert_same(offsets(mirrored(points), MODEL), expected)


def test_a_one_sided_smile_is_stronger_on_its_side():
    smile = offsets(landmarks(Expression(left_corner=0.1)), MODEL) - offsets(landmarks(), MODEL)
    assert -smile[61, 1] > 0.05
    assert -smile[61, 1] > 1.1 * -smile[291, 1]


def test_the_neutral_face_stays_as_it_is():
    neutral = mean_shape().points.copy()
    neutral[:, :2] += MODEL.shape_offset.reshape(468, 2)
    assert np.abs(offsets(neutral * 60, MODEL)).max() < 0.02


OFFSETS = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).normal(size=(468, 2)).astype(np.float32))


def amount(values):
    return float(np.sqrt((values.astype(np.float64) ** 2).mean()))


@given(OFFSETS, st.floats(0.01, 10), st.floats(0.01, 10))
def test_compression_shortens_and_keeps_the_direction(directions, size, limit):
    values = directions * np.float32(size)
    found = compressed(values, limit)
    assert found.dtype == np.float32
    share = amount(found) / amount(values)
    np.testing.assert_allclose(found, share * values, rtol=1e-4)
    assert share == pytest.approx(1 / np.sqrt(1 + (amount(values) / limit) ** 2), rel=1e-4)
    assert amount(found) <= limit * 1.001


@given(OFFSETS, st.floats(0.01, 1))
def test_what_is_as_large_as_the_limit_is_compressed_to_0_7_of_itself(directions, limit):
    values = directions * np.float32(limit / amount(directions))
    assert amount(compressed(values, limit)) == pytest.approx(limit / np.sqrt(2), rel=1e-4)


@given(OFFSETS, st.floats(1e-3, 1))
def test_larger_offsets_stay_larger_and_small_ones_as_they_are(directions, limit):
    unit = directions / np.float32(amount(directions))
    amounts = [amount(compressed(unit * np.float32(limit * factor), limit)) for factor in (0.01, 0.1, 0.5, 1, 2, 10)]
    assert all(smaller < larger for smaller, larger in pairwise(amounts))
    assert amounts[0] == pytest.approx(0.01 * limit, rel=1e-3)


@given(OFFSETS)
def test_without_a_limit_nothing_is_compressed(directions):
    np.testing.assert_array_equal(compressed(directions, np.inf), directions)


def test_no_expression_leaves_what_the_limit_allows():
    far = Expression(brows=1.5, jaw=3.0, left_corner=1.5, right_corner=-1.5)
    strong = amount(offsets(landmarks(far), MODEL))
    assert strong <= MODEL.offset_limit[0] * 1.001
    assert amount(offsets(landmarks(far), replace(MODEL, offset_limit=np.array([np.inf], np.float32)))) > 1.5 * strong


def test_offsets_are_of_shape_alone_and_detail_is_of_both():
    """Wrinkles never deform; without any, the shape still says a little about them."""
    points = landmarks(SMILE)
    plain, wrinkled = (expression_of(aligned(image, points), MODEL) for image in (PLAIN, noise(0)))
    np.testing.assert_array_equal(plain.offsets, wrinkled.offsets)
    assert np.abs(plain.detail - wrinkled.detail).max() > 0.01
    assert plain.offsets.shape == (468, 2)
    assert plain.detail.shape == MODEL.detail_mask.shape
    assert (wrinkled.detail[~MODEL.detail_mask] == 0).all()


def test_wrinkles_that_are_not_seen_are_guessed_from_the_shape_alone():
    away = landmarks(SMILE) + np.array([3 * SIZE, 0, 0], np.float32)
    first, second = (expression_of(aligned(noise(seed), away), MODEL).detail for seed in (0, 1))
    np.testing.assert_array_equal(first, second)


def test_what_is_drawn_follows_from_the_few_numbers_that_are_read():
    face = aligned(noise(0), turned(landmarks(SMILE), 8.0))
    read, drawn = read_face(face, MODEL), expression_of(face, MODEL)
    assert read.shape.shape == MODEL.shape_out.shape[:1]
    assert read.detail.shape == MODEL.detail_out.shape[:1]
    moved = compressed((read.shape @ MODEL.shape_out).reshape(-1, 2), float(MODEL.offset_limit[0]))
    np.testing.assert_allclose(moved, drawn.offsets, atol=1e-5)
    np.testing.assert_allclose(read.detail @ MODEL.detail_out, drawn.detail[MODEL.detail_mask], atol=1e-5)


def test_a_shapes_deviation_is_what_is_read_of_a_face_whose_subject_is_not_known():
    heads = np.stack([turned(landmarks(SMILE), 20, 5), landmarks(SURPRISE)])
    deviation = shape_deviation(heads, MODEL)
    assert deviation.shape == (2, 936)
    for row, head in zip(deviation, heads, strict=True):
        np.testing.assert_allclose(row @ MODEL.shape_in, read_face(aligned(PLAIN, head), MODEL).shape, atol=1e-4)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (landmarks(), True),
        (landmarks() + np.array([9 * SIZE, 0, 0]), True),
        (landmarks() + np.array([11 * SIZE, 0, 0]), False),
        (landmarks() * 0.02, False),
        (np.zeros((468, 3)), False),
        (landmarks() * np.nan, False),
        (landmarks() + np.array([0, 0, np.inf]), False),
    ],
    ids=["a face", "beside the crop", "far beside", "tiny", "one point", "nan", "inf"],
)
def test_only_landmarks_that_can_be_a_faces_are_measurable(points, expected):
    assert measurable(aligned(PLAIN, landmarks())), "what differs are the landmarks alone"
    assert measurable(replace(aligned(PLAIN, landmarks()), landmarks=points.astype(np.float32))) is expected


def test_the_mean_shape_deviates_nowhere_from_itself():
    shape, terms = measured_shape(mean_shape().points[None] * 60)
    np.testing.assert_allclose(shape, 0, atol=1e-6)
    np.testing.assert_allclose(terms, 0, atol=1e-3)


def test_a_batch_is_measured_as_each_face_alone():
    faces = np.stack([landmarks(SMILE), turned(landmarks(SURPRISE), 20, 5), landmarks()])
    shapes, terms = measured_shape(faces)
    assert shapes.shape == (3, 936)
    assert terms.shape == (3, 6)
    for row, face in enumerate(faces):
        alone, term = measured_shape(face[None])
        np.testing.assert_allclose(shapes[row], alone[0], atol=1e-6)
        np.testing.assert_allclose(terms[row], term[0], atol=1e-6)


def test_shape_is_measured_in_eye_distances():
    wider = mean_shape().points.copy()
    wider[61, 0] -= 0.25
    shape, _ = measured_shape(wider[None] * 80)
    assert shape[0].reshape(468, 2)[61, 0] == pytest.approx(-0.25, abs=1e-4)


@given(st.floats(-60, 60), st.floats(-60, 60), st.floats(-180, 180))
def test_pose_terms_forget_the_roll_and_know_the_mirror(yaw, pitch, roll):
    terms = pose_terms(np.array([[yaw, pitch, roll]], np.float32))[0]
    level = pose_terms(np.array([[yaw, pitch, 0]], np.float32))[0]
    opposite = pose_terms(np.array([[-yaw, pitch, -roll]], np.float32))[0]
    np.testing.assert_array_equal(terms, level)
    np.testing.assert_allclose(opposite, terms * [-1, 1, 1, 1, -1, -1], atol=1e-5)
    assert (pose_terms(np.zeros((1, 3), np.float32)) == 0).all()


@pytest.fixture(scope="module")
def measured_turns(shared):
    """Landmarks that the embedded network finds on rig heads: frontal, and turned; (turns, people) each."""
    path = shared / "data" / "ict-facekit" / "ict_facekit.npz"
    if not path.is_file():
        pytest.skip("needs ../shared/data/ict-facekit/ict_facekit.npz")
    rig = HeadRig.load(path)
    atlas = draw_atlas(rig)
    engine = build_detector(Detect(), "cpu")

    def measure(identity, yaw=0.0, pitch=0.0):
        head = rig.render(HeadParams(size=384, extent=40, identity=identity, yaw=yaw, pitch=pitch), atlas)
        face = detect([Frame(FrameRef("head", ""), head.image, None)], engine, engine, Detect())[0].face
        assert isinstance(face, Face)
        return face.landmarks

    people = [tuple(np.random.default_rng(seed).normal(size=100) * 0.7) for seed in range(3)]
    turns = [(25, 0), (-25, 0), (0, 15), (0, -15)]
    return [(measure(person), measure(person, *turn)) for turn in turns for person in people]


def test_the_landmarkers_error_on_turned_heads_is_mostly_taken_off(measured_turns):
    def change(model):
        return np.mean([np.abs(offsets(head, model) - offsets(front, model)).max() for front, head in measured_turns])

    assert all(np.abs(pose(head[None])[0] - pose(front[None])[0]).max() > 8 for front, head in measured_turns)
    # The estimate itself suppresses most of what turning does to shape; the regression takes off some of the rest.
    assert change(MODEL) < 0.9 * change(PERFECT_LANDMARKER)
    assert change(MODEL) < 0.045


def own(points, weight):
    """`points` seen from the front, as a subject's neutral face."""
    deviation, _ = measured_shape(points[None])
    shape = mean_shape().points.copy()
    shape[:, :2] += deviation.reshape(-1, 2)
    return OwnNeutral(shape, weight)


@settings(max_examples=20, deadline=None)
@given(EXPRESSIONS)
def test_a_face_at_its_own_rest_expresses_nothing(resting):
    points = landmarks(resting)
    face = replace(aligned(PLAIN, points), neutral=own(points, 1.0))
    np.testing.assert_allclose(expression_of(face, PERFECT_LANDMARKER).offsets, 0, atol=1e-4)


def test_the_less_is_known_of_a_subject_the_less_its_own_neutral_face_counts():
    points = landmarks(SMILE)
    faces = [replace(aligned(PLAIN, points), neutral=own(points, weight)) for weight in (0.0, 0.3, 0.7, 1.0)]
    amounts = [float(np.abs(expression_of(face, PERFECT_LANDMARKER).offsets).mean()) for face in faces]
    assert amounts == sorted(amounts, reverse=True)
    np.testing.assert_array_equal(
        expression_of(faces[0], MODEL).offsets, expression_of(replace(faces[0], neutral=None), MODEL).offsets
    )
