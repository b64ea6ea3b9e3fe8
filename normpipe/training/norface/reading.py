"""The stage that learns to read: from a picture to the code, and from the code what is known of the picture.

The code is all that later stages draw from, so what it holds is decided here: the rig's weights, exact on heads and warps of any
person, and mean_face's coefficients, known of every picture. Heads of random people whose code must give the same weights are
what teaches it to be nobody's; the adversary, if there is one, guesses the person from the code and is worked against.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from normpipe.batches import Floats
from normpipe.normalizers.norface.encoder import FaceEncoder
from normpipe.normalizers.norface.merging import ExpressionMerger
from normpipe.training.norface.config import Reading
from normpipe.training.norface.examples import ExampleSet
from normpipe.training.norface.jitter import jittered
from normpipe.training.norface.losses import adversary, known_error, reversed_gradient

_LEAST_SPREAD = 1e-2
_LIMIT = 5.0
_STEM_PACE = 0.7


class Reader(nn.Module):
    """Encoder and merger, and the three readings of a code.

    Args:
        encoder: To train.
        merger: To train, as far as it makes the code.
        spreads: Standard deviations of the rig's weights and mean_face's coefficients: what a head gives is in their units.
    """

    def __init__(self, encoder: FaceEncoder, merger: ExpressionMerger, spreads: Sequence[Floats]) -> None:
        super().__init__()
        self.encoder = encoder
        self.merger = merger
        code = int(merger.config["code_tokens"]) * int(merger.config["code_dim"])
        self.heads = nn.ModuleList([nn.Linear(code, len(spread)) for spread in spreads])
        for number, spread in enumerate(spreads):
            self.register_buffer(f"spread_{number}", torch.from_numpy(spread))

    def code(self, pictures: Tensor) -> Tensor:
        """(b, code_tokens, code_dim) of (b, 3, side, side) pictures, -1 to 1."""
        found: Tensor = self.merger.code(self.encoder(pictures))
        return found

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The rig's weights (b, 57), and mean_face's coefficients of shape and of detail, in their own units."""
        flat = code.flatten(1)
        read = [head(flat) * self.get_buffer(f"spread_{number}") for number, head in enumerate(self.heads)]
        expression, shape, detail = read
        return expression, shape, detail


class ReadingLosses(nn.Module):
    """What is trained: a reader, and the adversary."""

    def __init__(self, reader: Reader, weights: Reading, people: int) -> None:
        super().__init__()
        self.reader = reader
        self._weights = weights
        code = reader.heads[0].in_features
        self.adversary = adversary(int(code), people) if weights.adversary else None

    def forward(self, pictures: Tensor, expression: Tensor, shape: Tensor, detail: Tensor, person: Tensor) -> dict[str, Tensor]:
        """Weighted losses of a batch."""
        code = self.reader.code(pictures)
        weights = self._weights
        losses = {}
        truths = (("expression", expression), ("shape", shape), ("detail", detail))
        for number, (name, truth) in enumerate(truths):
            spread = self.reader.get_buffer(f"spread_{number}")
            read = self.reader.heads[number](code.flatten(1))
            losses[name] = getattr(weights, name) * known_error(read, (truth / spread).clamp(-_LIMIT, _LIMIT))
        if self.adversary is not None:
            guess = self.adversary(reversed_gradient(code.flatten(1), weights.adversary))
            losses["adversary"] = nn.functional.cross_entropy(guess, person)
        return losses


class ReadingTrainee:
    """See Trainee. `repeats` is how often each photo comes up for every head."""

    def __init__(self, losses: ReadingLosses, examples: ExampleSet, rows: NDArray[np.intp]) -> None:
        self._losses = losses
        self._examples = examples
        self._rows = rows
        _, self._person = np.unique(examples.people, return_inverse=True)
        self.size = len(rows)

    @classmethod
    def of(cls, losses: ReadingLosses, examples: ExampleSet, photo_repeats: int) -> Self:
        """All examples, photos several times."""
        rows = np.arange(len(examples.ids))
        photos = rows[examples.kinds == "photo"]
        return cls(losses, examples, np.concatenate([rows, np.tile(photos, photo_repeats - 1)]))

    def module(self) -> nn.Module:
        """See Trainee."""
        return self._losses

    def paces(self) -> Sequence[tuple[nn.Module, float]]:
        """The stem, which may come from another network, learns more slowly."""
        reader = self._losses.reader
        stem = reader.encoder.stem
        rest = nn.ModuleList([part for name, part in reader.encoder.named_children() if name != "stem"])
        return [(stem, _STEM_PACE), (rest, 1.0)]

    def batch(self, chosen: NDArray[np.intp], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Jittered pictures and their truths."""
        rows = self._rows[chosen]
        examples = self._examples
        pictures = torch.from_numpy(np.stack([examples.picture(row) for row in rows])).permute(0, 3, 1, 2).float() / 127.5 - 1
        truths = (torch.from_numpy(values[rows]) for values in (examples.expression, examples.shape, examples.detail))
        return (jittered(pictures, generator), *truths, torch.from_numpy(self._person[rows]))


def spreads(examples: ExampleSet) -> list[Floats]:
    """Standard deviations of what is read, of the photos where they know it, so that all counts alike."""
    photos = examples.kinds == "photo"
    return [
        (np.nanstd(values, axis=0) + _LEAST_SPREAD).astype(np.float32)
        for values in (examples.expression, examples.shape[photos], examples.detail[photos])
    ]
