"""The FaceLandmarker adapter on the real bundle, in its guarded process."""

from pathlib import Path

import numpy as np
import pytest

from normpipe.config import Detect
from normpipe.errors import ModelUnavailableError, NormpipeError
from normpipe.faces.build import build_detector, build_landmarker
from normpipe.faces.geometry import five_points
from normpipe.faces.mediapipe_engine import MediaPipeEngine

pytest.importorskip("mediapipe", reason="the mediapipe extra is not installed")


@pytest.fixture(scope="module")
def store(shared, tmp_path_factory):
    bundle = shared / "models" / "face_landmarker.task"
    if not bundle.is_file():
        pytest.skip("needs models/face_landmarker.task in ../shared")
    folder = tmp_path_factory.mktemp("store")
    (folder / bundle.name).symlink_to(bundle)
    return folder


@pytest.fixture(scope="module")
def mediapipe_engine(store):
    built = build_landmarker(Detect(landmarker="mediapipe"), "cpu", store)
    yield built
    built.close()


def test_detects_one_face_where_the_embedded_engine_does(mediapipe_engine, engine, astronaut):
    (found,) = mediapipe_engine.detect(astronaut)
    (expected,) = engine.detect(astronaut)
    np.testing.assert_allclose(found.eyes, expected.eyes, atol=6)


def test_landmarks_agree_with_the_embedded_engine(mediapipe_engine, engine, astronaut):
    detections = engine.detect(astronaut)
    (found,), (expected,) = (own.landmarks(astronaut, detections) for own in (mediapipe_engine, engine))
    assert found.points.shape == (468, 3)
    assert found.points.dtype == np.float32
    eyes = np.linalg.norm(np.diff(five_points(expected.points)[:2], axis=0))
    error = np.linalg.norm(found.points[:, :2] - expected.points[:, :2], axis=1).mean()
    assert error < 0.1 * eyes
    assert np.corrcoef(found.points[:, 2], expected.points[:, 2])[0, 1] > 0.9, "depth has the same sign and scale"


def test_grey_pictures_are_three_equal_channels(mediapipe_engine, astronaut):
    grey = np.repeat(astronaut.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    assert len(mediapipe_engine.detect(grey)) == 1


def test_no_face_is_none_and_keeps_its_place(mediapipe_engine, engine, astronaut):
    detections = engine.detect(astronaut)
    blank = np.zeros_like(astronaut)
    assert mediapipe_engine.detect(blank) == []
    assert mediapipe_engine.landmarks(blank, detections) == [None]
    assert mediapipe_engine.landmarks(astronaut, []) == []


def test_the_process_cannot_reach_a_network(mediapipe_engine):
    environment = Path(f"/proc/{mediapipe_engine._process.process.pid}/environ")
    if not environment.exists():
        pytest.skip("needs /proc")
    variables = dict(entry.split("=", 1) for entry in environment.read_text().split("\0") if "=" in entry)
    assert variables["https_proxy"] == variables["HTTPS_PROXY"] == "http://127.0.0.1:9"
    assert variables["no_proxy"] == ""


def test_closing_ends_the_process(store, astronaut):
    engine = build_detector(Detect(detector="mediapipe"), "cpu", store)
    engine.close()
    assert engine._process.process.returncode is not None
    with pytest.raises(NormpipeError, match="has ended"):
        engine.detect(astronaut)


def test_an_absent_bundle_is_refused(tmp_path):
    with pytest.raises(ModelUnavailableError, match="mediapipe-face-landmarker is absent"):
        build_detector(Detect(detector="mediapipe"), "cpu", tmp_path)


def test_a_file_that_is_no_bundle_is_refused(tmp_path):
    (tmp_path / "x.task").write_bytes(b"no bundle")
    with pytest.raises(ModelUnavailableError, match=r"cannot load x\.task"):
        MediaPipeEngine(tmp_path / "x.task", 0.5)
