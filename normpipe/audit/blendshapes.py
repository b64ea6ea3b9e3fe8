"""MediaPipe's blendshape scores, the second instrument of expression: nothing that draws the normalized image has seen it."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from normpipe.batches import Floats, Image
from normpipe.errors import ModelUnavailableError, UsageError
from normpipe.faces.mediapipe_process import MediaPipeProcess, RefusedError

ALGORITHM_VERSION = 1

BLENDSHAPES = (
    "browDown", "browInnerUp", "browOuterUp", "eyeBlink", "eyeSquint", "jawOpen", "mouthSmile", "mouthFrown", "mouthStretch",
    "mouthPress", "mouthPucker", "mouthLowerDown", "mouthUpperUp", "mouthShrugLower",
)  # fmt: skip
"""Those that a photo shows and that vary; left and right averaged. The order of all arrays of blendshapes."""


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
        try:
            self._process = MediaPipeProcess("normpipe.audit.blendshapes_worker", bundle)
        except RefusedError as error:
            raise UsageError(
                f"--blendshapes {bundle.name}: mediapipe cannot load it; it must be a FaceLandmarker bundle (.task)"
            ) from error

    def measure(self, image: Image) -> Floats:
        """(14,) float32 in the order of BLENDSHAPES, 0 to 1; NaN where no face is found.

        Raises:
            NormpipeError: the process has ended.
        """
        self._process.send(image)
        return np.frombuffer(self._process.read(4 * len(BLENDSHAPES)), np.float32)

    def close(self) -> None:
        """End the process; nothing can be measured afterwards."""
        self._process.close()
