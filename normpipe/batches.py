"""What flows between the stages: frames go in, faces come out, and no row ever loses its place.

A batch of Frames has one entry per manifest row. `detect` turns it into FaceRows, the only step that may add rows; from there
on every stage is 1:1 and in order. An entry that failed holds a Failure where its value would be.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normpipe.records import Failure

Image = NDArray[np.uint8]
"""RGB, uint8, shape (height, width, 3), C-contiguous."""

Floats = NDArray[np.float32]

_RIM = 1.0
"""Pixels at the border of the source image that a crop blends with what lies outside."""


@dataclass(frozen=True, slots=True)
class FrameRef:
    """Which frame: the part of a manifest row that decode and detect need.

    Attributes:
        sample_id: Stable id of the row.
        uri: Location relative to ROOT.
        frame: Index of the frame in a video or animation, None for a still.
        pts: Presentation timestamp of that frame in the stream's time base, None for a still or where unknown.
        box: Prior box (4,) float32, None where the manifest gives none.
    """

    sample_id: str
    uri: str
    frame: int | None = None
    pts: int | None = None
    box: Floats | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame: upright RGB image or the reason there is none.

    Attributes:
        ref: The row it belongs to.
        image: Image, or Failure.
        content_sha256: Hex digest of the source file's bytes, None where it could not be read.
    """

    ref: FrameRef
    image: Image | Failure
    content_sha256: str | None


@dataclass(frozen=True, slots=True)
class Detection:
    """A face found by a detector.

    Attributes:
        box: (4,) float32, x0 y0 x1 y1 in image pixels; may reach outside the image.
        score: 0 to 1.
        eyes: (2, 2) float32, image-left eye then image-right eye, for the roll of the face; None where unknown.
    """

    box: Floats
    score: float
    eyes: Floats | None = None


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Dense landmarks of one face.

    Attributes:
        points: (468, 3) float32 in the topology of MediaPipe's face mesh: x, y in image pixels, z in the same unit, smaller
            towards the camera.
        score: Probability that there is a face, 0 to 1.
    """

    points: Floats
    score: float


@dataclass(frozen=True, slots=True)
class Face:
    """One analyzed face.

    Attributes:
        box: (4,) float32, the extent of the landmarks in x and y.
        five_points: (5, 2) float32: image-left eye, image-right eye (midpoints of the corners), nose tip, image-left and
            image-right mouth corner.
        landmarks: (468, 3) float32.
        pose: (3,) float32, yaw, pitch, roll in degrees; zero is frontal, positive yaw turns the face to the image's right,
            positive pitch up, positive roll clockwise in the image.
        detector_score: 0 to 1.
        landmark_score: 0 to 1.
    """

    box: Floats
    five_points: Floats
    landmarks: Floats
    pose: Floats
    detector_score: float
    landmark_score: float


@dataclass(frozen=True, slots=True)
class OwnNeutral:
    """A subject's face without expression, as far as its frames tell.

    Attributes:
        shape: (468, 3) float32, mean face of the subject seen from the front, in face units (as faces.geometry.FaceShape).
        weight: 0 to 1, how far to go from the neutral face of an unknown subject to this one.
    """

    shape: Floats
    weight: float


@dataclass(frozen=True, slots=True)
class AlignedFace:
    """A face in the pixels of its aligned crop: what normalizers take.

    Attributes:
        image: (size, size, 3) uint8 RGB crop.
        landmarks: (468, 3) float32 in crop pixels.
        pose: (3,) float32 degrees, as in Face.
        frame_corners: (4, 2) float32, corners of the source image in crop pixels, going round: the crop shows nothing beyond.
        neutral: The subject's own face without expression; None where it is not known or not asked for
            (`normalize.own_neutral`).
    """

    image: Image
    landmarks: Floats
    pose: Floats
    frame_corners: Floats
    neutral: OwnNeutral | None = None

    def inside(self) -> Floats:
        """(size, size) float32, 1 where the crop shows the source image and 0 where it shows what lies outside."""
        size = self.image.shape[0]
        centres = np.arange(size) + 0.5
        corners = self.frame_corners.astype(np.float64)
        x, y = corners.T
        winding = np.sign(x @ np.roll(y, -1) - y @ np.roll(x, -1))
        mask = np.ones((size, size), np.bool_)
        for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            along = winding * (end - start) / np.linalg.norm(end - start)
            # Depth of a pixel's centre behind this side, as a part that goes down and one that goes across.
            down = (centres - start[1]) * along[0] - _RIM
            across = (centres - start[0]) * along[1]
            if down.min() < across.max():  # else the whole crop lies behind this side
                mask &= down[:, None] >= across
        return mask.astype(np.float32)


@dataclass(frozen=True, slots=True)
class FaceRow:
    """A row of the faces table on its way: one face of one frame, or the failure that stands for the frame.

    `track_id` says which person of the clip it is, None where faces are not tracked.
    """

    frame: Frame
    face_index: int | None
    face: Face | Failure
    track_id: int | None = None
