"""Instruments that normpipe does not use itself: an identity embedding and MediaPipe's blendshapes.

MediaPipe reports usage to its maker when a task closes. A dead proxy in the environment stops that, so it is set here before
the import; nothing else in the process may need the network.
"""

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

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
    from sklearn.metrics import roc_auc_score

    first, second = np.triu_indices(len(vectors), 1)
    matched = emotions[first] == emotions[second]
    first, second = first[matched], second[matched]
    same = subjects[first] == subjects[second]
    _, person, rows = np.unique(subjects, return_inverse=True, return_counts=True)
    pairs_of_person = np.bincount(person[first[same]], minlength=len(rows))
    share = 1.0 / rows[person]
    weights = share[first] * share[second]
    weights[same] = 1.0 / pairs_of_person[person[first[same]]]
    similarity = (vectors @ vectors.T)[first, second]
    return float(roc_auc_score(same, similarity, sample_weight=weights))


def rank_one(vectors: Floats, subjects: NDArray[np.str_]) -> float:
    """Share of images whose nearest other image is of the same person, among people with several, weighted equally."""
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    hit = subjects[similarity.argmax(axis=1)] == subjects
    _, person, rows = np.unique(subjects, return_inverse=True, return_counts=True)
    several = rows[person] > 1
    return float(np.average(hit[several], weights=1.0 / rows[person][several]))
