"""The optional stage that learns to tell the examples' people apart, so that drawings can be kept from telling them.

A small network, trained here on the very people that are drawn: nothing that was trained on faces elsewhere is needed.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from normpipe.errors import UsageError
from normpipe.normalizers.norface.stem import FaceStem
from normpipe.training.norface.examples import ExampleSet
from normpipe.training.norface.jitter import jittered
from normpipe.training.norface.loop import Batch
from normpipe.training.norface.network import pictures_of

_WIDTHS = (16, 32, 64, 128)
_SHARPNESS = 16.0  # of cosines as logits


class IdentityNet(nn.Module):
    """(b, 3, s, s) pictures, -1 to 1, to (b, dim) embeddings, of which the direction counts."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.stem = FaceStem(_WIDTHS)
        self.embed = nn.Linear(_WIDTHS[-1], dim)

    def forward(self, pictures: Tensor) -> Tensor:
        """Embeddings."""
        _, maps = self.stem(pictures)
        embedded: Tensor = self.embed(maps.mean(dim=(2, 3)))
        return embedded


class IdentityLosses(nn.Module):
    """What is trained: the network, and a direction for each person."""

    def __init__(self, net: IdentityNet, people: int) -> None:
        super().__init__()
        self.net = net
        self.people = nn.Parameter(torch.randn(people, net.embed.out_features))

    def forward(self, pictures: Tensor, person: Tensor) -> dict[str, Tensor]:
        """The loss of (b, 3, s, s) pictures of (b,) people."""
        cosines = functional.normalize(self.net(pictures), dim=1) @ functional.normalize(self.people, dim=1).t()
        return {"identity": functional.cross_entropy(_SHARPNESS * cosines, person)}


class IdentityTrainee:
    """See Trainee; of the examples, those whose people have several."""

    def __init__(self, losses: IdentityLosses, examples: ExampleSet) -> None:
        self._losses = losses
        self._examples = examples
        self._rows, self._person = several_of_each(examples.people)
        self.size = len(self._rows)

    def module(self) -> nn.Module:
        """See Trainee."""
        return self._losses

    def paces(self) -> Sequence[tuple[Sequence[nn.Parameter], float]]:
        """See Trainee."""
        return [(list(self._losses.parameters()), 1.0)]

    def batch(self, chosen: NDArray[np.intp], generator: torch.Generator) -> Batch:
        """Jittered pictures and their people."""
        pictures = jittered(pictures_of(self._examples, self._rows[chosen]), generator)
        return pictures, torch.from_numpy(self._person[chosen])


def several_of_each(people: NDArray[np.str_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Numbers of the examples whose people have several, and numbers of these people from 0.

    Raises:
        UsageError: there are fewer than two such people.
    """
    _, person, counts = np.unique(people, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(counts[person] > 1)
    kept, number = np.unique(person[rows], return_inverse=True)
    if len(kept) < 2:
        raise UsageError(
            "identity: fewer than two people have several examples; add a run with subjects, or leave the section out"
        )
    return rows, number
