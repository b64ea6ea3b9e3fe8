"""Arms: pictures of a pair."""

from normpipe.classify.arms import Arm
from normpipe.records import PAIRS_SCHEMA


def test_an_arm_names_columns_of_pictures():
    for arm in Arm:
        assert set(arm.columns) <= set(PAIRS_SCHEMA.names)
        assert arm.views == len(arm.columns)
    assert Arm.NORMALIZED.columns == ("normalized",)
    assert Arm.BOTH.columns == ("original", "normalized")


def test_the_control_of_capacity_has_as_many_pictures_as_both_and_no_other_than_the_original():
    assert Arm.TWICE.views == Arm.BOTH.views == 2
    assert set(Arm.TWICE.columns) == set(Arm.ORIGINAL.columns)
