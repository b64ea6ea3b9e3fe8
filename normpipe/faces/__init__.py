"""Finding faces and measuring them: detectors and landmarkers behind two protocols, pose, geometry."""

from normpipe.faces.build import build_detector, build_landmarker

__all__ = ["build_detector", "build_landmarker"]
