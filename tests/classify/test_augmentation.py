"""What is drawn for a sample: only from its key, within the limits, the mirror alike for a pair and all else apart."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from normpipe.classify.augmentation import Augmentation, drawn_changes

NOTHING = Augmentation(flip=0, turn=0, scale=0, shift=0, brightness=0, contrast=0, saturation=0, grey=0, erase=0)
ALL = Augmentation(flip=0.5, turn=45, scale=0.5, shift=0.25, brightness=0.5, contrast=0.5, saturation=0.5, grey=0.5, erase=1)
KEYS = torch.arange(2000) * 7919


def of(**options):
    """Changes of many samples by one thing alone."""
    return drawn_changes(NOTHING.model_copy(update=options), KEYS, 2)


def test_with_nothing_allowed_nothing_changes():
    changes = drawn_changes(NOTHING, KEYS, 2)
    np.testing.assert_array_equal(changes.placing, np.broadcast_to(np.eye(2, 3), changes.placing.shape))
    np.testing.assert_array_equal(changes.colour, np.broadcast_to(np.eye(3, 4), changes.colour.shape))
    np.testing.assert_array_equal(changes.cover[..., :2], changes.cover[..., 2:])


@given(st.permutations(range(12)))
def test_what_is_drawn_for_a_sample_does_not_depend_on_the_batch(order):
    together = drawn_changes(ALL, KEYS[:12], 2)
    mixed = drawn_changes(ALL, KEYS[:12][list(order)], 2)
    alone = drawn_changes(ALL, KEYS[order[0]][None], 2)
    for name in ("placing", "colour", "cover", "fill"):
        np.testing.assert_array_equal(getattr(mixed, name), getattr(together, name)[list(order)])
        np.testing.assert_array_equal(getattr(alone, name)[0], getattr(mixed, name)[0])


def test_an_arm_of_one_picture_sees_it_as_the_first_of_two():
    one, two = drawn_changes(ALL, KEYS, 1), drawn_changes(ALL, KEYS, 2)
    np.testing.assert_array_equal(one.placing, two.placing[:, :1])
    np.testing.assert_array_equal(one.fill, two.fill[:, :1])


def test_a_pair_is_mirrored_as_one():
    mirrored = np.linalg.det(drawn_changes(ALL, KEYS, 2).placing[..., :2]) < 0
    np.testing.assert_array_equal(mirrored[:, 0], mirrored[:, 1])
    assert 0.45 < mirrored[:, 0].mean() < 0.55


def test_all_else_is_drawn_for_each_picture():
    changes = drawn_changes(ALL, KEYS, 2)
    angles = np.arctan2(changes.placing[..., 1, 0], changes.placing[..., 1, 1])
    for values in (angles, changes.placing[..., 0, 2], changes.colour[..., 0, 3], changes.cover[..., 0], changes.fill[..., 0]):
        assert abs(np.corrcoef(values[:, 0], values[:, 1])[0, 1]) < 0.1


def test_draws_have_nothing_to_do_with_those_of_the_network():
    from normpipe.classify.networks.keyed import uniform

    turned = of(turn=45)
    angles = np.arctan2(turned.placing[:, 0, 0, 1], turned.placing[:, 0, 0, 0])
    for place in range(20):
        assert abs(np.corrcoef(angles, uniform(KEYS, place, ()).numpy())[0, 1]) < 0.1


def test_turns_scales_and_shifts_stay_within_their_limits_and_reach_them():
    linear = of(turn=20).placing[..., :2]
    degrees = np.degrees(np.arctan2(linear[..., 0, 1], linear[..., 0, 0]))
    assert 19 < np.abs(degrees).max() <= 20
    assert abs(degrees.mean()) < 1
    sizes = np.log(np.sqrt(np.linalg.det(of(scale=0.2).placing[..., :2])))
    assert 0.19 < np.abs(sizes).max() <= 0.2
    moved = of(shift=0.1).placing[..., 2] / 2
    assert 0.095 < np.abs(moved).max() <= 0.1


def test_brightness_moves_all_channels_and_contrast_turns_about_the_middle():
    bright = of(brightness=0.2).colour
    assert 50 < np.abs(bright[..., 3]).max() <= 51
    np.testing.assert_array_equal(bright[..., 0, 3], bright[..., 2, 3])
    hard = of(contrast=0.3).colour
    middle = hard @ np.array([127.5, 127.5, 127.5, 1], np.float32)
    np.testing.assert_allclose(middle, 127.5, atol=1e-3)
    assert 0.69 < hard[..., 0, 0].min() < 0.71
    assert 1.29 < hard[..., 0, 0].max() < 1.31


def test_saturation_leaves_grey_and_brightness_alone():
    colour = of(saturation=0.4, grey=0.3).colour
    grey = colour @ np.array([90, 90, 90, 1], np.float32)
    np.testing.assert_allclose(grey, 90, atol=1e-3)
    red = colour @ np.array([200, 10, 10, 1], np.float32)
    luma = red @ np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(luma, 0.299 * 200 + 0.701 * 10, atol=0.01)
    without = np.isclose(red[..., 0], red[..., 1]).mean()
    assert 0.27 < without < 0.33


def test_covers_are_as_many_and_as_large_as_allowed_and_lie_within_the_picture():
    cover = of(erase=0.4, erase_area=0.2).cover
    assert (cover >= 0).all()
    assert (cover <= 1).all()
    areas = (cover[..., 2] - cover[..., 0]) * (cover[..., 3] - cover[..., 1])
    assert 0.37 < (areas > 0).mean() < 0.43
    assert 0.02 <= areas[areas > 0].min() < 0.03
    assert 0.19 < areas.max() <= 0.2 + 1e-9


@pytest.mark.parametrize(
    "wrong", [{"flip": 1.1}, {"turn": -1}, {"contrast": 1}, {"erase_area": 0}, {"blur": 1}, {"flip": True}]
)
def test_strengths_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        Augmentation(**wrong)


def test_no_samples_have_no_changes():
    assert len(drawn_changes(ALL, KEYS[:0], 2)) == 0
