"""Where a crop shows the picture and where it shows what lies outside, for crops of any size, turn and place."""

import numpy as np
import pytest
from fixtures.faces import aligned_face
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.batches import AlignedFace, Face, FaceRow, Frame, FrameRef
from normpipe.config import Align
from normpipe.faces.geometry import extent, five_points, mean_shape
from normpipe.faces.pose import rotation
from normpipe.stages.align import align

SIZE = 64


def crop(corners) -> AlignedFace:
    face = aligned_face(size=SIZE)
    return AlignedFace(face.image, face.landmarks, face.pose, np.array(corners, np.float32))


def rectangle(x0, y0, x1, y1):
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def depth(corners):
    """(SIZE, SIZE) distance of each pixel's centre to the nearest side of a convex outline, negative outside."""
    corners = np.array(corners, np.float64)
    across, down = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    distances = []
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        x, y = (end - start) / np.linalg.norm(end - start)
        distances.append((down - start[1]) * x - (across - start[0]) * y)
    return np.min(distances, axis=0)


def test_a_crop_from_the_middle_of_a_picture_shows_nothing_else():
    inside = crop(rectangle(-300, -200, 500, 400)).inside()
    assert inside.shape == (SIZE, SIZE)
    assert inside.dtype == np.float32
    assert (inside == 1).all()


def test_a_crop_beside_the_picture_shows_nothing_of_it():
    assert (crop(rectangle(-300, -300, -10, -10)).inside() == 0).all()


@settings(max_examples=100, deadline=None)
@given(st.floats(-20, 60), st.floats(-20, 60), st.floats(4, 100), st.floats(4, 100))
def test_along_the_axes_every_pixel_is_wholly_inside_and_few_are_lost(x, y, width, height):
    corners = rectangle(x, y, x + width, y + height)
    inside = crop(corners).inside() > 0
    room = depth(corners)
    assert (room[inside] >= 0.5 - 1e-3).all()
    assert inside[room >= 2].all()


def turned_frame(scale, degrees, x, y, width, height):
    """Corners of a (width, height) picture of which the crop shows (x, y) in its middle, turned and scaled."""
    turn = rotation(np.array([[0, 0, degrees]]))[0][:2, :2]
    corners = (np.array(rectangle(0, 0, width, height)) - (x, y)) * scale
    return corners @ turn.T + SIZE / 2


@settings(max_examples=150, deadline=None)
@given(st.floats(0.05, 20), st.floats(-180, 180), st.floats(0, 1), st.floats(0, 1), st.sampled_from([(6000, 4000), (640, 480)]))
def test_a_turned_crop_of_a_picture_of_any_size_ends_where_the_picture_ends(scale, degrees, x, y, size):
    width, height = size
    corners = turned_frame(scale, degrees, x * width, y * height, width, height)
    inside = crop(corners).inside() > 0
    room = depth(corners)
    assert (room[inside] > -0.5).all()
    assert inside[room > 2.5].all()


def test_a_small_tilted_face_in_a_large_photo_is_wholly_inside():
    """A face of 35 pixels near a corner of a 24-megapixel photo."""
    corners = turned_frame(7, 15, 500, 200, 6000, 4000)
    assert depth(corners).min() > 1000
    assert (crop(corners).inside() == 1).all()


def test_the_order_of_the_corners_does_not_matter():
    corners = turned_frame(1, 30, 20, 20, 60, 50)
    np.testing.assert_array_equal(crop(corners).inside(), crop(corners[::-1]).inside())
    np.testing.assert_array_equal(crop(corners).inside(), crop(np.roll(corners, 1, axis=0)).inside())


@pytest.mark.parametrize("roll", [0.0, 35.0, -120.0])
def test_aligned_crops_know_their_frame(roll):
    """In a white picture, what lies outside has the colour of the border and is what `inside` leaves out."""
    head = (60 * mean_shape().points @ rotation(np.array([[0, 0, roll]]))[0].T + (30, 40, 0)).astype(np.float32)
    face = Face(extent(head), five_points(head), head, np.array([0, 0, roll], np.float32), 0.9, 0.9)
    frame = Frame(FrameRef("a", "a"), np.full((300, 300, 3), 255, np.uint8), None)
    aligned = align(FaceRow(frame, 0, face), 128, Align())
    white = (aligned.image == 255).all(axis=2)
    inside = aligned.inside() > 0
    assert 0.1 < inside.mean() < 0.9
    assert white[inside].all()
    assert (white & ~inside).mean() < 0.05
