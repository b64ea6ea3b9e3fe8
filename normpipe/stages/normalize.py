"""The fourth stage: every aligned face is rendered again; rows that failed earlier pass through."""

from collections.abc import Sequence

from normpipe.batches import AlignedFace, Image
from normpipe.normalizers.protocol import Normalizer
from normpipe.records import Failure

ALGORITHM_VERSION = 1


def normalize(aligned: Sequence[AlignedFace | Failure], normalizer: Normalizer) -> list[Image | Failure]:
    """Render the faces of a micro-batch.

    Args:
        aligned: One entry per row.
        normalizer: Prepared.

    Returns:
        One (size, size, 3) uint8 RGB image per row, in order, or the Failure of this or an earlier stage.
    """
    faces = [face for face in aligned if isinstance(face, AlignedFace)]
    rendered = normalizer.normalize(faces) if faces else []
    assert len(rendered) == len(faces), "a normalizer returns one entry per face"
    remaining = iter(rendered)
    return [next(remaining) if isinstance(face, AlignedFace) else face for face in aligned]
