"""Skin: the drawn one has a face's parts, and a frontal picture lands where its landmarks say."""

import cv2
import numpy as np
import pytest

from normpipe.batches import Detection, Landmarks
from normpipe.config import Detect
from normpipe.errors import NormpipeError
from normpipe.faces import build_detector, build_landmarker
from normpipe.synthetic.heads import Tile
from normpipe.synthetic.paint import FRONTAL, Palette, draw_atlas, face_atlas, fit_face_atlas


def shadeless(rig, atlas):
    """The frontal head in the paint's own colours."""
    from dataclasses import replace

    return rig.render(replace(FRONTAL, ambient=1.0, diffuse=0.0), atlas)


@pytest.fixture(scope="module")
def drawn(rig, atlas):
    return shadeless(rig, atlas)


@pytest.fixture(scope="module")
def landmarks(drawn):
    detector, landmarker = build_detector(Detect(), "cpu"), build_landmarker(Detect(), "cpu")
    return landmarker.landmarks(drawn.image, detector.detect(drawn.image)[:1])[0].points[:, :2].copy()


def color_at(head, points):
    x, y = np.mean(head.points[points], axis=0).astype(int)
    return head.image[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3).mean(axis=0)


def test_an_atlas_has_one_tile_per_part_and_always_the_same_bytes(rig, atlas):
    assert atlas.shape == (512, 512 * len(Tile), 3)
    assert atlas.dtype == np.uint8
    np.testing.assert_array_equal(draw_atlas(rig), atlas)


def test_the_drawn_face_has_its_parts_in_place(drawn):
    palette = Palette()
    np.testing.assert_allclose(color_at(drawn, [27, 28]), palette.skin, atol=12)  # bridge of the nose
    assert color_at(drawn, [19]).mean() < np.mean(palette.skin) - 40  # brow
    assert color_at(drawn, [57, 66])[1] < palette.skin[1] - 40  # lower lip is redder
    assert color_at(drawn, range(36, 42)).mean() < np.mean(palette.skin) - 40  # pupil


def test_the_palette_is_used(rig):
    green = shadeless(rig, draw_atlas(rig, Palette(skin=(90, 200, 90))))
    np.testing.assert_allclose(color_at(green, [27, 28]), (90, 200, 90), atol=12)


def test_a_frontal_picture_of_the_head_paints_the_same_head(rig, drawn, landmarks):
    again = shadeless(rig, face_atlas(rig, drawn.image, landmarks, landmarks))
    hull = cv2.fillConvexPoly(np.zeros((1024, 1024), np.uint8), cv2.convexHull(landmarks).astype(np.int32), 1)
    middle = cv2.erode(hull, np.ones((121, 121)))
    difference = np.abs(again.image.astype(float) - drawn.image)[middle > 0]
    assert difference.mean() < 6
    assert np.quantile(difference, 0.9) < 20


def test_only_the_landmarks_say_where_the_picture_goes(rig, drawn, landmarks):
    moved = np.roll(cv2.resize(drawn.image, (512, 512), interpolation=cv2.INTER_AREA), 20, axis=1)
    there, here = (
        shadeless(rig, face_atlas(rig, picture, points.astype(np.float32), landmarks)).image.astype(float)
        for picture, points in ((moved, landmarks / 2 + (20, 0)), (drawn.image, landmarks))
    )
    assert np.abs(there - here)[drawn.face_mask].mean() < 4


def test_the_rest_of_the_skin_takes_the_colour_of_the_faces_border(rig, drawn, landmarks):
    blue = np.full_like(drawn.image, (60, 90, 190))
    head = shadeless(rig, face_atlas(rig, blue, landmarks, landmarks))
    np.testing.assert_allclose(color_at(head, [8]) * (1, 1, 1), (60, 90, 190), atol=6)  # chin
    x, y = head.points[8].astype(int)
    np.testing.assert_allclose(head.image[y + 120, x], (60, 90, 190), atol=6)  # neck


class _Blind:
    fingerprint = "blind"

    def detect(self, image) -> list[Detection]:
        return []

    def landmarks(self, image, detections) -> list[Landmarks | None]:
        return [None for _ in detections]


def test_an_engine_that_does_not_find_the_head_is_an_error_in_words(rig, drawn, landmarks):
    with pytest.raises(NormpipeError, match="synthetic head"):
        fit_face_atlas(rig, drawn.image, landmarks, _Blind(), _Blind())


def test_the_engine_can_fit_the_picture_by_itself(rig, drawn, landmarks):
    detector, landmarker = build_detector(Detect(), "cpu"), build_landmarker(Detect(), "cpu")
    fitted = shadeless(rig, fit_face_atlas(rig, drawn.image, landmarks, detector, landmarker))
    assert np.abs(fitted.image.astype(float) - drawn.image)[drawn.face_mask].mean() < 12
