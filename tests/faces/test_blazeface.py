"""Anchors and decoding, against values computed by hand."""

import numpy as np

from normpipe.faces.blazeface import anchors, decode


def test_anchor_counts_of_both_networks():
    assert anchors(128, ((8, 2), (16, 6))).shape == (896, 2)
    assert anchors(192, ((4, 1),)).shape == (2304, 2)


def test_anchors_are_cell_centres_row_by_row():
    found = anchors(16, ((8, 2),))
    np.testing.assert_allclose(found[:6], [[0.25, 0.25]] * 2 + [[0.75, 0.25]] * 2 + [[0.25, 0.75]] * 2)


def test_decode_adds_offsets_to_the_anchor_and_drops_low_scores():
    offsets = np.zeros((2, 16), np.float32)
    offsets[0, :8] = [8, 0, 32, 64, -16, 0, 16, 0]
    centres = np.array([[0.5, 0.5], [0.1, 0.1]], np.float32)
    shapes, scores = decode(offsets, np.array([[2.0], [-2.0]], np.float32), centres, 128, 0.5)
    np.testing.assert_allclose(shapes, [[0.4375, 0.25, 0.6875, 0.75, 0.375, 0.5, 0.625, 0.5]])
    np.testing.assert_allclose(scores, [1 / (1 + np.exp(-2))], rtol=1e-6)


def test_extreme_logits_do_not_overflow():
    with np.errstate(all="raise"):
        _, scores = decode(
            np.zeros((2, 16), np.float32), np.array([1e4, -1e4], np.float32), np.zeros((2, 2), np.float32), 128, 0.0
        )
    assert scores[0] == 1.0
    assert scores[1] < 1e-30
