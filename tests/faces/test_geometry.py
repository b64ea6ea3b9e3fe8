"""The rigid fit recovers what was done to a shape, derived points and boxes lie where they should, mirroring undoes itself."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.faces.geometry import extent, fit_head, fit_similarity, five_points, mean_shape, mirror_points
from normpipe.faces.pose import rotation
from normpipe.normalizers.mean_face.model import load_model

ANGLES = st.tuples(st.floats(-80, 80), st.floats(-60, 60), st.floats(-179, 179))


def test_mean_shape_is_frontal_centred_on_the_eyes_and_one_eye_distance_wide():
    points = five_points(mean_shape().points)
    np.testing.assert_allclose(points[:2], [[-0.5, 0], [0.5, 0]], atol=1e-4)
    assert mean_shape().points.shape == (468, 3)
    assert mean_shape().points[4, 2] == mean_shape().points[:, 2].min(), "the nose tip is nearest to the camera"
    assert (mean_shape().weights > 0).sum() >= 10


@settings(max_examples=50, deadline=None)
@given(ANGLES, st.floats(0.1, 500), st.floats(-1000, 1000), st.floats(-1000, 1000))
def test_fit_recovers_a_similarity(angles, scale, x, y):
    turn = rotation(np.array([angles]))[0]
    target = scale * mean_shape().points @ turn.T + (x, y, 3.0)
    found = fit_head(target[None].astype(np.float32))
    np.testing.assert_allclose(found.rotation[0], turn, atol=1e-3)
    np.testing.assert_allclose(found.scale[0], scale, rtol=1e-3)
    np.testing.assert_allclose(
        found.apply(mean_shape().points)[0], target, atol=2e-3 * scale + 2e-3 * (1 + abs(x) + abs(y)) / 10
    )


def test_points_without_weight_do_not_move_the_fit():
    moved = 100 * mean_shape().points.copy()
    moved[mean_shape().weights == 0] += 40
    found = fit_head(moved[None])
    np.testing.assert_allclose(found.rotation[0], np.eye(3), atol=1e-5)
    np.testing.assert_allclose(found.scale[0], 100, rtol=1e-5)


def test_a_mirrored_shape_is_not_fitted_by_a_mirror():
    mirrored = mean_shape().points * (1, 1, -1)
    assert np.linalg.det(fit_head(mirrored[None].astype(np.float32)).rotation[0]) == pytest.approx(1)


def test_batch_equals_one_by_one():
    generator = np.random.default_rng(0)
    targets = (mean_shape().points + generator.normal(0, 0.05, (5, 468, 3))).astype(np.float32)
    together = fit_head(targets)
    for index, target in enumerate(targets):
        alone = fit_head(target[None])
        np.testing.assert_allclose(alone.rotation[0], together.rotation[index], atol=1e-12)


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="belong together"):
        fit_similarity(np.zeros((4, 3), np.float32), np.zeros((1, 5, 3), np.float32), np.ones(4, np.float32))


def test_extent_contains_all_points_and_touches_four():
    points = np.random.default_rng(1).normal(size=(2, 468, 3)).astype(np.float32)
    boxes = extent(points)
    assert boxes.shape == (2, 4)
    assert (points[..., :2] >= boxes[:, None, :2]).all()
    assert (points[..., :2] <= boxes[:, None, 2:]).all()
    np.testing.assert_array_equal(boxes[0, :2], points[0, :, :2].min(axis=0))


def test_the_image_of_the_image_is_the_point_itself():
    points = mean_shape().points
    mirror = mirror_points(points)
    np.testing.assert_array_equal(mirror[mirror], np.arange(468))
    middle = np.nonzero(mirror == np.arange(468))[0]
    assert len(middle) == 28
    np.testing.assert_allclose(points[middle, 0], 0, atol=1e-3)
    np.testing.assert_allclose(points[mirror] * [-1, 1, 1], points, atol=1e-3)


def test_eyes_mouth_corners_and_brows_are_each_others_image():
    mirror = mirror_points(mean_shape().points)
    for left, right in ((33, 263), (133, 362), (61, 291), (107, 336), (234, 454)):
        assert mirror[left] == right


def edges(triangles):
    """How many triangles lie at each edge."""
    return Counter(tuple(sorted(pair)) for a, b, c in triangles.tolist() for pair in ((a, b), (b, c), (c, a)))


def test_the_mirror_maps_the_mesh_onto_itself():
    mirror, skin = mirror_points(mean_shape().points), load_model().skin_triangles
    # A handful of quads of the skin are cut along the other diagonal on the other side.
    here, there = edges(skin), edges(mirror[skin])
    assert len(set(here) ^ set(there)) < 0.02 * len(here)
    rims = [{edge for edge, uses in found.items() if uses == 1} for found in (here, there)]
    assert rims[0] == rims[1]
