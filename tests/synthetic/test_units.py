"""Proxy action units: the table fits the rig and the field's numbers, and intensities follow from weights exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normpipe.records import ACTION_UNITS
from normpipe.synthetic.units import ONE_PIECE, SHAPES, STRONGEST, intensities, random_weights, sides

NAMES = sorted(name for shapes in SHAPES.values() for shape in shapes for name in sides(shape))
some_weights = st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1))
seeds = st.integers(0, 2**32 - 1)


def drawn(seed):
    return random_weights(np.random.default_rng(seed))


def test_the_rig_has_every_shape_of_the_table(rig):
    assert set(NAMES) <= set(rig.expression_names)


def test_every_unit_is_one_that_manifests_can_hold():
    assert set(SHAPES) <= set(ACTION_UNITS)


def test_no_shape_stands_for_two_units():
    assert len(set(NAMES)) == len(NAMES)
    assert {shape for shapes in SHAPES.values() for shape in shapes} >= ONE_PIECE


def test_a_calm_face_shows_nothing():
    assert intensities({}) == dict.fromkeys(SHAPES, 0.0)


@pytest.mark.parametrize(
    ("weights", "unit", "intensity"),
    [
        ({"mouthSmile_L": 0.4, "mouthSmile_R": 1.0}, 12, 5.0),  # the stronger side
        ({"cheekSquint_L": 0.2, "cheekRaiser_R": 0.6}, 6, 3.0),  # the strongest shape
        ({"jawOpen": 0.4}, 26, 2.0),
    ],
)
def test_the_greatest_weight_of_a_unit_is_its_intensity(weights, unit, intensity):
    found = intensities(weights)
    assert found.pop(unit) == pytest.approx(intensity)
    assert not any(found.values())


def test_shapes_of_no_unit_change_nothing():
    assert intensities({"eyeLookUp_L": 1.0, "cheekPuff_L": 1.0, "jawLeft": 1.0}) == intensities({})


@given(some_weights, st.sampled_from(NAMES), st.floats(0, 1))
def test_more_of_a_shape_is_never_less_of_a_unit(weights, name, more):
    before = intensities(weights)
    after = intensities(weights | {name: max(more, weights.get(name, 0.0))})
    assert all(0 <= before[unit] <= after[unit] <= STRONGEST for unit in SHAPES)


@given(seeds)
def test_random_weights_follow_from_the_seed_and_lie_within_0_and_1(seed):
    weights = drawn(seed)
    assert weights == drawn(seed)
    assert set(weights) <= set(NAMES)
    assert all(0 < weight <= 1 for weight in weights.values())


@given(seeds)
def test_no_random_face_does_what_no_face_can(seed):
    shown = {unit for unit, intensity in intensities(drawn(seed)).items() if intensity}
    assert not any(pair <= shown for pair in ({5, 43}, {24, 26}, {18, 20}))


def test_random_faces_show_every_unit_weak_and_strong_but_few_at_once():
    faces = np.array([list(intensities(drawn(seed)).values()) for seed in range(1000)])
    shown = (faces >= 2).mean(axis=0)
    assert shown.min() > 0.05
    assert shown.max() < 0.3
    assert ((faces > 0) & (faces < 2)).any(axis=0).all()
    assert (faces > 4).any(axis=0).all()
    assert (faces > 0).sum(axis=1).mean() < 6


def test_units_of_an_emotion_go_together():
    faces = np.array([list(intensities(drawn(seed)).values()) for seed in range(1000)]) > 0
    smiles, cheeks = (faces[:, list(SHAPES).index(unit)] for unit in (12, 6))
    assert (smiles & cheeks).mean() > 1.5 * smiles.mean() * cheeks.mean()
