"""Heads: what is asked for is what is seen, by geometry and by the face engine."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normpipe.batches import Face, Frame, FrameRef
from normpipe.config import Detect
from normpipe.errors import UsageError
from normpipe.faces import build_detector, build_landmarker
from normpipe.faces.pose import angles
from normpipe.stages.detect import detect
from normpipe.synthetic.heads import HeadParams, HeadRig, rotation_matrix

NOSE, CHIN, IMAGE_LEFT_EYE, IMAGE_RIGHT_EYE = 30, 8, slice(36, 42), slice(42, 48)
UPPER_LIP, LOWER_LIP = 62, 66


@pytest.fixture(scope="module")
def front(rig, atlas):
    return rig.render(HeadParams(), atlas)


def test_a_picture_and_its_masks(front):
    assert front.image.shape == (256, 256, 3)
    assert front.image.dtype == np.uint8
    assert front.points.shape == (68, 2)
    assert not (front.face_mask & ~front.head_mask).any()
    assert 0.2 < front.face_mask.mean() < front.head_mask.mean() < 0.7
    assert (front.image[~front.head_mask] == 128).mean() > 0.95  # but for the blended rim


def test_a_frontal_head_is_symmetric(front):
    mirrored = 256 - front.points[:, 0]
    np.testing.assert_allclose(front.points[IMAGE_LEFT_EYE, 0].mean(), mirrored[IMAGE_RIGHT_EYE].mean(), atol=0.5)
    assert (front.head_mask == front.head_mask[:, ::-1]).mean() > 0.995


def test_yaw_turns_to_the_images_right_pitch_up_roll_clockwise(rig, atlas, front):
    turned, raised, rolled = (rig.render(HeadParams(**{name: 20.0}), atlas) for name in ("yaw", "pitch", "roll"))
    assert turned.points[NOSE, 0] > front.points[NOSE, 0] + 5
    assert raised.points[NOSE, 1] < front.points[NOSE, 1] - 5
    assert rolled.points[IMAGE_RIGHT_EYE, 1].mean() > rolled.points[IMAGE_LEFT_EYE, 1].mean() + 5


@given(st.floats(-80, 80), st.floats(-80, 80), st.floats(-80, 80))
def test_angles_mean_what_the_pose_columns_mean(yaw, pitch, roll):
    to_image = np.diag([1.0, -1.0, -1.0])  # landmarks have y down and z away from the camera
    measured = angles((to_image @ rotation_matrix(yaw, pitch, roll) @ to_image)[None])[0]
    np.testing.assert_allclose(measured, [yaw, pitch, roll], atol=0.05)


def test_expressions_move_what_they_name(rig, front, atlas):
    wide = rig.render(HeadParams(expression={"jawOpen": 1.0}), atlas).points
    assert wide[LOWER_LIP, 1] - wide[UPPER_LIP, 1] > 10 > front.points[LOWER_LIP, 1] - front.points[UPPER_LIP, 1]
    wink = rig.render(HeadParams(expression={"eyeBlink_L": 1.0}), atlas).points
    height = {side: np.ptp(wink[eye, 1]) for side, eye in (("image left", IMAGE_LEFT_EYE), ("image right", IMAGE_RIGHT_EYE))}
    assert height["image right"] < 0.6 * height["image left"]  # the person's left eye


def test_expression_weights_are_linear(rig):
    half, full = (rig.vertices({"mouthSmile_L": weight}, ()) - rig.neutral for weight in (0.5, 1.0))
    np.testing.assert_allclose(2 * half, full, atol=1e-4)


def test_identity_changes_the_shape_and_zero_does_not(rig):
    np.testing.assert_array_equal(rig.vertices({}, [0.0] * 100), rig.neutral)
    people = [rig.vertices({}, np.random.default_rng(seed).normal(size=100)) for seed in (0, 1)]
    assert np.abs(people[0] - people[1]).max() > 0.3  # cm


@pytest.mark.parametrize(
    ("arguments", "word"),
    [({"expression": {"grin": 1.0}}, "grin"), ({"identity": [0.0] * 101}, "101")],
    ids=["shape", "identity"],
)
def test_what_the_rig_does_not_have_is_named(rig, atlas, arguments, word):
    with pytest.raises(UsageError, match=word):
        rig.render(HeadParams(**arguments), atlas)


def test_the_background_does_not_touch_the_head(rig, atlas, front):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    other = rig.render(HeadParams(background=noise), atlas)
    np.testing.assert_array_equal(other.head_mask, front.head_mask)
    inside = front.points[NOSE].astype(int)
    window = np.s_[inside[1] - 30 : inside[1] + 30, inside[0] - 30 : inside[0] + 30]
    np.testing.assert_array_equal(other.image[window], front.image[window])
    assert other.image[~front.head_mask].std() > 30


def test_light_comes_from_where_it_is(rig, atlas, front):
    left, right = (rig.render(HeadParams(light=(x, 0.0, 0.3)), atlas).image.astype(float) for x in (-1.0, 1.0))
    brighter_left = (left - right).mean(axis=2)
    assert brighter_left[:, :128][front.face_mask[:, :128]].mean() > 10
    assert brighter_left[:, 128:][front.face_mask[:, 128:]].mean() < -10


def test_a_far_camera_is_an_orthographic_one(rig, atlas):
    far, orthographic, near = (rig.render(HeadParams(distance=distance), atlas).points for distance in (1e4, None, 40.0))
    np.testing.assert_allclose(far, orthographic, atol=0.2)
    assert np.abs(near - orthographic).max() > 2


@pytest.mark.parametrize("centre", [(0.0, 0.5), (1.2, 1.2), (-3.0, 0.5)])
def test_a_head_that_leaves_the_picture_is_cut(rig, atlas, centre):
    cut = rig.render(HeadParams(size=64, centre=centre), atlas)
    assert cut.image.shape == (64, 64, 3)
    assert cut.head_mask.any() == (centre[0] > -1)


def test_the_same_parameters_give_the_same_bytes(rig, atlas):
    params = HeadParams(yaw=10, expression={"mouthPucker": 0.5}, identity=(1.0, -1.0))
    assert rig.render(params, atlas).image.tobytes() == rig.render(params, atlas).image.tobytes()


def test_a_file_that_is_no_rig_is_named_without_its_folder(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, a=np.zeros(3))
    with pytest.raises(UsageError, match=r"^other\.npz: ") as error:
        HeadRig.load(path)
    assert str(tmp_path) not in str(error.value)


@pytest.fixture(scope="module")
def engine():
    return build_detector(Detect(), "cpu"), build_landmarker(Detect(), "cpu")


@pytest.mark.parametrize("yaw", [-45.0, -15.0, 0.0, 30.0])
def test_the_face_engine_finds_heads_and_measures_their_pose(rig, atlas, engine, yaw):
    random = np.random.default_rng(7)
    yaws = []
    for _ in range(3):
        params = HeadParams(size=384, extent=40, yaw=yaw, identity=random.normal(size=100), expression={"jawOpen": 0.3})
        face = detect([Frame(FrameRef("head", ""), rig.render(params, atlas).image, None)], *engine, Detect())[0].face
        assert isinstance(face, Face)
        yaws.append(face.pose[0])
    assert np.mean(yaws) == pytest.approx(yaw, abs=6)


def test_the_face_engines_landmarks_lie_on_the_rigs(rig, atlas, engine):
    head = rig.render(HeadParams(size=384, extent=40), atlas)
    face = detect([Frame(FrameRef("head", ""), head.image, None)], *engine, Detect())[0].face
    assert isinstance(face, Face)
    eyes = np.stack([head.points[IMAGE_LEFT_EYE].mean(axis=0), head.points[IMAGE_RIGHT_EYE].mean(axis=0)])
    truth = np.concatenate([eyes, head.points[[NOSE, 48, 54]]])
    error = np.linalg.norm(face.five_points - truth, axis=1) / np.linalg.norm(eyes[1] - eyes[0])
    assert error.max() < 0.12
