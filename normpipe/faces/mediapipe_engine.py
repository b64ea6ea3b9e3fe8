"""MediaPipe's Face Landmarker behind both protocols, in a process of its own.

It reports usage to its maker when it closes, and nothing but a dead proxy in the process's environment stops it; that would
break every other connection of the process, so it gets one for itself. Pictures go there and landmarks come back through pipes
(see `mediapipe_worker` for the format). The bundle reports no scores: what it returns passed its own threshold and counts as 1.
"""

import os
import struct
import subprocess
import sys
import weakref
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np

from normpipe.assets.store import locate, sha256_of
from normpipe.batches import Detection, Floats, Image, Landmarks
from normpipe.errors import ModelUnavailableError, NormpipeError
from normpipe.faces import geometry
from normpipe.faces.regions import Border, Region
from normpipe.records import LANDMARK_COUNT

ALGORITHM_VERSION = 1

_DEAD_PROXY = "http://127.0.0.1:9"
_READY = b"R"

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
        guarded = os.environ | dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), _DEAD_PROXY)
        guarded |= {"no_proxy": "", "NO_PROXY": ""}
        self._process = subprocess.Popen(  # noqa: S603 (our own interpreter and module, no shell)
            [sys.executable, "-m", "normpipe.faces.mediapipe_worker", str(bundle), str(min_score)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=guarded,
        )
        self._close = weakref.finalize(self, _end, self._process)
        if _stream(self._process.stdout).read(1) != _READY:
            self._close()
            raise ModelUnavailableError(f"mediapipe cannot load {bundle.name}: it is not a FaceLandmarker bundle")

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
        self._close()

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
        height, width = image.shape[:2]
        try:
            incoming, outgoing = _stream(self._process.stdout), _stream(self._process.stdin)
            outgoing.write(struct.pack("<II", height, width) + np.ascontiguousarray(image).tobytes())
            outgoing.flush()
            (count,) = struct.unpack("<I", incoming.read(4))
            content = incoming.read(count * LANDMARK_COUNT * 3 * 4)
            points = np.frombuffer(content, np.float32).reshape(count, LANDMARK_COUNT, 3)
        except (OSError, ValueError, struct.error) as error:
            raise NormpipeError("mediapipe's process has ended; run again") from error
        return list(points * np.array([width, height, width], np.float32))


def _stream(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        _stream(pipe).close()
