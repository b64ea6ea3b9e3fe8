"""From the pipeline file's words to a detector and a landmarker; an engine is imported only where it is named."""

from functools import partial
from pathlib import Path

from normpipe.config import Detect, FacePolicy
from normpipe.faces.embedded import EmbeddedEngine
from normpipe.faces.networks import LiteRTNetwork
from normpipe.faces.protocols import Detector, Landmarker


def build_detector(options: Detect, device: str, store: Path | None = None) -> Detector:
    """The detector that the options name, loaded.

    Args:
        options: Section `detect` of the pipeline.
        device: "cpu" or "cuda".
        store: Folder of the model store, None for the default one.

    Raises:
        ModelUnavailableError: a model or an optional package is missing.
    """
    if options.detector == "embedded":
        return _embedded(options, device)
    if options.detector == "insightface":
        from normpipe.faces.insightface_engine import InsightFaceDetector

        return InsightFaceDetector.from_store(options.insightface_pack, options.min_score, device, store)
    from normpipe.faces.mediapipe_engine import MediaPipeEngine

    return MediaPipeEngine.from_store(options.min_score, store)


def build_landmarker(options: Detect, device: str, store: Path | None = None) -> Landmarker:
    """The landmarker that the options name, loaded; arguments and errors as for `build_detector`."""
    if options.landmarker == "embedded":
        return _embedded(options, device)
    from normpipe.faces.mediapipe_engine import MediaPipeEngine

    return MediaPipeEngine.from_store(options.min_score, store)


def _embedded(options: Detect, device: str) -> EmbeddedEngine:
    exhaustive = options.policy in (FacePolicy.ALL, FacePolicy.CENTRAL, FacePolicy.TRACK)
    if device == "cpu":
        return EmbeddedEngine(LiteRTNetwork, min_score=options.min_score, exhaustive=exhaustive)
    from normpipe.faces.torch_networks import TorchNetwork

    return EmbeddedEngine(partial(TorchNetwork, device=device), min_score=options.min_score, exhaustive=exhaustive)
