"""The process in which mediapipe measures blendshapes, started by `blendshapes` alone with the bundle as its argument.

It writes one byte when it is ready. Each request is height and width (two little-endian uint32) and the RGB bytes; each answer
is 14 float32, all NaN where there is no face.
"""

import os
import struct
import sys
from typing import BinaryIO

import mediapipe
import numpy as np
from mediapipe.tasks.python import vision
from mediapipe.tasks.python.core.base_options import BaseOptions

from normpipe.audit.blendshapes import BLENDSHAPES, READY


def serve(bundle: str, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the requests end."""
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=bundle), output_face_blendshapes=True, num_faces=1
    )
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        answers.write(READY)
        answers.flush()
        while header := requests.read(8):
            height, width = struct.unpack("<II", header)
            image = np.frombuffer(requests.read(3 * height * width), np.uint8).reshape(height, width, 3)
            found = landmarker.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)).face_blendshapes
            scores = {category.category_name: category.score for category in found[0]} if found else None
            answers.write(np.array([_score(scores, name) for name in BLENDSHAPES], np.float32).tobytes())
            answers.flush()


def _score(scores: dict[str, float] | None, name: str) -> float:
    if scores is None:
        return float("nan")
    return scores[name] if name in scores else (scores[f"{name}Left"] + scores[f"{name}Right"]) / 2


def main() -> None:
    """Keep the pipe for answers alone: whatever native code prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.argv[1], sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
