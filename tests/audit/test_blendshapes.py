import numpy as np
import pytest
from fixtures.photos import astronaut

from normpipe.audit.blendshapes import BLENDSHAPES, Blendshapes
from normpipe.errors import NormpipeError, UsageError

pytest.importorskip("mediapipe")


@pytest.fixture(scope="module")
def instrument(shared):
    blendshapes = Blendshapes(shared / "models" / "face_landmarker.task")
    yield blendshapes
    blendshapes.close()


def test_a_smile_is_seen(instrument):
    face = np.ascontiguousarray(astronaut()[:300, 100:400])
    scores = dict(zip(BLENDSHAPES, instrument.measure(face), strict=True))
    assert scores["mouthSmile"] > 0.3
    assert scores["jawOpen"] < scores["mouthSmile"]


def test_without_a_face_there_is_no_number(instrument):
    assert np.isnan(instrument.measure(np.zeros((64, 64, 3), np.uint8))).all()


def test_the_same_picture_has_the_same_scores(instrument):
    face = np.ascontiguousarray(astronaut()[:300, 100:400])
    first = instrument.measure(face)
    instrument.measure(np.zeros((64, 64, 3), np.uint8))
    assert np.array_equal(instrument.measure(face), first)


def test_a_file_that_is_no_bundle_is_one_line(tmp_path):
    (tmp_path / "noise.task").write_bytes(b"noise")
    with pytest.raises(UsageError, match=r"--blendshapes noise\.task: mediapipe cannot load it"):
        Blendshapes(tmp_path / "noise.task")


def test_a_process_that_died_is_told(shared):
    blendshapes = Blendshapes(shared / "models" / "face_landmarker.task")
    blendshapes._process.process.kill()
    blendshapes._process.process.wait()
    with pytest.raises(NormpipeError, match="mediapipe's process has ended"):
        blendshapes.measure(np.zeros((64, 64, 3), np.uint8))
    blendshapes.close()
