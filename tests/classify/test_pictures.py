"""Stored bytes to pictures: of the right size, in the right place; and whatever is no such picture is told."""

import cv2
import numpy as np
import pytest
from fixtures.faces import noise
from hypothesis import given
from hypothesis import strategies as st

from normpipe.classify.pictures import Warp, decoded, in_planes, recoloured, reduction, resized, side_of, warp_matrices
from normpipe.config import Encode
from normpipe.stages.encode import encode

FORMATS = [Encode(format="jpeg"), Encode(format="png"), Encode(format="webp")]


def smooth(side=64, seed=0):
    """A picture without detail that a format or a smaller size would lose."""
    return cv2.resize(noise(seed, 5, 5), (side, side), interpolation=cv2.INTER_CUBIC)


def stored(picture, options=FORMATS[0]):
    return np.frombuffer(encode(picture, options), np.uint8)


def differences(first, second):
    return np.abs(first.astype(int) - second).max()


@pytest.mark.parametrize("options", FORMATS, ids=lambda options: options.format)
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_a_shrunk_picture_holds_the_means_of_what_was_stored(options, factor):
    picture = smooth()
    whole = cv2.imdecode(stored(picture, options), cv2.IMREAD_COLOR_BGR)
    means = whole.reshape(64 // factor, factor, 64 // factor, factor, 3).mean(axis=(1, 3))
    assert differences(decoded(stored(picture, options), 64, factor), means) <= 8
    assert differences(decoded(stored(picture, options), 64, factor)[..., ::-1], means) > 30, (
        "else it is no test of the channels"
    )


@given(st.integers(1, 1024), st.integers(1, 1024))
def test_pictures_are_shrunk_as_far_as_the_training_allows(side, size):
    factor = reduction(side, size)
    assert factor == 1 or side / factor >= size
    assert factor == 8 or side / (2 * factor) < size


@pytest.mark.parametrize("options", FORMATS, ids=lambda options: options.format)
@pytest.mark.parametrize("factor", [1, 2])
def test_another_size_is_told(options, factor):
    assert decoded(stored(smooth(48), options), 64, factor) == "has 48 x 48 pixels, not 64 x 64"
    assert decoded(stored(smooth(64)[:32], options), 64, factor) == "has 64 x 32 pixels, not 64 x 64"


@pytest.mark.parametrize("options", FORMATS, ids=lambda options: options.format)
@pytest.mark.parametrize("keep", [0, 1, 2, 30, 0.5])
def test_a_cut_picture_is_told(options, keep):
    content = stored(noise(0, 64, 64), options)
    cut = content[: keep if isinstance(keep, int) else int(keep * len(content))]
    assert decoded(cut, 64) == "cannot be decoded"
    assert side_of(cut) is None


def test_any_bytes_are_told():
    assert decoded(np.frombuffer(b"no picture at all", np.uint8), 64) == "cannot be decoded"


def test_the_side_is_that_of_a_square():
    assert side_of(stored(smooth(48))) == 48
    assert side_of(stored(smooth(48)[:40])) is None


def warped(picture, matrix, size):
    return Warp(len(picture), size).placed(picture, matrix)


def as_it_is(side, size):
    return warp_matrices(np.eye(2, 3)[None, None], np.array([side]), size)[0, 0]


def test_a_warp_to_the_same_size_changes_nothing_but_the_order_of_channels():
    picture = noise(0, 64, 64)
    np.testing.assert_array_equal(warped(picture, as_it_is(64, 64), 64), picture[..., ::-1])


@pytest.mark.parametrize("size", [40, 63, 64, 100])
def test_a_warp_to_another_size_is_a_resize(size):
    picture = noise(0, 64, 64)
    assert differences(warped(picture, as_it_is(64, size), size), resized(picture, size)[..., ::-1]) <= 2


def test_a_mirrored_picture_is_the_mirror_image():
    picture = noise(0, 64, 64)
    matrix = warp_matrices(np.array([[[[-1.0, 0, 0], [0, 1, 0]]]]), np.array([64]), 64)[0, 0]
    np.testing.assert_array_equal(warped(picture, matrix, 64), picture[:, ::-1, ::-1])


def test_a_quarter_turn_keeps_the_centre():
    picture = noise(0, 64, 64)
    matrix = warp_matrices(np.array([[[[0.0, -1, 0], [1, 0, 0]]]]), np.array([64]), 64)[0, 0]
    np.testing.assert_array_equal(warped(picture, matrix, 64), np.rot90(picture)[..., ::-1])


def test_a_shift_is_counted_in_halves_of_the_side_and_repeats_the_border():
    picture = noise(0, 64, 64)
    matrix = warp_matrices(np.array([[[[1.0, 0, 0.25], [0, 1, 0]]]]), np.array([64]), 64)[0, 0]
    moved = warped(picture, matrix, 64)[..., ::-1]
    np.testing.assert_array_equal(moved[:, :56], picture[:, 8:])
    np.testing.assert_array_equal(moved[:, 56:], np.repeat(picture[:, -1:], 8, axis=1))


@given(st.integers(0, 10**6), st.integers(5, 70), st.integers(5, 70))
def test_a_warp_reads_between_the_pixels_of_a_picture_that_goes_on_as_it_ends(seed, side, size):
    random = np.random.default_rng(seed)
    picture, placing = noise(seed, side, side), random.normal(0, 0.7, (1, 1, 2, 3))
    matrix = warp_matrices(placing, np.array([side]), size)[0, 0]
    x, y = matrix @ np.stack([*np.indices((size, size))[::-1].reshape(2, -1), np.ones(size**2)])
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    corners = [
        picture[np.clip(y0 + down, 0, side - 1), np.clip(x0 + across, 0, side - 1)]
        * np.abs((1 - across - x + x0) * (1 - down - y + y0))[:, None]
        for down in (0, 1)
        for across in (0, 1)
    ]
    wanted = sum(corners).reshape(size, size, 3)[..., ::-1]
    assert np.abs(warped(picture, matrix, size) - wanted).max() <= 2


def test_a_warp_remembers_no_picture():
    matrix = np.array([[0.9, 0.3, -9], [-0.3, 0.8, 12]])
    warp = Warp(64, 50)
    warp.placed(noise(1, 64, 64), matrix)
    np.testing.assert_array_equal(warp.placed(noise(0, 64, 64), matrix), warped(noise(0, 64, 64), matrix, 50))


def test_colours_are_mixed_as_told_and_stay_colours():
    picture = noise(0, 64, 64)
    colour = np.array([[0.5, 0, 0, 10], [0.1, 0.9, 0, 0], [0, 0, 2, -20]], np.float32)
    wanted = np.clip(np.round(picture @ colour[:, :3].T + colour[:, 3]), 0, 255)
    assert differences(recoloured(picture, colour), wanted) <= 1


def test_planes_are_the_channels():
    picture, planes = noise(0, 64, 64), np.empty((3, 64, 64), np.uint8)
    in_planes(picture, planes)
    np.testing.assert_array_equal(planes, picture.transpose(2, 0, 1))
