import io

import cv2
import numpy as np
import PIL.Image
import pytest
from fixtures.faces import noise

from normpipe.config import Encode
from normpipe.records import Failure, Reason
from normpipe.stages.encode import encode

SMOOTH = cv2.GaussianBlur(noise(0), (0, 0), 8)


@pytest.mark.parametrize(("name", "tolerance"), [("jpeg", 3), ("webp", 4), ("png", 0)])
def test_the_picture_comes_back_in_rgb_order(name, tolerance):
    image = SMOOTH.copy()
    image[:, :, 0] = 200
    decoded = np.asarray(PIL.Image.open(io.BytesIO(encode(image, Encode(format=name, quality=95)))))
    assert np.abs(decoded.astype(int) - image).mean() <= tolerance


@pytest.mark.parametrize("name", ["jpeg", "webp", "png"])
def test_nothing_but_the_picture_is_stored(name):
    image = PIL.Image.open(io.BytesIO(encode(SMOOTH, Encode(format=name))))
    assert image.format.lower() == name
    assert not image.getexif()
    assert not {"exif", "icc_profile", "comment", "xmp"} & set(image.info)


def test_jpeg_uses_half_resolution_chroma():
    image = PIL.Image.open(io.BytesIO(encode(SMOOTH, Encode(format="jpeg"))))
    assert [layer[1:3] for layer in image.layer] == [(2, 2), (1, 1), (1, 1)]


def test_quality_is_used():
    assert len(encode(SMOOTH, Encode(quality=50))) < len(encode(SMOOTH, Encode(quality=95)))


def test_equal_pixels_give_equal_bytes():
    assert encode(SMOOTH, Encode()) == encode(SMOOTH.copy(), Encode())


def test_a_failure_has_no_bytes():
    assert encode(Failure(Reason.NO_FACE), Encode()) is None
