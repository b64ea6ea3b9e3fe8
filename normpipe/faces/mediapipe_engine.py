"""MediaPipe's Face Landmarker behind both protocols, in a process of its own.

Pictures go there and landmarks come back (see `mediapipe_process` and `mediapipe_worker`). The bundle reports no scores: what
it returns passed its own threshold and counts as 1.
"""

import struct
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from normpipe.assets.store import locate
from normpipe.batches import Detection, Floats, Image, Landmarks
from normpipe.errors import ModelUnavailableError
from normpipe.faces import geometry
from normpipe.faces.mediapipe_process import MediaPipeProcess, RefusedError
from normpipe.faces.regions import Border, Region
from normpipe.records import LANDMARK_COUNT
from normpipe.shards.atomic import sha256_of

ALGORITHM_VERSION = 1

_REGION_SCALE = 2.0
"""Room around a detection's box, since the bundle looks for the face itself."""

_REGION_SIZE = 256


class MediaPipeEngine:
    """Detector and Landmarker on a FaceLandmarker bundle."""

    def __init__(self, bundle: Path, min_score: float) -> None:
        if find_spec("mediapipe") is None:
            raise ModelUnavailableError("mediapipe is not installed: pip install 'normpipe[mediapipe]'")
        self._min_score = min_score
        self._sha256 = sha256_of(bundle)
        try:
            self._process = MediaPipeProcess("normpipe.faces.mediapipe_worker", bundle, str(min_score))
        except RefusedError as error:
            raise ModelUnavailableError(f"mediapipe cannot load {bundle.name}: it is not a FaceLandmarker bundle") from error

    @classmethod
    def from_store(cls, min_score: float, store: Path | None = None) -> "MediaPipeEngine":
        """The engine on the bundle in the model store.

        Raises:
            ModelUnavailableError: the bundle or the package is absent.
        """
        return cls(locate("mediapipe-face-landmarker", store), min_score)

    @property
    def fingerprint(self) -> str:
        """See Detector."""
        return f"mediapipe/{ALGORITHM_VERSION}/{self._min_score}/{self._sha256[:16]}"

    def close(self) -> None:
        """End the process; the engine cannot be used afterwards."""
        self._process.close()

    def detect(self, image: Image) -> list[Detection]:
        """See Detector."""
        return [Detection(geometry.extent(points), 1.0, geometry.five_points(points)[:2]) for points in self._ask(image)]

    def landmarks(self, image: Image, detections: Sequence[Detection]) -> list[Landmarks | None]:
        """See Landmarker."""
        return [self._placed(image, detection) for detection in detections]

    def _placed(self, image: Image, detection: Detection) -> Landmarks | None:
        """The largest face in the upright square around a detection."""
        region = Region.around(detection.box, detection.eyes, _REGION_SCALE)
        found = self._ask(region.cut(image, _REGION_SIZE, Border.REPLICATE))
        if not found:
            return None
        largest = max(found, key=lambda points: float(np.prod(np.ptp(points[:, :2], axis=0))))
        return Landmarks(region.to_image(largest / _REGION_SIZE), 1.0)

    def _ask(self, image: Image) -> list[Floats]:
        """Landmarks (468, 3) of all faces in the picture, in its pixels."""
        self._process.send(image)
        (count,) = struct.unpack("<I", self._process.read(4))
        content = self._process.read(count * LANDMARK_COUNT * 3 * 4)
        points = np.frombuffer(content, np.float32).reshape(count, LANDMARK_COUNT, 3)
        height, width = image.shape[:2]
        return list(points * np.array([width, height, width], np.float32))
