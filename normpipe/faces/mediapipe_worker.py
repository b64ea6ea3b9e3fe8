"""The process in which mediapipe runs, started by `mediapipe_engine` alone with the bundle and the least score as arguments.

It writes one byte when it is ready. Then each request is height and width (two little-endian uint32) and the RGB bytes; each
answer is the number of faces (uint32) and 468 x, y, z (float32, in shares of the width, height and width) for each.
"""

import os
import struct
import sys
from typing import BinaryIO

import mediapipe
import numpy as np
from mediapipe.tasks.python import vision
from mediapipe.tasks.python.core.base_options import BaseOptions

from normpipe.records import LANDMARK_COUNT

_MOST_FACES = 32
_READY = b"R"


def serve(bundle: str, min_score: float, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the requests end."""
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=bundle),
        num_faces=_MOST_FACES,
        min_face_detection_confidence=min_score,
    )
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        answers.write(_READY)
        answers.flush()
        while header := requests.read(8):
            height, width = struct.unpack("<II", header)
            image = np.frombuffer(requests.read(3 * height * width), np.uint8).reshape(height, width, 3)
            faces = landmarker.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)).face_landmarks
            points = [[(point.x, point.y, point.z) for point in face[:LANDMARK_COUNT]] for face in faces]
            answers.write(struct.pack("<I", len(faces)) + np.array(points, np.float32).tobytes())
            answers.flush()


def main() -> None:
    """Keep the pipe for answers alone: whatever native code prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.argv[1], float(sys.argv[2]), sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
