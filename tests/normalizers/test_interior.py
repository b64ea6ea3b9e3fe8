"""What is seen through eyes and mouth: the source's light and dark, in colours that are the same for everyone."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from fixtures.faces import noise
from fixtures.portraits import SIZE, Expression, aligned, landmarks

from normpipe.normalizers.mean_face.interior import draw_interior
from normpipe.raster import rasterize

OPEN = landmarks(Expression(jaw=0.35, lids=0.1))
LIDS = ((159, 145), (386, 374))
COMMON = np.full((SIZE, SIZE, 3), (190, 140, 120), np.uint8)
COMMON[:, ::3] = (60, 40, 30)


def shut(points):
    """Lids and lips brought together, corner to corner."""
    closed = points.copy()
    contours = [
        ((246, 161, 160, 159, 158, 157, 173), (7, 163, 144, 145, 153, 154, 155)),
        ((466, 388, 387, 386, 385, 384, 398), (249, 390, 373, 374, 380, 381, 382)),
        ((191, 80, 81, 82, 13, 312, 311, 310, 415), (95, 88, 178, 87, 14, 317, 402, 318, 324)),
    ]
    for upper, lower in contours:
        closed[list(upper)] = closed[list(lower)] = (closed[list(upper)] + closed[list(lower)]) / 2
    return closed


def draw(model, image, source=OPEN, target=OPEN):
    canvas = COMMON.copy()
    mask = draw_interior(canvas, np.ascontiguousarray(target[:, :2]), aligned(image, source), COMMON, model)
    return canvas, mask


def region(points, triangles):
    flat = np.column_stack([points[:, :2], np.ones(468)]).astype(np.float32)
    return rasterize(flat, triangles, np.zeros_like(flat), (SIZE, SIZE))[1]


@pytest.fixture(scope="module")
def mouth(model):
    return region(OPEN, model.mouth_triangles)


@pytest.fixture(scope="module")
def eyes(model):
    return region(OPEN, model.eye_triangles)


def test_eyes_and_mouth_are_drawn_and_nothing_else(model, mouth, eyes):
    canvas, mask = draw(model, noise(0))
    assert mouth.sum() > 500
    assert eyes.sum() > 200
    np.testing.assert_array_equal(mask, mouth | eyes)
    np.testing.assert_array_equal(canvas[~mask], COMMON[~mask])
    assert (canvas[mask] != COMMON[mask]).any(axis=1).mean() > 0.9


def test_colours_of_the_source_stay_behind(model):
    image = noise(0)
    grey = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    np.testing.assert_array_equal(draw(model, image)[0], draw(model, grey)[0])


@pytest.mark.parametrize("tint", [(0.2, 0.2, 1.0), (0.2, 1.0, 0.2), (1.0, 1.0, 1.0)], ids=["blue", "green", "white"])
def test_teeth_and_eyes_are_warm_whatever_the_light(model, tint):
    canvas, mask = draw(model, (noise(0) * np.array(tint)).astype(np.uint8))
    red, green, blue = canvas[mask].astype(int).T
    assert (red >= green).all()
    assert (green >= blue).all()


def test_teeth_are_bright_and_the_dark_of_the_mouth_is_dark(model, mouth):
    image = np.full((SIZE, SIZE, 3), 168, np.uint8)
    rows = np.nonzero(mouth.any(axis=1))[0]
    middle = int(rows.mean())
    image[mouth & (np.arange(SIZE)[:, None] < middle)] = 230
    image[mouth & (np.arange(SIZE)[:, None] >= middle)] = 20
    canvas, _ = draw(model, image)
    teeth, dark = canvas[rows[0] : middle - 3][mouth[rows[0] : middle - 3]], canvas[middle + 3 :][mouth[middle + 3 :]]
    assert np.median(teeth) > 150
    assert np.median(dark) < 60


def test_the_mouth_is_as_bright_in_a_dark_photo(model, mouth):
    image = np.full((SIZE, SIZE, 3), 200, np.uint8)
    image[mouth] = (noise(0)[mouth] * 0.6).astype(np.uint8)
    bright, _ = draw(model, image)
    dark, _ = draw(model, (image * 0.5).astype(np.uint8))
    assert np.abs(bright[mouth].astype(int) - dark[mouth]).mean() < 4


def test_shut_lips_are_one_dark_line_whatever_the_source_shows(model, mouth):
    closed = shut(OPEN)
    first, second = (draw(model, noise(seed), source=closed)[0] for seed in (0, 1))
    np.testing.assert_array_equal(first[mouth], second[mouth])
    assert len(np.unique(first[mouth], axis=0)) == 1
    assert first[mouth].max() < 90


def test_shut_eyes_are_the_common_faces_own(model, eyes):
    canvas, _ = draw(model, noise(0), source=shut(OPEN))
    np.testing.assert_array_equal(canvas[eyes], COMMON[eyes])


def test_lips_without_room_between_them_draw_no_mouth(model):
    closed = shut(OPEN)
    _, mask = draw(model, noise(0), source=closed, target=closed)
    assert mask.sum() < 60


@pytest.mark.parametrize("lids", LIDS, ids=["left", "right"])
def test_the_gaze_passes(model, lids):
    """A dark iris that moves to a side in the source is dark on that side in the picture."""
    centre = OPEN[list(lids), :2].mean(axis=0)
    window = np.s_[int(centre[1]) - 3 : int(centre[1]) + 4, int(centre[0]) - 12 : int(centre[0]) + 13]
    darkest = []
    for shift in (-6, 0, 6):
        image = np.full((SIZE, SIZE, 3), 200, np.uint8)
        cv2.circle(image, (round(float(centre[0])) + shift, round(float(centre[1]))), 4, (30, 30, 30), -1)
        canvas, _ = draw(model, image)
        darkness = 255.0 - canvas[window].astype(float).mean(axis=(0, 2))
        weight = np.clip(darkness - np.median(darkness), 0, None)
        darkest.append(float((weight * np.arange(len(weight))).sum() / weight.sum()))
    assert darkest[0] + 3 < darkest[1] < darkest[2] - 3


def test_one_shut_eye_is_a_wink(model):
    wink = OPEN.copy()
    closed = shut(OPEN)
    left = [246, 161, 160, 159, 158, 157, 173, 7, 163, 144, 145, 153, 154, 155]
    wink[left] = closed[left]
    canvas, _ = draw(model, noise(0), source=wink)
    half = len(model.eye_triangles) // 2
    shut_eye, open_eye = region(OPEN, model.eye_triangles[:half]), region(OPEN, model.eye_triangles[half:])
    np.testing.assert_array_equal(canvas[shut_eye], COMMON[shut_eye])
    assert (canvas[open_eye] != COMMON[open_eye]).any(axis=1).mean() > 0.9


def test_a_source_that_lies_outside_its_crop_is_drawn_all_the_same(model):
    away = OPEN + np.array([3 * SIZE, 0, 0], np.float32)
    canvas, mask = draw(model, noise(0), source=away)
    assert mask.any()
    assert canvas.dtype == np.uint8


def test_only_skin_inside_the_frame_sets_the_level(model, mouth):
    def median(cheeks, inside):
        image = np.full((SIZE, SIZE, 3), cheeks, np.uint8)
        image[mouth] = 100
        face = aligned(image, OPEN)
        if not inside:
            face = replace(face, frame_corners=face.frame_corners - 2 * SIZE)
        canvas = COMMON.copy()
        draw_interior(canvas, np.ascontiguousarray(OPEN[:, :2]), face, COMMON, model)
        return np.median(canvas[mouth])

    assert median(100, inside=True) > median(220, inside=True) + 20
    assert median(100, inside=False) == median(220, inside=False)
