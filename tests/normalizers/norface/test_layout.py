"""What the numbers of a code mean: measured as mean_face measures, drawn where mean_face draws."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures.portraits import SMILE, SURPRISE, landmarks, portrait, turned

from normpipe.batches import OwnNeutral
from normpipe.faces.geometry import mean_shape
from normpipe.normalizers.mean_face.expression import expression_of, read_face
from normpipe.stages.align import template_map

from .tiny import FREE, layout, torch

from normpipe.normalizers.norface.layout import MEASURED_LIMIT, FaceLayout, measured_numbers  # isort: skip
from normpipe.normalizers.norface.merging import ExpressionMerger  # isort: skip

SIDE = 256


@pytest.fixture(scope="module")
def smile(model):
    return portrait(model, turned(landmarks(SMILE), yaw=8.0))


def code(count=1, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (count, FREE + measured_numbers())).astype(np.float32)


def in_sides(shape, margin=0.1):
    """Points of the common face, in face units, where `align` puts them in a crop."""
    scale, shift = template_map(SIDE, margin)
    return (shape * scale + shift) / SIDE


def test_what_is_measured_are_mean_faces_coefficients_in_spreads(smile, model):
    found = read_face(smile, model)
    one = layout()
    assert np.concatenate([found.shape, found.detail]).shape == (measured_numbers(),)
    measured = one.measured(smile)
    assert measured.dtype == np.float32
    np.testing.assert_allclose(measured * one.spread[FREE:].numpy(), [*found.shape, *found.detail], rtol=1e-5, atol=1e-6)


def test_what_is_far_beyond_all_spreads_is_cut_off(smile):
    one = layout()
    one.spread.mul_(1e-3)
    measured = one.measured(smile)
    assert np.abs(measured).max() == MEASURED_LIMIT


def test_the_numbers_that_are_measured_are_as_many_as_a_layout_has_by_default():
    assert FaceLayout().config["own"] == measured_numbers()
    assert FaceLayout().config["free"] + measured_numbers() == len(FaceLayout().spread)


def test_a_face_is_measured_from_its_own_neutral_face_where_that_is_known(smile):
    surprised = mean_shape().points.copy()
    surprised[:, :2] += SURPRISE.offsets()
    one = layout()
    unknown, known = (one.measured(replace(smile, neutral=OwnNeutral(surprised, weight))) for weight in (0.0, 1.0))
    np.testing.assert_array_equal(unknown, one.measured(smile))
    assert np.abs(known - unknown).max() > 0.1


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.3])
def test_a_code_of_nothing_is_the_common_face(model, margin):
    one = layout(margin=margin)
    nothing = np.zeros(FREE + measured_numbers(), np.float32)
    np.testing.assert_allclose(one.points(nothing), one.neutral(), atol=1e-7)
    np.testing.assert_allclose(one.neutral(), in_sides(model.neutral, margin), atol=1e-6)
    assert not one.expression(nothing).detail.any()


@pytest.mark.parametrize("name", ["by_landmarks", "by_rig"])
def test_each_reading_is_drawn_as_far_as_it_is_asked_for(name):
    (passed,) = code()
    none = {"by_landmarks": 0.0, "by_rig": 0.0}
    off, once, twice = (layout(**{**none, name: share}) for share in (0.0, 1.0, 2.0))
    np.testing.assert_allclose(off.points(passed), off.neutral(), atol=1e-7)
    moved = once.points(passed) - once.neutral()
    assert np.abs(moved).max() > 1e-3
    np.testing.assert_allclose(twice.points(passed) - twice.neutral(), 2 * moved, atol=1e-6)


def test_the_rigs_shapes_neither_go_backwards_nor_far_beyond_what_they_can():
    one = layout(by_landmarks=0.0, by_rig=1.0)
    weights = np.zeros((4, FREE + measured_numbers()), np.float32)
    weights[:, 0] = np.array([-2, 1, 1.5, 30]) / one.spread[0].numpy()
    backwards, whole, most, beyond = (one.points(each) - one.neutral() for each in weights)
    assert not backwards.any()
    np.testing.assert_allclose(most, 1.5 * whole, atol=1e-6)
    np.testing.assert_allclose(beyond, most, atol=1e-6)
    expected = one.rig_offsets[0].numpy() * template_map(SIDE, 0.1)[0] / SIDE
    np.testing.assert_allclose(whole, expected, atol=1e-6)


@pytest.mark.parametrize("expression", [SMILE, SURPRISE], ids=["smile", "surprise"])
def test_at_strength_1_what_is_measured_is_drawn_as_mean_face_draws_it(model, expression):
    face = portrait(model, turned(landmarks(expression), yaw=-5.0))
    one = FaceLayout(free=FREE, by_landmarks=1.0, by_rig=0.0, by_detail=1.0)
    merger = ExpressionMerger(dim=8, depth=1, heads=2, answers=2, answer_dim=2, free=FREE, own=measured_numbers())
    own = torch.from_numpy(one.measured(face))[None]
    with torch.inference_mode():
        (passed,) = merger.passed(torch.randn(1, FREE), own, torch.ones(1)).numpy()
    wanted = expression_of(face, model)
    np.testing.assert_allclose(one.points(passed), in_sides(model.neutral + wanted.offsets), atol=1e-5)
    np.testing.assert_allclose(one.expression(passed).detail, wanted.detail, atol=1e-5)


def test_it_is_saved_with_what_was_fitted(tmp_path):
    one = layout(by_landmarks=0.3, by_rig=0.4)
    one.save_pretrained(tmp_path / "layout")
    again = FaceLayout.from_pretrained(tmp_path / "layout", local_files_only=True)
    (passed,) = code()
    np.testing.assert_array_equal(again.points(passed), one.points(passed))
    np.testing.assert_array_equal(again.expression(passed).detail, one.expression(passed).detail)
