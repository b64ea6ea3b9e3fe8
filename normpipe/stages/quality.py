"""The fifth stage: what a release filters by, measured on the source face, the aligned crop and the normalized image.

Units, all float32, null where a row has no such image:

- `eye_distance`: distance of the eye centres in the source image, pixels. The resolution a face really had, before the crop.
- `sharpness`: variance of the Laplacian of the crop's luminance, squared grey levels. All crops have one size, so that
  values compare; a small or blurred face scores low. Source: Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy
  (ICPR 2000), https://doi.org/10.1109/ICPR.2000.903548
- `brightness`, `contrast`: mean and standard deviation of the crop's luminance (ITU-R BT.601), grey levels 0 to 255.
- `inside_frame`: share of the face's box that lies inside the source image, 0 to 1.
- `normalized_yaw`, `normalized_pitch`, `normalized_roll` (degrees) and `normalized_score` (0 to 1): the landmarker again, on
  the normalized image. They say whether the picture is a frontal face to a machine that was not asked to draw one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from normpipe.batches import AlignedFace, Detection, Face, Floats, Image, Landmarks
from normpipe.faces.pose import pose
from normpipe.faces.protocols import Landmarker
from normpipe.records import Failure

ALGORITHM_VERSION = 1


@dataclass(frozen=True, slots=True)
class Quality:
    """Measurements of one row; fields as in the module's docstring and in records.QUALITY_FIELDS."""

    eye_distance: float | None = None
    sharpness: float | None = None
    brightness: float | None = None
    contrast: float | None = None
    inside_frame: float | None = None
    normalized_yaw: float | None = None
    normalized_pitch: float | None = None
    normalized_roll: float | None = None
    normalized_score: float | None = None


@dataclass(frozen=True, slots=True)
class Remeasure:
    """How to look at a rendering: the landmarker, and where the face is expected, which spares a detector."""

    landmarker: Landmarker
    expected: Detection


def quality(
    faces: Sequence[Face | Failure],
    frame_sizes: Sequence[tuple[int, int] | None],
    aligned: Sequence[AlignedFace | Failure],
    normalized: Sequence[Image | Failure],
    remeasure: Remeasure | None,
) -> list[Quality]:
    """Measure the rows of a micro-batch.

    Args:
        faces: Faces in their source images.
        frame_sizes: Width and height of these images, None where one could not be read.
        aligned: Crops.
        normalized: Renderings.
        remeasure: None leaves the columns of the rendering null.

    Returns:
        One Quality per row, in order.
    """
    return [
        Quality(**_of_source(face, size), **_of_crop(crop), **rendering)
        for face, size, crop, rendering in zip(faces, frame_sizes, aligned, _of_renderings(normalized, remeasure), strict=True)
    ]


def inside_share(box: Floats, width: int, height: int) -> float:
    """Share of a box's area inside an image, 0 to 1; 0 for a box without area."""
    x0, y0, x1, y1 = (float(value) for value in box)
    area = (x1 - x0) * (y1 - y0)
    if area <= 0:
        return 0.0
    across = max(0.0, min(x1, width) - max(x0, 0.0))
    down = max(0.0, min(y1, height) - max(y0, 0.0))
    return across * down / area


def laplacian_variance(grey: Image) -> float:
    """Variance of the Laplacian of a (height, width) uint8 image, squared grey levels."""
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return float(deviation[0, 0]) ** 2


def _of_source(face: Face | Failure, size: tuple[int, int] | None) -> dict[str, float]:
    if isinstance(face, Failure) or size is None:
        return {}
    eyes = face.five_points[:2]
    return {"eye_distance": float(np.linalg.norm(eyes[1] - eyes[0])), "inside_frame": inside_share(face.box, *size)}


def _of_crop(crop: AlignedFace | Failure) -> dict[str, float]:
    if isinstance(crop, Failure):
        return {}
    grey = np.asarray(cv2.cvtColor(crop.image, cv2.COLOR_RGB2GRAY), np.uint8)
    mean, deviation = cv2.meanStdDev(grey)
    return {
        "sharpness": laplacian_variance(grey),
        "brightness": float(mean[0, 0]),
        "contrast": float(deviation[0, 0]),
    }


def _of_renderings(renderings: Sequence[Image | Failure], remeasure: Remeasure | None) -> list[dict[str, float]]:
    """One fit of the head for the whole micro-batch."""
    measured: list[dict[str, float]] = [{} for _ in renderings]
    if remeasure is None:
        return measured
    found: dict[int, Landmarks] = {}
    for index, rendering in enumerate(renderings):
        if not isinstance(rendering, Failure):
            landmarks = remeasure.landmarker.landmarks(rendering, [remeasure.expected])[0]
            if landmarks is not None:
                found[index] = landmarks
    if found:
        angles = pose(np.stack([landmarks.points for landmarks in found.values()]))
        for (index, landmarks), (yaw, pitch, roll) in zip(found.items(), angles.tolist(), strict=True):
            measured[index] = {
                "normalized_yaw": yaw,
                "normalized_pitch": pitch,
                "normalized_roll": roll,
                "normalized_score": float(landmarks.score),
            }
    return measured
