"""Wrinkles in the atlas: light, colour, size and background drop out; what is not seen is zero."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from fixtures.faces import noise
from fixtures.portraits import SIZE, aligned, hull_mask, landmarks, portrait, turned
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.normalizers.mean_face.detail import ATLAS_SIDE, Detail, extract_detail, facing
from normpipe.normalizers.mean_face.model import load_model

NOSE_TIP, FOREHEAD, LEFT_CHEEK, RIGHT_CHEEK = 4, 151, 50, 280


def found(face, model):
    return extract_detail(face, model.atlas_points, model.skin_triangles, model.detail_mask)


def extract(face, model):
    """Detail as far as it is seen."""
    return found(face, model).deviation(np.float32(0))


def as_atlas(detail, model):
    atlas = np.zeros((ATLAS_SIDE, ATLAS_SIDE), np.float32)
    atlas[model.detail_mask] = detail
    return atlas


def around(atlas, model, point, reach=4):
    x, y = np.round(model.atlas_points[point] * ATLAS_SIDE).astype(int)
    return atlas[y - reach : y + reach + 1, x - reach : x + reach + 1]


def plain(level=160, points=None):
    points = landmarks() if points is None else points
    return aligned(np.full((SIZE, SIZE, 3), level, np.uint8), points)


def with_wrinkle(face, point=FOREHEAD, level=110):
    image = face.image.copy()
    x, y = np.round(face.landmarks[point, :2]).astype(int)
    cv2.line(image, (int(x) - 20, int(y)), (int(x) + 20, int(y)), (level, level, level), 3)
    return replace(face, image=image)


def test_plain_skin_has_no_detail(model):
    detail = found(plain(), model)
    for array in (detail.values, detail.weights):
        assert array.shape == (model.detail_mask.sum(),)
        assert array.dtype == np.float32
    np.testing.assert_allclose(detail.deviation(np.float32(0)), 0, atol=1e-2)
    assert np.median(detail.weights) == 1


def test_a_wrinkle_is_dark_where_it_is(model):
    atlas = as_atlas(extract(with_wrinkle(plain()), model), model)
    assert around(atlas, model, FOREHEAD).min() < -0.1
    assert np.abs(around(atlas, model, LEFT_CHEEK)).max() < 0.01


def test_light_from_one_side_is_no_detail(model):
    ramp = np.linspace(90, 220, SIZE)[None, :, None] * np.ones((SIZE, 1, 3))
    lit = aligned(ramp.astype(np.uint8), landmarks())
    wrinkle = np.abs(extract(with_wrinkle(plain()), model)).max()
    assert np.percentile(np.abs(extract(lit, model)), 99) < 0.2 * wrinkle


def test_the_level_of_light_is_nearly_no_matter(model):
    bright = extract(with_wrinkle(plain(200), level=140), model)
    dark = extract(with_wrinkle(plain(100), level=70), model)
    assert np.corrcoef(bright, dark)[0, 1] > 0.99
    assert np.abs(bright).max() == pytest.approx(np.abs(dark).max(), rel=0.15)


def test_colour_is_no_matter(model):
    face = aligned(noise(0), landmarks())
    grey = np.repeat(cv2.cvtColor(face.image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    np.testing.assert_array_equal(extract(face, model), extract(replace(face, image=grey), model))


def test_the_size_of_the_crop_is_hardly_a_matter(model):
    small = with_wrinkle(plain())
    large = aligned(cv2.resize(small.image, (512, 512), interpolation=cv2.INTER_CUBIC), small.landmarks * 2)
    assert np.corrcoef(extract(small, model), extract(large, model))[0, 1] > 0.95


def test_the_wall_behind_is_no_matter(model):
    face = portrait(model, landmarks())
    image = face.image.copy()
    wall = ~hull_mask(face.landmarks, SIZE, margin=4)
    image[wall] = noise(1)[wall]
    np.testing.assert_array_equal(extract(face, model), extract(replace(face, image=image), model))


def test_what_the_frame_cuts_off_has_no_detail(model):
    face = aligned(noise(0), landmarks())
    left_half = replace(face, frame_corners=np.array([[0, 0], [128, 0], [128, 256], [0, 256]], np.float32))
    whole, half = (as_atlas(extract(shown, model), model) for shown in (face, left_half))
    assert np.abs(around(whole, model, RIGHT_CHEEK)).max() > 0.03
    assert (around(half, model, RIGHT_CHEEK) == 0).all()
    np.testing.assert_array_equal(around(half, model, LEFT_CHEEK), around(whole, model, LEFT_CHEEK))


def test_skin_that_is_turned_away_has_no_detail(model):
    face = aligned(noise(0), turned(landmarks(), yaw=75))
    atlas = as_atlas(extract(face, model), model)
    assert np.abs(around(atlas, model, LEFT_CHEEK)).max() > 0.03
    assert (around(atlas, model, RIGHT_CHEEK) == 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5), st.floats(0.2, 4), st.floats(-300, 300), st.floats(-300, 300), st.floats(-90, 90))
def test_detail_is_bounded_wherever_the_face_lies(seed, scale, x, y, yaw):
    points = turned(landmarks(), yaw) * np.float32(scale) + np.array([x, y, 0], np.float32)
    detail = found(aligned(noise(seed), points.astype(np.float32)), load_model())
    assert np.isfinite(detail.values).all()
    assert np.abs(detail.values).max() <= 0.7 + 1e-6
    assert (detail.weights >= 0).all()
    assert (detail.weights <= 1).all()


def test_a_face_outside_the_crop_shows_nothing(model):
    away = landmarks() + np.array([2 * SIZE, 0, 0], np.float32)
    assert (found(aligned(noise(0), away), model).weights == 0).all()


def test_a_deviation_counts_as_far_as_it_is_seen():
    detail = Detail(np.array([0.3, 0.3, 0.3], np.float32), np.array([0.0, 0.5, 1.0], np.float32))
    np.testing.assert_allclose(detail.deviation(np.array([0.1, 0.1, 0.3], np.float32)), [0, 0.1, 0], atol=1e-6)


def test_the_nose_faces_the_viewer_and_a_profiles_far_cheek_does_not(model):
    frontal = facing(landmarks(), model.skin_triangles)
    assert frontal.shape == (468,)
    assert frontal[FOREHEAD] > 0.8
    assert np.median(frontal) > 0.5
    profile = facing(turned(landmarks(), yaw=80), model.skin_triangles)
    assert profile[LEFT_CHEEK] > 0.5
    assert profile[RIGHT_CHEEK] < 0
    assert (np.abs(frontal) <= 1 + 1e-6).all()


def test_triangles_the_other_way_round_face_away(model):
    np.testing.assert_allclose(
        facing(landmarks(), model.skin_triangles[:, ::-1]), -facing(landmarks(), model.skin_triangles), atol=1e-5
    )
