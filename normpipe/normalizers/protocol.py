"""The protocol behind which every normalizer stands."""

from collections.abc import Sequence
from typing import Protocol

from normpipe.batches import AlignedFace, Image
from normpipe.records import Failure


class Normalizer(Protocol):
    """Renders faces again: same expression, one identity, one frontal pose, one background."""

    @property
    def fingerprint(self) -> str:
        """Name, algorithm version, options and weights' sha256: changes whenever the pictures may change."""
        ...

    def prepare(self, device: str) -> None:
        """Load weights onto `device` ("cpu" or "cuda"). Called once per worker before the first batch."""
        ...

    def normalize(self, faces: Sequence[AlignedFace]) -> list[Image | Failure]:
        """One (size, size, 3) image per face, in order; a face that cannot be rendered gives a Failure in its place."""
        ...
