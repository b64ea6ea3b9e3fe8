"""People and pictures of them: drawn from a seed alone, and far pictures under conditions that near ones never have."""

from dataclasses import fields

import numpy as np
import pytest

from normpipe.synthetic.heads import Tile
from normpipe.synthetic.portraits import FAR, NEAR, picture, random_person

SMILE = {"mouthSmile_L": 0.8, "mouthSmile_R": 0.8}


def taken(rig, atlas, *, person=0, number=0, weights=SMILE, conditions=NEAR):
    somebody = random_person(rig, atlas, np.random.default_rng(person))
    return picture(somebody, weights, conditions, np.random.default_rng([9, number]), size=48)


def test_the_same_seeds_give_the_same_bytes(rig, atlas):
    np.testing.assert_array_equal(taken(rig, atlas).image, taken(rig, atlas).image)


@pytest.mark.parametrize("other", [{"person": 1}, {"number": 1}, {"weights": {}}, {"conditions": FAR}])
def test_another_person_picture_expression_or_condition_looks_otherwise(rig, atlas, other):
    assert (taken(rig, atlas).image != taken(rig, atlas, **other).image).any()


def test_an_expression_moves_the_head_and_nothing_around_it(rig, atlas):
    calm, smiling = taken(rig, atlas, weights={}), taken(rig, atlas)
    around = ~(calm.head_mask | smiling.head_mask)
    rim = np.abs(calm.image.astype(int) - smiling.image)[around]
    assert (rim == 0).all(axis=1).mean() > 0.95  # but for the blended rim


def test_people_differ_in_shape_and_skin_but_not_in_teeth(rig, atlas):
    one, other = (random_person(rig, atlas, np.random.default_rng(seed)) for seed in range(2))
    side = atlas.shape[0]
    assert np.abs(one.rig.neutral - other.rig.neutral).max() > 0.1  # cm

    def tile(person, which):
        return person.atlas[:, which * side : (which + 1) * side]

    assert (tile(one, Tile.FACE) != tile(other, Tile.FACE)).any()
    np.testing.assert_array_equal(tile(one, Tile.TEETH), tile(other, Tile.TEETH))


def test_far_pictures_are_turned_and_lit_as_no_near_one():
    alike = {"elevation"}
    for field in fields(NEAR):
        near, far = getattr(NEAR, field.name), getattr(FAR, field.name)
        assert field.name in alike or near[1] <= far[0] or far[1] <= near[0], field.name


def test_far_heads_are_turned_further(rig, atlas):
    def nose(conditions):
        heads = [taken(rig, atlas, number=number, conditions=conditions, weights={}) for number in range(4)]
        return np.mean([abs(head.points[30, 0] - head.points[[36, 45], 0].mean()) for head in heads])

    assert nose(FAR) > 1.5 * nose(NEAR)
