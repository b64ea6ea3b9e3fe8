"""Every frame keeps a row, the policy picks the faces, and their order is their place."""

import numpy as np
import pytest

from normpipe.batches import Detection, Face, Frame, FrameRef, Landmarks
from normpipe.config import Detect, FacePolicy
from normpipe.faces.boxes import iou
from normpipe.faces.build import build_detector
from normpipe.faces.geometry import mean_shape
from normpipe.records import Failure, Reason
from normpipe.stages.detect import detect
from tests.fixtures import photos

BLANK = np.zeros((200, 300, 3), np.uint8)


class Scripted:
    """Finds what it was told to; a face is wherever the score of its detection is not 0.25."""

    fingerprint = "scripted"

    def __init__(self, *boxes, scores=None):
        self._found = [
            Detection(np.array(box, np.float32), score) for box, score in zip(boxes, scores or [0.9] * len(boxes), strict=True)
        ]
        self.looked_at = 0

    def detect(self, image):
        return list(self._found)

    def landmarks(self, image, detections):
        self.looked_at += len(detections)
        return [None if detection.score == 0.25 else self._placed(detection) for detection in detections]

    @staticmethod
    def _placed(detection):
        shape = mean_shape().points
        low, high = shape.min(axis=0)[:2], shape.max(axis=0)[:2]
        points = shape.copy()
        points[:, :2] = detection.box[:2] + (shape[:, :2] - low) / (high - low) * (detection.box[2:] - detection.box[:2])
        return Landmarks(points, 0.95)


def _frame(image=BLANK, sample_id="a", box=None):
    return Frame(FrameRef(sample_id, "a.png", box=None if box is None else np.array(box, np.float32)), image, "0" * 64)


def _run(engine, policy, *frames):
    return detect(frames or [_frame()], engine, engine, Detect(policy=policy))


LEFT, MIDDLE, RIGHT = (10, 10, 60, 60), (125, 75, 165, 115), (200, 20, 290, 110)


def test_largest_and_only_it_is_looked_at():
    engine = Scripted(LEFT, MIDDLE, RIGHT)
    (row,) = _run(engine, FacePolicy.LARGEST)
    np.testing.assert_allclose(row.face.box, RIGHT, atol=1e-3)
    assert row.face_index == 0
    assert engine.looked_at == 1


def test_largest_that_is_no_face_gives_way_to_the_next():
    (row,) = _run(Scripted(LEFT, RIGHT, scores=[0.9, 0.25]), FacePolicy.LARGEST)
    np.testing.assert_allclose(row.face.box, LEFT, atol=1e-3)


def test_central():
    (row,) = _run(Scripted(LEFT, MIDDLE, RIGHT), FacePolicy.CENTRAL)
    np.testing.assert_allclose(row.face.box, MIDDLE, atol=1e-3)


def test_all_in_the_order_of_their_place():
    rows = _run(Scripted(RIGHT, MIDDLE, LEFT, scores=[0.9, 0.8, 0.7]), FacePolicy.ALL)
    np.testing.assert_allclose([row.face.box for row in rows], [LEFT, MIDDLE, RIGHT], atol=1e-3)
    assert [row.face_index for row in rows] == [0, 1, 2]


def test_all_keeps_faces_alone():
    rows = _run(Scripted(LEFT, MIDDLE, scores=[0.25, 0.8]), FacePolicy.ALL)
    assert len(rows) == 1
    assert rows[0].face.detector_score == pytest.approx(0.8)


def test_all_gives_a_face_found_twice_once():
    twice = (12, 8, 63, 58)
    rows = _run(Scripted(twice, LEFT, RIGHT, scores=[0.7, 0.9, 0.8]), FacePolicy.ALL)
    np.testing.assert_allclose([row.face.box for row in rows], [LEFT, RIGHT], atol=1e-3)


@pytest.mark.parametrize("policy", [FacePolicy.LARGEST, FacePolicy.CENTRAL, FacePolicy.ALL])
@pytest.mark.parametrize("engine", [Scripted(), Scripted(LEFT, scores=[0.25])], ids=["nothing found", "nothing confirmed"])
def test_no_face(policy, engine):
    (row,) = _run(engine, policy)
    assert row.face_index is None
    assert row.face == Failure(Reason.NO_FACE)


def test_failed_frames_keep_their_row_and_their_reason():
    unreadable = Failure(Reason.UNREADABLE, "bad marker")
    frames = [_frame(sample_id="a"), _frame(unreadable, "b"), _frame(sample_id="c")]
    rows = _run(Scripted(LEFT, RIGHT), FacePolicy.ALL, *frames)
    assert [row.frame.ref.sample_id for row in rows] == ["a", "a", "b", "c", "c"]
    assert [row.face_index for row in rows] == [0, 1, None, 0, 1]
    assert rows[2].face is unreadable


def test_box_takes_the_face_in_the_box():
    # The detector sees the surroundings of the box alone, and answers in their pixels.
    x, y = 145 - 50, 95 - 50
    engine = Scripted((0, 0, 9, 9), (125 - x, 75 - y, 165 - x, 115 - y))
    (row,) = _run(engine, FacePolicy.BOX, _frame(box=(120, 70, 170, 120)))
    np.testing.assert_allclose(row.face.box, MIDDLE, atol=1e-3)
    assert row.face.detector_score == pytest.approx(0.9)


def test_box_that_no_detection_matches_gets_landmarks_in_itself():
    (row,) = _run(Scripted((0, 0, 9, 9)), FacePolicy.BOX, _frame(box=MIDDLE))
    np.testing.assert_allclose(row.face.box, MIDDLE, atol=1e-3)
    assert row.face.detector_score == 0


@pytest.mark.parametrize("box", [None, (50, 50, 50, 90), (float("nan"), 0, 10, 10), (300, 0, 340, 40), (-50, -50, -1, -1)])
def test_no_usable_box(box):
    (row,) = _run(Scripted(LEFT), FacePolicy.BOX, _frame(box=box))
    assert row.face_index is None
    assert row.face.reason is Reason.NO_BOX


def test_box_without_a_face():
    engine = build_detector(Detect(policy=FacePolicy.BOX), "cpu")
    (row,) = _run(engine, FacePolicy.BOX, _frame(box=MIDDLE))
    assert row.face == Failure(Reason.NO_LANDMARKS, "no face in the manifest's box")


def test_real_group_by_box_and_by_policy():
    image = photos.group()
    everyone = build_detector(Detect(policy=FacePolicy.ALL), "cpu")
    rows = _run(everyone, FacePolicy.ALL, _frame(image))
    assert len(rows) == 6
    centres = [(row.face.box[:2] + row.face.box[2:]) / 2 for row in rows]
    assert [float(x) for x, _ in centres] == sorted(float(x) for x, _ in centres)
    one = build_detector(Detect(policy=FacePolicy.BOX), "cpu")
    for row in rows:
        (found,) = _run(one, FacePolicy.BOX, _frame(image, box=row.face.box))
        assert iou(row.face.box, found.face.box[None])[0] > 0.7


def test_a_face_row_is_whole():
    engine = build_detector(Detect(), "cpu")
    (row,) = _run(engine, FacePolicy.LARGEST, _frame(photos.astronaut()))
    face = row.face
    assert isinstance(face, Face)
    assert {array.dtype for array in (face.box, face.five_points, face.landmarks, face.pose)} == {np.dtype(np.float32)}
    assert (face.box.shape, face.five_points.shape, face.landmarks.shape, face.pose.shape) == ((4,), (5, 2), (468, 3), (3,))
    assert 0 <= face.detector_score <= 1
    assert 0 <= face.landmark_score <= 1
    assert np.abs(face.pose).max() < 20
