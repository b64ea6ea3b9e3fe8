"""The two protocols behind which every face engine stands."""

from collections.abc import Sequence
from typing import Protocol

from normpipe.batches import Detection, Image, Landmarks


class Detector(Protocol):
    """Finds faces in an upright image."""

    @property
    def fingerprint(self) -> str:
        """Name, algorithm version and weights' sha256: changes whenever the results may change."""
        ...

    def detect(self, image: Image) -> list[Detection]:
        """Faces of one image, best score first, none twice."""
        ...


class Landmarker(Protocol):
    """Places 468 landmarks on detected faces."""

    @property
    def fingerprint(self) -> str:
        """As for Detector."""
        ...

    def landmarks(self, image: Image, detections: Sequence[Detection]) -> list[Landmarks | None]:
        """One entry per detection, in order; None where the network sees no face there."""
        ...
