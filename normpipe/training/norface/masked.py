"""The first stage, if there is one: the encoder learns faces by guessing most of a picture from a few of its patches.

It needs no label, so that every example counts. The guessing half is small and thrown away afterwards.

Source: He et al., https://arxiv.org/abs/2111.06377.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from normpipe.normalizers.norface.encoder import FaceEncoder, transformer_block
from normpipe.normalizers.norface.stem import REDUCTION
from normpipe.training.norface.examples import ExampleSet
from normpipe.training.norface.loop import Batch
from normpipe.training.norface.losses import hidden_error
from normpipe.training.norface.network import pictures_of

_GUESSING_BLOCKS = 1


class MaskedLosses(nn.Module):
    """What is trained: the encoder, and what guesses patches from its tokens."""

    def __init__(self, encoder: FaceEncoder) -> None:
        super().__init__()
        dim, heads, patches = int(encoder.config["dim"]), int(encoder.config["heads"]), encoder.places.shape[1]
        self.encoder = encoder
        self.unseen = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.places = nn.Parameter(torch.randn(1, patches, dim) * 0.02)
        self.blocks = nn.ModuleList([transformer_block(dim, heads) for _ in range(_GUESSING_BLOCKS)])
        self.guess = nn.Linear(dim, 3 * REDUCTION**2)

    def forward(self, pictures: Tensor, order: Tensor, seen: Tensor) -> dict[str, Tensor]:
        """The loss of a batch.

        Args:
            pictures: (b, 3, side, side), -1 to 1.
            order: (b, k) all patches of each picture, in any order.
            seen: (b, n) of zeros: the first n patches of that order are seen.
        """
        visible = order[:, : seen.shape[1]]
        hidden = torch.ones(order.shape, device=order.device).scatter(1, visible, 0.0)
        tokens = self.encoder(covered(pictures, hidden), visible)
        places = visible[..., None].expand(-1, -1, tokens.shape[2])
        whole = self.unseen.expand(*order.shape, -1).to(tokens.dtype).scatter(1, places, tokens) + self.places
        for block in self.blocks:
            whole = block(whole)
        return {"hidden": hidden_error(self.guess(whole), pictures, hidden, REDUCTION)}


class MaskedTrainee:
    """See Trainee.

    Args:
        losses: To train.
        examples: All of them.
        hidden: Share of the patches that is not seen.
    """

    def __init__(self, losses: MaskedLosses, examples: ExampleSet, hidden: float) -> None:
        self._losses = losses
        self._examples = examples
        self._patches = losses.places.shape[1]
        self._seen = max(1, round(self._patches * (1 - hidden)))
        self.size = len(examples)

    def module(self) -> nn.Module:
        """See Trainee."""
        return self._losses

    def paces(self) -> Sequence[tuple[Sequence[nn.Parameter], float]]:
        """See Trainee."""
        return [(list(self._losses.parameters()), 1.0)]

    def batch(self, chosen: NDArray[np.intp], generator: torch.Generator) -> Batch:
        """Pictures, and for each an order of its patches."""
        order = torch.rand(len(chosen), self._patches, generator=generator).argsort(dim=1)
        return pictures_of(self._examples, chosen), order, torch.zeros(len(chosen), self._seen)


def covered(pictures: Tensor, hidden: Tensor) -> Tensor:
    """Pictures, grey where (b, k) patches are hidden (1): the stem looks a little beyond a patch, and shall see nothing."""
    grid = pictures.shape[-1] // REDUCTION
    mask = functional.interpolate(hidden.reshape(-1, 1, grid, grid), scale_factor=REDUCTION)
    return pictures * (1 - mask)
