"""Second stage: frames become face rows, the only step that may add rows.

Every frame keeps at least one row. The policy decides which faces become rows; landmarks decide what is a face at all, since a
detection on which the landmarker sees none is a false one.
"""

from collections.abc import Sequence

import numpy as np

from normpipe.batches import Detection, Face, FaceRow, Floats, Frame, Image, Landmarks
from normpipe.config import Detect, FacePolicy
from normpipe.faces import geometry
from normpipe.faces.boxes import iou
from normpipe.faces.pose import pose
from normpipe.faces.protocols import Detector, Landmarker
from normpipe.records import Failure, Reason

ALGORITHM_VERSION = 1

_SAME_FACE_IOU = 0.5
"""Two landmark sets that overlap this much lie on one face."""

_BOX_IOU = 0.3
"""A detection that overlaps the prior box this much is its face; boxes of different detectors differ by a forehead."""

_SURROUNDINGS = 2.0
"""Side of the part of the picture searched for the face of a prior box, over the box's longer side."""


def detect(frames: Sequence[Frame], detector: Detector, landmarker: Landmarker, options: Detect) -> list[FaceRow]:
    """Find the faces of each frame.

    Args:
        frames: Decoded frames; a failed one becomes one failed row.
        detector: Finds faces.
        landmarker: Places landmarks and rejects what is no face.
        options: Policy.

    Returns:
        Rows in the order of the frames; those of one frame ordered by box centre (x, then y), then best detector score, with
        `face_index` counting from 0, or one row with `face_index` None and a Failure.
    """
    rows = []
    for frame in frames:
        found = (
            frame.image
            if isinstance(frame.image, Failure)
            else _faces(frame, frame.image, detector, landmarker, options.policy)
        )
        if isinstance(found, Failure):
            rows.append(FaceRow(frame, None, found))
        else:
            rows += [FaceRow(frame, index, face) for index, face in enumerate(sorted(found, key=_place_in_frame))]
    return rows


def _faces(frame: Frame, image: Image, detector: Detector, landmarker: Landmarker, policy: FacePolicy) -> list[Face] | Failure:
    """The faces that the policy asks for, at least one, or why there is none."""
    if policy is FacePolicy.BOX:
        return _face_of_box(frame.ref.box, image, detector, landmarker)
    detections = detector.detect(image)
    if policy in (FacePolicy.ALL, FacePolicy.TRACK):  # which of them is tracked is known when the whole clip is
        placed = landmarker.landmarks(image, detections)
        faces = _distinct([_face(one, own) for one, own in zip(detections, placed, strict=True) if own is not None])
        return faces or Failure(Reason.NO_FACE)
    if policy is FacePolicy.LARGEST:
        detections = sorted(detections, key=lambda detection: -_area(detection.box))
    else:
        middle = np.array([image.shape[1], image.shape[0]], np.float32) / 2
        detections = sorted(detections, key=lambda detection: float(np.linalg.norm(_centre(detection.box) - middle)))
    face = _first_face(image, detections, landmarker)
    return [face] if face else Failure(Reason.NO_FACE)


def _face_of_box(box: Floats | None, image: Image, detector: Detector, landmarker: Landmarker) -> list[Face] | Failure:
    """The face in the manifest's box: detected around it, or else landmarks placed in the box itself."""
    if box is None:
        return Failure(Reason.NO_BOX, "the manifest gives no box for this row")
    limit = np.array([image.shape[1], image.shape[0]])
    if not np.isfinite(box).all() or (box[:2] >= box[2:]).any() or (box[:2] >= limit).any() or (box[2:] <= 0).any():
        return Failure(Reason.NO_BOX, "the manifest's box is empty or outside the image")
    half = _SURROUNDINGS / 2 * float((box[2:] - box[:2]).max())
    low = np.clip(np.floor(_centre(box) - half), 0, limit - 1).astype(int)
    high = np.clip(np.ceil(_centre(box) + half), low + 1, limit).astype(int)
    part = np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]])
    found = [_moved(detection, low.astype(np.float32)) for detection in detector.detect(part)]
    overlaps = {id(detection): float(iou(box, detection.box[None])[0]) for detection in found}
    matching = [detection for detection in found if overlaps[id(detection)] >= _BOX_IOU]
    candidates = sorted(matching, key=lambda detection: -overlaps[id(detection)])
    face = _first_face(image, [*candidates, Detection(box.astype(np.float32), 0.0)], landmarker)
    return [face] if face else Failure(Reason.NO_LANDMARKS, "no face in the manifest's box")


def _first_face(image: Image, detections: Sequence[Detection], landmarker: Landmarker) -> Face | None:
    """The first detection that the landmarker confirms; those behind it are not looked at."""
    for detection in detections:
        placed = landmarker.landmarks(image, [detection])[0]
        if placed is not None:
            return _face(detection, placed)
    return None


def _face(detection: Detection, placed: Landmarks) -> Face:
    return Face(
        box=geometry.extent(placed.points),
        five_points=geometry.five_points(placed.points),
        landmarks=placed.points,
        pose=pose(placed.points[None])[0],
        detector_score=detection.score,
        landmark_score=placed.score,
    )


def _distinct(faces: Sequence[Face]) -> list[Face]:
    """Each face once: of those whose landmarks lie on one another, the one with the better detection."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.detector_score):
        if not kept or iou(face.box, np.stack([other.box for other in kept])).max() < _SAME_FACE_IOU:
            kept.append(face)
    return kept


def _place_in_frame(face: Face) -> tuple[float, float, float]:
    x, y = _centre(face.box)
    return float(x), float(y), -face.detector_score


def _centre(box: Floats) -> Floats:
    centre: Floats = (box[:2] + box[2:]) / np.float32(2)
    return centre


def _area(box: Floats) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _moved(detection: Detection, offset: Floats) -> Detection:
    eyes = None if detection.eyes is None else detection.eyes + offset
    return Detection(detection.box + np.tile(offset, 2), detection.score, eyes)
