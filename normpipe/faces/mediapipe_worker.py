"""The process in which mediapipe finds landmarks, started by `mediapipe_engine` alone with the bundle and the least score.

Each answer is the number of faces (little-endian uint32) and 468 x, y, z (float32, in shares of the width, height and width)
for each.
"""

import struct
import sys
from typing import BinaryIO

import mediapipe
import numpy as np
from mediapipe.tasks.python import vision
from mediapipe.tasks.python.core.base_options import BaseOptions

from normpipe.batches import Image
from normpipe.faces.mediapipe_process import answer_requests, private_answers
from normpipe.records import LANDMARK_COUNT

_MOST_FACES = 32


def serve(bundle: str, min_score: float, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the requests end."""
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=bundle),
        num_faces=_MOST_FACES,
        min_face_detection_confidence=min_score,
    )
    with vision.FaceLandmarker.create_from_options(options) as landmarker:

        def answer(image: Image) -> bytes:
            faces = landmarker.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)).face_landmarks
            points = [[(point.x, point.y, point.z) for point in face[:LANDMARK_COUNT]] for face in faces]
            return struct.pack("<I", len(faces)) + np.array(points, np.float32).tobytes()

        answer_requests(answer, requests, answers)


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]), sys.stdin.buffer, private_answers())
