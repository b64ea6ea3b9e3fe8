"""The stage that learns to read: from a picture to the free part of its code, the rig's weights in standard deviations.

They are exact on heads and warps of any person: faces of random people that shall read alike teach it to be nobody's. The
adversary, if there is one, guesses people from it, of photos too, whose expression is not known.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from normpipe.batches import Floats
from normpipe.normalizers.norface.encoder import FaceEncoder
from normpipe.normalizers.norface.layout import MEASURED_LIMIT
from normpipe.normalizers.norface.merging import ExpressionMerger
from normpipe.training.norface.config import Reading
from normpipe.training.norface.examples import EXPRESSION_SHAPES, ExampleSet, Kind
from normpipe.training.norface.jitter import jittered
from normpipe.training.norface.loop import Batch
from normpipe.training.norface.losses import adversary, known_error, reversed_gradient
from normpipe.training.norface.network import pictures_of

_LEAST_SPREAD = 1e-2
_STEM_PACE = 0.7
_TOGETHER = 64


class ReadingLosses(nn.Module):
    """What is trained: the encoder, the part of the merger that reads, and the adversary.

    Args:
        encoder: To train.
        merger: To train.
        weights: Of the losses.
        people: How many the adversary tells apart.
    """

    def __init__(self, encoder: FaceEncoder, merger: ExpressionMerger, weights: Reading, people: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.merger = merger
        self.adversary = adversary(EXPRESSION_SHAPES, people) if weights.adversary else None
        self._weights = weights

    def forward(self, pictures: Tensor, truth: Tensor, person: Tensor) -> dict[str, Tensor]:
        """Weighted losses of (b, 3, side, side) pictures with (b, 57) expressions, NaN where not known, of (b,) people."""
        free = self.merger.expression(self.encoder(pictures))
        losses = {"expression": known_error(free, truth)}
        if self.adversary is not None:
            guessed = self.adversary(reversed_gradient(free, self._weights.adversary))
            losses["adversary"] = functional.cross_entropy(guessed, person)
        return losses


class ReadingTrainee:
    """See Trainee.

    Args:
        losses: To train.
        examples: All of them. Those without a known expression come up for the adversary, or where nothing is known of any.
    """

    def __init__(self, losses: ReadingLosses, examples: ExampleSet) -> None:
        truth = examples.expression / spreads(examples)[:EXPRESSION_SHAPES]
        told = np.isfinite(truth).any(axis=1)
        self._losses = losses
        self._examples = examples
        self._rows = np.flatnonzero(told if losses.adversary is None and told.any() else np.ones_like(told))
        self._truth = np.clip(truth, -MEASURED_LIMIT, MEASURED_LIMIT)
        _, self._person = np.unique(examples.people, return_inverse=True)
        self.size = len(self._rows)

    def module(self) -> nn.Module:
        """See Trainee."""
        return self._losses

    def paces(self) -> Sequence[tuple[Sequence[nn.Parameter], float]]:
        """The stem, which may come from another network, learns more slowly."""
        encoder, merger = self._losses.encoder, self._losses.merger
        stem = list(encoder.stem.parameters())
        rest = [parameter for name, parameter in encoder.named_parameters() if not name.startswith("stem.")]
        rest += [merger.questions, *merger.answer.parameters(), *merger.narrow.parameters(), *merger.read.parameters()]
        if self._losses.adversary is not None:
            rest += self._losses.adversary.parameters()
        return [(stem, _STEM_PACE), (rest, 1.0)]

    def batch(self, chosen: NDArray[np.intp], generator: torch.Generator) -> Batch:
        """Jittered pictures, their expressions and people."""
        rows = self._rows[chosen]
        pictures = jittered(pictures_of(self._examples, rows), generator)
        return pictures, torch.from_numpy(self._truth[rows]), torch.from_numpy(self._person[rows])


def measured(examples: ExampleSet) -> Floats:
    """(n, 64) float32, the own parts of the examples' codes, in standard deviations."""
    own = np.concatenate([examples.shape, examples.detail], axis=1) / spreads(examples)[EXPRESSION_SHAPES:]
    return np.clip(own, -MEASURED_LIMIT, MEASURED_LIMIT)


def spreads(examples: ExampleSet) -> Floats:
    """(121,) float32 standard deviations: of the rig's weights where they are known, of the rest over photos."""
    photos = examples.kinds == Kind.PHOTO
    parts = (examples.expression, examples.shape[photos], examples.detail[photos])
    return np.concatenate([_spread(part) for part in parts])


def read_expressions(encoder: FaceEncoder, merger: ExpressionMerger, examples: ExampleSet, device: torch.device) -> Floats:
    """(n, 57) float32 free parts of the codes of all examples, as they are."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(examples), _TOGETHER):
            rows = np.arange(start, min(start + _TOGETHER, len(examples)))
            found.append(merger.expression(encoder(pictures_of(examples, rows).to(device))).float().cpu().numpy())
    return np.concatenate(found)


def _spread(values: Floats) -> Floats:
    """(k,) of (n, k) values, 1 where nothing is known."""
    counted = np.isfinite(values).sum(axis=0)
    middle = np.nansum(values, axis=0, dtype=np.float64) / np.maximum(counted, 1)
    variance = np.nansum((values - middle) ** 2, axis=0) / np.maximum(counted, 1)
    return np.where(counted > 0, np.sqrt(variance) + _LEAST_SPREAD, 1.0).astype(np.float32)
