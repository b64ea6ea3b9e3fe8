"""The stage that learns to read: from a picture to the code, which is what is known of the picture, in standard deviations.

The code is all that is drawn from, so what it holds is decided here. Its first part is the rig's weights, exact on heads and
warps of any person: heads of random people that shall read alike teach it to be nobody's. Its second part is how mean_face
reads the face, known of every picture. The adversary, if there is one, guesses people from the first part.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from normpipe.batches import Floats
from normpipe.normalizers.norface.encoder import FaceEncoder
from normpipe.normalizers.norface.merging import ExpressionMerger
from normpipe.training.norface.config import Reading
from normpipe.training.norface.examples import DETAIL_TERMS, EXPRESSION_SHAPES, SHAPE_TERMS, ExampleSet, Kind
from normpipe.training.norface.jitter import jittered
from normpipe.training.norface.loop import Batch
from normpipe.training.norface.losses import adversary, known_error, reversed_gradient
from normpipe.training.norface.network import pictures_of

_LEAST_SPREAD = 1e-2
_LIMIT = 5.0  # standard deviations; what is beyond is an error of measurement
_STEM_PACE = 0.7
_TOGETHER = 64
_PARTS = [EXPRESSION_SHAPES, SHAPE_TERMS, DETAIL_TERMS]


class ReadingLosses(nn.Module):
    """What is trained: the encoder, the part of the merger that makes the code, and the adversary.

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
        """Weighted losses of (b, 3, side, side) pictures with (b, 121) codes, NaN where not known, of (b,) people."""
        code = self.merger.code(self.encoder(pictures))
        weights = self._weights
        expression, shape, detail = map(known_error, torch.split(code, _PARTS, 1), torch.split(truth, _PARTS, 1))
        losses = {
            "expression": weights.expression * expression,
            "shape": weights.shape * shape,
            "detail": weights.detail * detail,
        }
        if self.adversary is not None:
            free = reversed_gradient(code[:, :EXPRESSION_SHAPES], weights.adversary)
            losses["adversary"] = functional.cross_entropy(self.adversary(free), person)
        return losses


class ReadingTrainee:
    """See Trainee.

    Args:
        losses: To train.
        examples: All of them.
        photo_repeats: How often a photo comes up for every head.
    """

    def __init__(self, losses: ReadingLosses, examples: ExampleSet, photo_repeats: int) -> None:
        photos = np.flatnonzero(examples.kinds == Kind.PHOTO)
        self._losses = losses
        self._examples = examples
        self._rows = np.concatenate([np.arange(len(examples)), np.tile(photos, photo_repeats - 1)])
        self._truth = np.clip(known(examples) / spreads(examples), -_LIMIT, _LIMIT)
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
        """Jittered pictures, their codes and people."""
        rows = self._rows[chosen]
        pictures = jittered(pictures_of(self._examples, rows), generator)
        return pictures, torch.from_numpy(self._truth[rows]), torch.from_numpy(self._person[rows])


def known(examples: ExampleSet) -> Floats:
    """(n, 121) float32, what is known of examples, in its own units; NaN where it is not."""
    return np.concatenate([examples.expression, examples.shape, examples.detail], axis=1)


def spreads(examples: ExampleSet) -> Floats:
    """(121,) float32 standard deviations: of the rig's weights where they are known, of the rest over photos."""
    photos = examples.kinds == Kind.PHOTO
    parts = (examples.expression, examples.shape[photos], examples.detail[photos])
    return np.concatenate([_spread(part) for part in parts])


def read_codes(encoder: FaceEncoder, merger: ExpressionMerger, examples: ExampleSet, device: torch.device) -> Floats:
    """(n, 121) float32 codes of all examples, as they are."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(examples), _TOGETHER):
            rows = np.arange(start, min(start + _TOGETHER, len(examples)))
            found.append(merger.code(encoder(pictures_of(examples, rows).to(device))).float().cpu().numpy())
    return np.concatenate(found)


def _spread(values: Floats) -> Floats:
    """(k,) of (n, k) values, 1 where nothing is known."""
    counted = np.isfinite(values).sum(axis=0)
    middle = np.nansum(values, axis=0, dtype=np.float64) / np.maximum(counted, 1)
    variance = np.nansum((values - middle) ** 2, axis=0) / np.maximum(counted, 1)
    return np.where(counted > 0, np.sqrt(variance) + _LEAST_SPREAD, 1.0).astype(np.float32)
