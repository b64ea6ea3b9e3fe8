"""A trained classifier at work: encoded pictures of samples in, scores out, on one thread of the CPU.

A network always sees batches of one size, filled up with black pictures: kernels are chosen by the shape of a batch, so how a
sample's scores are rounded depends neither on how many came with it nor on who they are.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from normpipe.audit.groups import Floats
from normpipe.classify.losses import scores
from normpipe.classify.pictures import Planes, decoded, reduction, resized
from normpipe.classify.predicted_rows import BATCH_ROWS
from normpipe.classify.saved import load_classifier
from normpipe.errors import NormpipeError
from normpipe.records import Failure, Reason

Sample = NDArray[np.uint8]
"""Pictures of a sample: RGB, uint8, shape (V, 3, size, size), in the order of the arm's views."""

_MIDDLE = 127.5


class Predictor:
    """A classifier, loaded.

    Args:
        where: See saved.classifier_folder.

    Raises:
        ModelUnavailableError: see load_classifier.
        UsageError: see load_classifier.
    """

    def __init__(self, where: str | Path) -> None:
        torch.set_num_threads(1)  # see engine/threads.py; a process that has torch already may not have heard of it
        self._network, self.classifier = load_classifier(where)

    def sample(self, contents: Mapping[str, bytes | None], side: int) -> Sample | Failure:
        """Decode the pictures of a sample.

        Args:
            contents: Encoded, by the column of the arm.
            side: Pixels along the side of the stored pictures.
        """
        planes: dict[str, Planes] = {}
        for name, content in contents.items():
            found = seen(np.frombuffer(content or b"", np.uint8), side, self.classifier.size)
            if isinstance(found, str):
                return Failure(Reason.UNREADABLE, f"its {name} picture {found}")
            planes[name] = found
        return np.stack([planes[name] for name in self.classifier.arm.columns])

    def scores(self, samples: Sequence[Sample | None]) -> Floats:
        """What the network says.

        Args:
            samples: At most BATCH_ROWS; None for a place that is left empty.

        Returns:
            (n, C) float32, see losses.scores; of empty places too, where they mean nothing.

        Raises:
            NormpipeError: the network gives what is no number.
        """
        side = self.classifier.size
        if all(sample is None for sample in samples):
            return np.zeros((len(samples), len(self.classifier.space)), np.float32)
        filled = np.zeros((BATCH_ROWS, self.classifier.arm.views, 3, side, side), np.uint8)
        for place, sample in enumerate(samples):
            if sample is not None:
                filled[place] = sample
        with torch.inference_mode():
            logits = self._network(torch.from_numpy(filled).float() / _MIDDLE - 1).logits
            found: Floats = scores(self.classifier.space.task, logits).numpy()[: len(samples)]
        if not np.isfinite(found).all():
            raise NormpipeError("the classifier gives what is no number; train it again, at a lower rate")
        return found


def seen(content: NDArray[np.uint8], side: int, size: int) -> Planes | str:
    """A stored picture as training and evaluation see it, not augmented.

    Args:
        content: (bytes,) of a JPEG, PNG or WebP file.
        side: Pixels that its sides should have in the file.
        size: That they are to have.

    Returns:
        (3, size, size) uint8, RGB; or what is wrong with it.
    """
    picture = decoded(content, side, reduction(side, size))
    return picture if isinstance(picture, str) else np.ascontiguousarray(resized(picture, size)[..., ::-1].transpose(2, 0, 1))
