"""Instruments that normpipe does not use itself: an identity embedding and MediaPipe's blendshapes.

MediaPipe reports usage to its maker when a task closes. A dead proxy in the environment stops that, so it is set here before
the import; nothing else in the process may need the network.
"""

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from normpipe.audit.figures import NotMeasurable
from normpipe.audit.groups import finite_rows
from normpipe.audit.identity import auc, cosines
from normpipe.audit.identity import rank_one as identify
from normpipe.audit.intervals import Bootstrap
from normpipe.audit.pairs import Rows, sample_pairs
from normpipe.batches import Floats, Image

os.environ.update(dict.fromkeys(("https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY"), "http://127.0.0.1:9"))

BLENDSHAPES = (
    "browDown", "browInnerUp", "browOuterUp", "eyeBlink", "eyeSquint", "jawOpen", "mouthSmile", "mouthFrown", "mouthStretch",
    "mouthPress", "mouthPucker", "mouthLowerDown", "mouthUpperUp", "mouthShrugLower",
)  # fmt: skip

# Where the five points lie in the 112 px input of ArcFace-like networks (insightface, utils.face_align).
_ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)


class Blendshapes:
    """MediaPipe FaceLandmarker's blendshape scores, left and right averaged."""

    def __init__(self, task: Path) -> None:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision

        self._mediapipe = mediapipe
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(task)), output_face_blendshapes=True, num_faces=1
        )
        self._landmarker = vision.FaceLandmarker.create_from_options(options)

    def measure(self, image: Image) -> Floats:
        """(14,) float32 in the order of BLENDSHAPES, 0 to 1; NaN where no face is found."""
        picture = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        found = self._landmarker.detect(picture).face_blendshapes
        if not found:
            return np.full(len(BLENDSHAPES), np.nan, np.float32)
        score = {category.category_name: category.score for category in found[0]}
        both = [score[name] if name in score else (score[f"{name}Left"] + score[f"{name}Right"]) / 2 for name in BLENDSHAPES]
        return np.array(both, np.float32)

    def close(self) -> None:
        """Free the task."""
        self._landmarker.close()


class IdentityEmbedding:
    """An ONNX face embedding with a 112 px input, NHWC, RGB 0 to 255."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def embed(self, image: Image, five_points: Floats) -> Floats:
        """Unit vector of a face given by its (5, 2) points in image pixels."""
        matrix, _ = cv2.estimateAffinePartial2D(five_points.astype(np.float32) - 0.5, _ARCFACE, method=cv2.LMEDS)
        face = cv2.warpAffine(image, matrix, (112, 112))
        vector = self._session.run(None, {self._session.get_inputs()[0].name: face[None].astype(np.float32)})[0][0]
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


def matched_auc(vectors: Floats, subjects: NDArray[np.str_], emotions: NDArray[np.str_]) -> float:
    """Verification AUC on pairs of one emotion, same person against different people, subjects weighted equally."""
    pairs = sample_pairs(Rows(subjects, emotions), finite_rows(vectors))
    return float("nan") if isinstance(pairs, NotMeasurable) else auc(cosines(vectors, vectors, pairs), pairs)


def rank_one(vectors: Floats, subjects: NDArray[np.str_]) -> float:
    """Share of images whose nearest other image is of the same person, among people with several, weighted equally."""
    found = identify(vectors, Rows(subjects), Bootstrap(draws=1), probes=len(vectors))
    if isinstance(found, NotMeasurable) or isinstance(found.rank_one, NotMeasurable):
        return float("nan")
    return found.rank_one.value
