import numpy as np
import pytest
from fixtures.portraits import SURPRISE, landmarks, turned

from normpipe.audit.descriptors import ground, shape_deviations, thumbnail
from normpipe.audit.regions import shape_regions


def test_the_mean_face_does_not_deviate_wherever_it_is_and_looks():
    for points in (landmarks(), landmarks() + 40, turned(landmarks(), yaw=20, roll=10)):
        assert np.abs(shape_deviations(points.astype(np.float32))).max() < 0.02


def test_surprise_moves_brows_up_and_the_mouth_apart():
    moved = shape_deviations(landmarks(SURPRISE)) - shape_deviations(landmarks())
    regions = shape_regions()
    down = {name: moved[columns[columns % 2 == 1]].mean() for name, columns in regions.items()}
    assert down["brows"] < -0.05
    assert down["cheeks and jaw"] > 0.05
    assert all(columns.max() < 936 for columns in regions.values())


def test_the_ground_is_what_lies_outside_the_face():
    points = landmarks()
    image = np.full((256, 256, 3), (255, 0, 51), np.uint8)
    low, high = points[:, :2].min(axis=0).astype(int) + 20, points[:, :2].max(axis=0).astype(int) - 20
    image[low[1] : high[1], low[0] : high[0]] = 128  # inside the face: must not count
    assert ground(image, points) == pytest.approx([1, 0, 0.2, 0, 0, 0], abs=1e-3)


def test_a_face_that_fills_the_picture_has_no_ground():
    assert np.isnan(ground(np.zeros((64, 64, 3), np.uint8), landmarks(size=64) * 3 - 64)).all()


def test_a_thumbnail_is_luminance_in_whole_numbers():
    image = np.full((256, 256, 3), 77, np.uint8)
    assert (thumbnail(image) == 77).all()
    assert thumbnail(image).shape == (1024,)
