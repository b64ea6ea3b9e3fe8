import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normpipe.audit.rows import tremble

CLIPS = np.array(["a"] * 6 + ["b"] * 3)
FRAMES = np.array([0, 1, 2, 3, 4, 6, 0, 1, 2])


def test_steady_movement_does_not_tremble():
    shapes = FRAMES[:, None] * np.ones((1, 4), np.float32)
    found = tremble(shapes.astype(np.float32), CLIPS, FRAMES)
    assert np.isnan(found[[0, 4, 5, 6, 8]]).all()  # ends of clips, and frame 4, whose steps differ
    assert found[[1, 2, 3, 7]] == pytest.approx(0)


@given(st.permutations(range(9)))
def test_the_order_of_rows_does_not_matter(order):
    shapes = np.random.default_rng(0).random((9, 4), np.float32)
    order = np.array(order)
    whole = tremble(shapes, CLIPS, FRAMES)
    assert np.array_equal(tremble(shapes[order], CLIPS[order], FRAMES[order]), whole[order], equal_nan=True)


def test_it_is_a_length():
    shapes = np.zeros((3, 4), np.float32)
    shapes[1] = 0.5  # both coordinates of two points, at the middle frame: the second difference is -1
    assert tremble(shapes, CLIPS[6:], FRAMES[6:])[1] == pytest.approx(np.sqrt(2))


def test_a_missing_face_leaves_a_gap():
    shapes = np.zeros((3, 4), np.float32)
    shapes[0] = np.nan
    assert np.isnan(tremble(shapes, CLIPS[6:], FRAMES[6:])).all()
