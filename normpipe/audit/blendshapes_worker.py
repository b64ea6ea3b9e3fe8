"""The process in which mediapipe measures blendshapes, started by `blendshapes` alone with the bundle as its argument.

Each answer is 14 float32, all NaN where there is no face.
"""

import sys
from typing import BinaryIO

import mediapipe
import numpy as np
from mediapipe.tasks.python import vision
from mediapipe.tasks.python.core.base_options import BaseOptions

from normpipe.audit.blendshapes import BLENDSHAPES
from normpipe.batches import Image
from normpipe.faces.mediapipe_process import answer_requests, private_answers


def serve(bundle: str, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the requests end."""
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=bundle), output_face_blendshapes=True, num_faces=1
    )
    with vision.FaceLandmarker.create_from_options(options) as landmarker:

        def answer(image: Image) -> bytes:
            found = landmarker.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)).face_blendshapes
            scores = {category.category_name: category.score for category in found[0]} if found else None
            return np.array([_score(scores, name) for name in BLENDSHAPES], np.float32).tobytes()

        answer_requests(answer, requests, answers)


def _score(scores: dict[str, float] | None, name: str) -> float:
    if scores is None:
        return float("nan")
    return scores[name] if name in scores else (scores[f"{name}Left"] + scores[f"{name}Right"]) / 2


if __name__ == "__main__":
    serve(sys.argv[1], sys.stdin.buffer, private_answers())
