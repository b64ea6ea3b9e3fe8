"""MediaPipe's blendshape scores, the second instrument of expression: nothing that draws the normalized image has seen it.

As in faces.mediapipe_engine, mediapipe runs in a process of its own behind a dead proxy, since it reports usage to its maker
when it closes.
"""

import os
import struct
import subprocess
import sys
import weakref
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np

from normpipe.batches import Floats, Image
from normpipe.errors import ModelUnavailableError, NormpipeError, UsageError

ALGORITHM_VERSION = 1

BLENDSHAPES = (
    "browDown", "browInnerUp", "browOuterUp", "eyeBlink", "eyeSquint", "jawOpen", "mouthSmile", "mouthFrown", "mouthStretch",
    "mouthPress", "mouthPucker", "mouthLowerDown", "mouthUpperUp", "mouthShrugLower",
)  # fmt: skip
"""Those that a photo shows and that vary; left and right averaged. The order of all arrays of blendshapes."""

READY = b"R"
_DEAD_PROXY = "http://127.0.0.1:9"


class Blendshapes:
    """A FaceLandmarker bundle in a guarded process.

    Args:
        bundle: The `.task` file.

    Raises:
        ModelUnavailableError: mediapipe is not installed.
        UsageError: the file is not such a bundle.
    """

    def __init__(self, bundle: Path) -> None:
        if find_spec("mediapipe") is None:
            raise ModelUnavailableError("--blendshapes needs mediapipe: pip install 'normpipe[mediapipe]'")
        guarded = os.environ | dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), _DEAD_PROXY)
        guarded |= {"no_proxy": "", "NO_PROXY": ""}
        self._process = subprocess.Popen(  # noqa: S603 (our own interpreter and module, no shell)
            [sys.executable, "-m", "normpipe.audit.blendshapes_worker", str(bundle)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=guarded,
        )
        self._close = weakref.finalize(self, _end, self._process)
        if _stream(self._process.stdout).read(1) != READY:
            self._close()
            raise UsageError(
                f"--blendshapes {bundle.name}: mediapipe cannot load it; it must be a FaceLandmarker bundle (.task)"
            )

    def measure(self, image: Image) -> Floats:
        """(14,) float32 in the order of BLENDSHAPES, 0 to 1; NaN where no face is found.

        Raises:
            NormpipeError: the process has ended.
        """
        height, width = image.shape[:2]
        try:
            outgoing = _stream(self._process.stdin)
            outgoing.write(struct.pack("<II", height, width) + np.ascontiguousarray(image).tobytes())
            outgoing.flush()
            scores = np.frombuffer(_stream(self._process.stdout).read(4 * len(BLENDSHAPES)), np.float32)
        except (OSError, ValueError) as error:
            raise NormpipeError("mediapipe's process has ended; run again") from error
        if len(scores) != len(BLENDSHAPES):
            raise NormpipeError("mediapipe's process has ended; run again")
        return scores

    def close(self) -> None:
        """End the process; nothing can be measured afterwards."""
        self._close()


def _stream(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        _stream(pipe).close()
