"""A trained classifier at work: encoded pictures of samples in, scores out, on one thread of the CPU or on a GPU.

A network always sees batches of one size, filled up with black pictures: kernels are chosen by the shape of a batch, so how a
sample's scores are rounded depends neither on how many came with it nor on who they are.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from normpipe.audit.groups import Floats
from normpipe.classify.losses import scores
from normpipe.classify.pictures import Planes, decoded, reduction, resized
from normpipe.classify.predicted_rows import BATCH_ROWS
from normpipe.classify.saved import load_classifier
from normpipe.errors import ModelUnavailableError, NormpipeError, UsageError
from normpipe.records import Failure, Reason

Sample = NDArray[np.uint8]
"""Pictures of a sample: RGB, uint8, shape (V, 3, size, size), in the order of the arm's views."""

_MIDDLE = 127.5


class Predictor:
    """A classifier, loaded.

    Args:
        where: See saved.classifier_folder.
        device: `cpu` or `cuda`, on which the network computes in float32, too.

    Raises:
        ModelUnavailableError: see load_classifier; there is no CUDA device.
        UsageError: see load_classifier; a batch does not fit the GPU's memory.
    """

    def __init__(self, where: str | Path, device: str = "cpu") -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise ModelUnavailableError("torch sees no CUDA device; choose --device cpu")
        torch.set_num_threads(1)  # see engine/threads.py; a process that has torch already may not have heard of it
        self._network, self.classifier = load_classifier(where)
        self._device = torch.device(device)
        if device == "cuda":
            self._settle()

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
        if all(sample is None for sample in samples):
            return np.zeros((len(samples), len(self.classifier.space)), np.float32)
        filled = self._blank()
        for place, sample in enumerate(samples):
            if sample is not None:
                filled[place] = sample
        found: Floats = scores(self.classifier.space.task, self._logits(filled)).numpy()[: len(samples)]
        if not np.isfinite(found).all():
            raise NormpipeError("the classifier gives what is no number; train it again, at a lower rate")
        return found

    def _settle(self) -> None:
        """Take a place on the GPU, and give it up at once where there is too little."""
        try:
            torch.nn.Module.to(self._network, self._device)
            self._logits(self._blank())
        except torch.OutOfMemoryError as error:
            raise UsageError(
                f"--device cuda: {BATCH_ROWS} samples do not fit the GPU's free memory; start fewer workers per GPU"
            ) from error

    def _blank(self) -> NDArray[np.uint8]:
        """A batch of black pictures, (BATCH_ROWS, V, 3, size, size)."""
        classifier = self.classifier
        return np.zeros((BATCH_ROWS, classifier.arm.views, 3, classifier.size, classifier.size), np.uint8)

    def _logits(self, pictures: NDArray[np.uint8]) -> Tensor:
        """What the network says of a batch, on the CPU."""
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            found: Tensor = self._network(torch.from_numpy(pictures).to(self._device).float() / _MIDDLE - 1).logits
            return found.cpu()


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
