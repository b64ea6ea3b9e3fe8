"""SCRFD, the detector of InsightFace's model packs, behind the Detector protocol.

The pack's own loader would download what is absent, without a hash. Here the file is looked up in the model store first and
handed over by its path, and nothing is fetched.

Source: Guo et al., Sample and Computation Redistribution for Efficient Face Detection, https://arxiv.org/abs/2105.04714
"""

from pathlib import Path

import numpy as np

from normpipe.assets.store import store_folder
from normpipe.batches import Detection, Image
from normpipe.errors import ModelUnavailableError
from normpipe.shards.atomic import sha256_of

ALGORITHM_VERSION = 1

_INPUT = (640, 640)
_DETECTOR_NAMES = ("det_*.onnx", "scrfd_*.onnx")


class InsightFaceDetector:
    """Detector on a pack's SCRFD network."""

    def __init__(self, model: Path, min_score: float, device: str) -> None:
        try:
            import onnxruntime
            from insightface.model_zoo import model_zoo
            from onnxruntime.capi import onnxruntime_pybind11_state as failures
        except ImportError as error:
            raise ModelUnavailableError(
                "detector insightface needs its package: pip install 'normpipe[insightface]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        providers = ["CUDAExecutionProvider"] if device == "cuda" else ["CPUExecutionProvider"]
        if providers[0] not in onnxruntime.get_available_providers():
            raise ModelUnavailableError(
                "detector insightface: this onnxruntime has no CUDA; install onnxruntime-gpu or use cpu"
            )
        try:
            detector = model_zoo.get_model(str(model), providers=providers, sess_options=options)
        except (failures.Fail, failures.InvalidArgument, failures.InvalidGraph, failures.InvalidProtobuf) as error:
            raise ModelUnavailableError(f"detector insightface: {model.name} is not a readable ONNX file") from error
        if getattr(detector, "taskname", None) != "detection" or not detector.use_kps:
            raise ModelUnavailableError(f"detector insightface: {model.name} is not an SCRFD network with five points")
        self._detector = detector
        self._min_score = min_score
        self._sha256 = sha256_of(model)

    @classmethod
    def from_store(cls, pack: str, min_score: float, device: str, store: Path | None = None) -> "InsightFaceDetector":
        """The detector of a pack in the model store.

        Raises:
            ModelUnavailableError: the pack's folder or a detector in it is absent.
        """
        folder = store_folder(store) / pack
        found = sorted(path for pattern in _DETECTOR_NAMES for path in folder.glob(pattern))
        if not found:
            raise ModelUnavailableError(
                f"model store: no detector in folder {pack}; unpack the pack there (see `normpipe models list`)"
            )
        return cls(found[0], min_score, device)

    @property
    def fingerprint(self) -> str:
        """See Detector."""
        return f"insightface/{ALGORITHM_VERSION}/{self._min_score}/{self._sha256[:16]}"

    def detect(self, image: Image) -> list[Detection]:
        """See Detector."""
        boxes, points = self._detector.detect(
            np.ascontiguousarray(image[..., ::-1]), input_size=_INPUT, det_thresh=self._min_score
        )
        return [
            Detection(np.asarray(box[:4], np.float32), float(box[4]), np.asarray(own[:2], np.float32))
            for box, own in zip(boxes, points, strict=True)
        ]
