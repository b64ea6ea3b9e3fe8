"""Synthetic heads: what they were made to do is what they show."""

from dataclasses import replace

import numpy as np
import pytest

from normpipe.faces.pose import pose
from normpipe.synthetic.paint import draw_atlas
from normpipe.training.norface.examples import DETAIL_TERMS, EXPRESSION_SHAPES, SHAPE_TERMS, Kind
from normpipe.training.norface.heads import HEADS_PER_PERSON, HeadMaker, random_person, random_view

IMAGE_LEFT_CORNER, IMAGE_RIGHT_CORNER = 61, 291  # the latter is the person's left


@pytest.fixture(scope="module")
def maker(rig, portraits):
    return HeadMaker.prepared(rig, portraits, 0, 128)


@pytest.fixture(scope="module")
def first(maker):
    return list(maker.examples(0, 4))


def test_a_head_is_an_example_with_all_its_truth(first):
    for number, head in enumerate(first):
        assert head.example_id == f"head-{number:07d}"
        assert head.kind is Kind.HEAD
        assert head.image.shape == (128, 128, 3)
        assert head.expression.shape == (EXPRESSION_SHAPES,)
        assert np.isfinite(head.expression).all()
        assert head.shape.shape == (SHAPE_TERMS,)
        assert head.detail.shape == (DETAIL_TERMS,)
        assert head.landmarks.shape == (468, 3)
        assert 0.3 < head.landmarks[:, :2].mean() < 0.7
    assert len({head.image.tobytes() for head in first}) == 4


def test_a_head_follows_from_seed_and_number_alone(maker, first):
    alone = next(maker.examples(2, 3))
    np.testing.assert_array_equal(alone.image, first[2].image)
    np.testing.assert_array_equal(alone.expression, first[2].expression)
    other = next(replace(maker, seed=1).examples(2, 3))
    assert (other.expression != alone.expression).any()


def test_a_person_has_several_heads_and_no_name(maker, first):
    assert len({head.person for head in first}) == 1
    [last, next_person] = maker.examples(HEADS_PER_PERSON - 1, HEADS_PER_PERSON + 1)
    assert last.person == first[0].person != next_person.person
    assert "p00" not in first[0].person


def test_people_differ_in_shape_and_keep_what_they_do(rig):
    somebody, another = (random_person(rig, np.random.default_rng(seed)) for seed in (0, 1))
    assert np.abs(somebody.neutral - another.neutral).max() > 0.3
    smile = {"mouthSmile_L": 0.7}
    moved = [one.vertices(smile, ()) - one.neutral for one in (somebody, rig)]
    np.testing.assert_allclose(moved[0], moved[1], atol=1e-4)


def frontal(rig, weights):
    view = replace(random_view(rig, weights, np.random.default_rng(0)), yaw=0.0, pitch=0.0, roll=0.0)
    return rig.render(view, draw_atlas(rig)).image


def test_a_smile_on_the_persons_left_lifts_the_corner_on_the_images_right(rig, maker):
    weights = np.zeros(EXPRESSION_SHAPES, np.float32)
    calm = maker._found(frontal(rig, weights)).landmarks
    weights[rig.expression_names.index("mouthSmile_L")] = 1
    moved = maker._found(frontal(rig, weights)).landmarks - calm
    assert moved[IMAGE_RIGHT_CORNER, 1] < -2
    assert moved[IMAGE_RIGHT_CORNER, 1] < 1.5 * moved[IMAGE_LEFT_CORNER, 1]
    assert moved[IMAGE_RIGHT_CORNER, 0] > 1


def test_views_turn_both_ways_within_limits(rig):
    random = np.random.default_rng(0)
    views = [random_view(rig, np.zeros(EXPRESSION_SHAPES, np.float32), random) for _ in range(200)]
    yaws, pitches = np.array([view.yaw for view in views]), np.array([view.pitch for view in views])
    assert -60 <= yaws.min() < -25
    assert 25 < yaws.max() <= 60
    assert np.abs(pitches).max() <= 25
    assert not views[0].expression


def test_heads_are_cut_out_as_photos_are(first):
    """Landmarks lie where the crop's alignment puts them: upright."""
    rolls = [pose(head.landmarks[None] * 128)[0, 2] for head in first]
    assert np.abs(rolls).max() < 3
