"""The embedded engine on real photos, whatever is done to them."""

import cv2
import numpy as np
import pytest

from normpipe.batches import Detection
from normpipe.config import Detect, FacePolicy
from normpipe.faces.boxes import iou
from normpipe.faces.build import build_detector
from normpipe.faces.geometry import extent, five_points
from normpipe.faces.pose import pose


def _points(engine, image):
    """Landmarks of the only face."""
    detections = engine.detect(image)
    assert len(detections) == 1
    found = engine.landmarks(image, detections)[0]
    assert found is not None
    return found.points


def _error(points, expected):
    eyes = np.linalg.norm(expected[0] - expected[1])
    return np.linalg.norm(five_points(points) - expected, axis=1).mean() / eyes


def test_one_face_with_its_eyes_and_mouth_in_place(engine, astronaut):
    found = five_points(_points(engine, astronaut))
    # Read off the photo by eye.
    expected = np.array([[202, 101], [248, 103], [224, 127], [204, 140], [244, 142]])
    np.testing.assert_allclose(found, expected, atol=4)


def test_six_faces_of_a_group_and_no_other(exhaustive_engine, group):
    detections = exhaustive_engine.detect(group)
    found = exhaustive_engine.landmarks(group, detections)
    assert len(found) == 6
    assert all(placed is not None for placed in found)
    boxes = np.stack([extent(placed.points) for placed in found])
    assert all(np.sum(iou(box, boxes) > 0.1) == 1 for box in boxes), "none twice"
    assert [detection.score for detection in detections] == sorted((d.score for d in detections), reverse=True)


@pytest.mark.parametrize("degrees", [-40, 30, 70, 90, 135, 180, 225, 270])
def test_a_turned_face_is_found_and_its_roll_known(engine, astronaut, degrees):
    straight = _points(engine, astronaut)
    head = astronaut[20:260, 100:340]
    turn = cv2.getRotationMatrix2D((120, 120), -degrees, 1.0)
    turned = cv2.warpAffine(head, turn, (240, 240), borderMode=cv2.BORDER_REPLICATE)
    expected = (five_points(straight) - (100, 20)) @ turn[:, :2].T + turn[:, 2]
    points = _points(engine, turned)
    assert _error(points, expected) < 0.1
    difference = pose(points[None])[0, 2] - pose(straight[None])[0, 2] - degrees
    assert abs((difference + 180) % 360 - 180) < 6


@pytest.mark.parametrize(("side", "grey"), [(100, False), (48, True)])
@pytest.mark.parametrize("share", [1.0, 0.8])
def test_a_tight_and_tiny_crop(engine, astronaut, side, grey, share):
    straight = _points(engine, astronaut)
    x0, y0, x1, y1 = extent(straight)
    half = share * max(x1 - x0, y1 - y0) / 2
    x, y = int((x0 + x1) / 2 - half), int((y0 + y1) / 2 - half)
    extent_px = int(2 * half)
    crop = cv2.resize(astronaut[y : y + extent_px, x : x + extent_px], (side, side), interpolation=cv2.INTER_AREA)
    if grey:
        crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    expected = (five_points(straight) - (x, y)) * (side / extent_px)
    assert _error(_points(engine, crop), expected) < 0.12


def test_a_small_face_in_a_large_picture(exhaustive_engine, astronaut):
    small = cv2.resize(astronaut, (150, 150), interpolation=cv2.INTER_AREA)
    picture = np.full((1000, 1500, 3), 120, np.uint8)
    picture[700:850, 1200:1350] = small
    expected = five_points(_points(exhaustive_engine, astronaut)) * (150 / 512) + (1200, 700)
    assert _error(_points(exhaustive_engine, picture), expected) < 0.12


@pytest.mark.parametrize("value", [0, 127, 255])
def test_plain_pictures_hold_no_face(engine, exhaustive_engine, value):
    plain = np.full((300, 400, 3), value, np.uint8)
    assert engine.detect(plain) == []
    assert exhaustive_engine.detect(plain) == []


def test_noise_holds_no_face(exhaustive_engine):
    noise = np.random.default_rng(0).integers(0, 256, (320, 480, 3), np.uint8)
    assert exhaustive_engine.detect(noise) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (900, 3), (20, 20)])
def test_odd_shapes_are_searched_without_error(engine, shape):
    assert engine.detect(np.zeros((*shape, 3), np.uint8)) == []


def test_landmarks_in_an_empty_place_are_none(engine, astronaut):
    nowhere = Detection(np.array([380, 300, 480, 400], np.float32), 0.9)
    face = engine.detect(astronaut)[0]
    found = engine.landmarks(astronaut, [nowhere, face, nowhere])
    assert [placed is None for placed in found] == [True, False, True]


def test_a_coarse_box_without_eyes_gives_the_same_landmarks(engine, astronaut):
    exact = _points(engine, astronaut)
    x0, y0, x1, y1 = extent(exact)
    coarse = Detection(np.array([x0 - 25, y0 - 50, x1 + 25, y1 + 10], np.float32), 0.5)
    found = engine.landmarks(astronaut, [coarse])[0]
    assert _error(found.points, five_points(exact)) < 0.03


def test_the_same_picture_gives_the_same_bytes(engine, astronaut):
    assert _points(engine, astronaut).tobytes() == _points(engine, astronaut).tobytes()
    fresh = build_detector(Detect(), "cpu")
    assert _points(fresh, astronaut).tobytes() == _points(engine, astronaut).tobytes()


def test_fingerprint_follows_the_options():
    seen = {
        build_detector(options, "cpu").fingerprint
        for options in (Detect(), Detect(policy=FacePolicy.ALL), Detect(min_score=0.7), Detect(policy=FacePolicy.BOX))
    }
    assert len(seen) == 3, "policy box searches as largest does; the others differ"
