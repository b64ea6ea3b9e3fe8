"""Overlap and merging of boxes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normpipe.faces.boxes import SAME_FACE_IOU, iou, weighted_nms

_corner = st.floats(0, 100)
_box = st.tuples(_corner, _corner, st.floats(1, 100), st.floats(1, 100)).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


def test_iou_by_hand():
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]], np.float32)
    np.testing.assert_allclose(iou(boxes[0], boxes), [1, 1 / 3, 0])


def test_iou_of_empty_boxes_is_zero():
    empty = np.zeros((1, 4), np.float32)
    assert iou(empty[0], empty)[0] == 0


@given(st.lists(st.tuples(_box, st.floats(0.01, 1)), max_size=12))
def test_merging_keeps_every_place_and_no_better_score_is_lost(found):
    shapes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score in found], np.float32)
    merged, best = weighted_nms(shapes, scores)
    assert len(merged) == len(best) <= len(found)
    assert (np.diff(best) <= 0).all()
    if found:
        assert best[0] == scores.max()
    for shape in shapes:
        assert any((shape[:2] < box[2:]).all() and (shape[2:] > box[:2]).all() for box in merged), (
            "every candidate overlaps a result"
        )


def test_two_views_of_a_face_become_their_weighted_mean():
    shapes = np.array([[0, 0, 10, 10, 4, 4], [1, 0, 11, 10, 8, 4]], np.float32)
    merged, best = weighted_nms(shapes, np.array([0.3, 0.9], np.float32))
    np.testing.assert_allclose(merged, [[0.75, 0, 10.75, 10, 7, 4]], rtol=1e-6)
    assert best == pytest.approx([0.9])


def test_neighbours_stay_two():
    shapes = np.array([[0, 0, 10, 10], [8, 0, 18, 10]], np.float32)
    assert iou(shapes[0], shapes)[1] < SAME_FACE_IOU
    assert len(weighted_nms(shapes, np.array([0.9, 0.8], np.float32))[0]) == 2
