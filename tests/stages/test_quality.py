from dataclasses import replace

import cv2
import numpy as np
import pytest
from fixtures.faces import aligned_face, face, noise
from hypothesis import given
from hypothesis import strategies as st

from normpipe.batches import Frame, FrameRef
from normpipe.config import Align, Detect
from normpipe.faces.build import build_detector, build_landmarker
from normpipe.records import QUALITY_FIELDS, Failure, Reason
from normpipe.stages.align import align, template_detection
from normpipe.stages.detect import detect
from normpipe.stages.quality import Quality, Remeasure, inside_share, laplacian_variance, quality

NO_FACE = Failure(Reason.NO_FACE)


def one(face_=NO_FACE, size=(256, 256), aligned=NO_FACE, normalized=NO_FACE, remeasure=None):
    return quality([face_], [size], [aligned], [normalized], remeasure)[0]


def crop(image):
    return replace(aligned_face(), image=image)


def test_the_fields_are_those_of_the_schema():
    assert [field.name for field in QUALITY_FIELDS] == list(Quality.__dataclass_fields__)


def test_a_failed_row_has_no_measurement():
    assert one() == Quality()


def test_a_face_whose_rendering_failed_is_measured_in_source_and_crop():
    measured = one(face(), aligned=aligned_face(), normalized=Failure(Reason.NOT_RENDERED))
    assert measured.eye_distance is not None
    assert measured.sharpness is not None
    assert measured.normalized_score is None


def test_eye_distance_is_in_pixels_of_the_source():
    large = one(face(size=512), size=(512, 512)).eye_distance
    assert large == pytest.approx(2 * one(face()).eye_distance, rel=1e-4)


@pytest.mark.parametrize(
    ("box", "share"),
    [
        ((10, 10, 20, 20), 1),
        ((-5, 10, 5, 20), 0.5),
        ((-5, -5, 5, 5), 0.25),
        ((90, 0, 110, 50), 0.5),
        ((200, 200, 210, 210), 0),
        ((5, 5, 5, 9), 0),
    ],
)
def test_inside_share_is_area_inside_over_area(box, share):
    assert inside_share(np.array(box, np.float32), 100, 50) == pytest.approx(share)


@given(box=st.tuples(*[st.floats(-500, 500, width=32)] * 4), width=st.integers(1, 400), height=st.integers(1, 400))
def test_inside_share_is_a_share(box, width, height):
    assert 0 <= inside_share(np.array(box, np.float32), width, height) <= 1 + 1e-6


def test_a_uniform_crop_has_its_brightness_and_nothing_else():
    measured = one(aligned=crop(np.full((256, 256, 3), 77, np.uint8)))
    assert (measured.brightness, measured.contrast, measured.sharpness) == (77, 0, 0)


def test_contrast_is_the_standard_deviation():
    image = np.zeros((256, 256, 3), np.uint8)
    image[:128] = 200
    assert one(aligned=crop(image)).contrast == pytest.approx(100)


def test_sharpness_falls_with_blur_and_grows_with_the_square_of_contrast():
    grey = cv2.cvtColor(cv2.GaussianBlur(noise(0), (0, 0), 1), cv2.COLOR_RGB2GRAY)
    blurred = cv2.GaussianBlur(grey, (0, 0), 2)
    assert laplacian_variance(blurred) < 0.2 * laplacian_variance(grey)
    assert laplacian_variance(grey // 2) == pytest.approx(laplacian_variance(grey) / 4, rel=0.1)


def test_the_rendering_is_measured_again_where_its_face_is_expected(shared):
    portrait = cv2.imread(str(shared / "data/congress-portraits/A000014.jpg"), cv2.IMREAD_COLOR_RGB)
    landmarker = build_landmarker(Detect(), "cpu")
    frame = Frame(FrameRef("a", "a"), portrait, None)
    row = detect([frame], build_detector(Detect(), "cpu"), landmarker, Detect())[0]
    cut = align(row, 256, Align())
    remeasure = Remeasure(landmarker, template_detection(256, Align().margin))
    measured = one(aligned=cut, normalized=cut.image, remeasure=remeasure)
    assert measured.normalized_score > 0.9
    assert measured.normalized_yaw == pytest.approx(float(row.face.pose[0]), abs=3)
    assert abs(measured.normalized_roll) < 3
    nothing = one(aligned=cut, normalized=np.full((256, 256, 3), 61, np.uint8), remeasure=remeasure)
    assert nothing.normalized_score is None
    assert nothing.normalized_yaw is None
