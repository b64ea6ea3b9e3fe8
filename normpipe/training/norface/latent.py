"""The stage before a flow is learnt: an autoencoder between the teacher's pictures and the latents in which they are drawn.

Source: Kingma and Welling, https://arxiv.org/abs/1312.6114.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from normpipe.normalizers.norface.generation import FlowDecoder
from normpipe.training.norface.loop import Batch
from normpipe.training.norface.painted import PaintedSet

_FITTED = 256
"""Pictures that say where latents lie."""
_TOGETHER = 16


class LatentLosses(nn.Module):
    """What is trained: the decoder's autoencoder.

    Args:
        decoder: Its owner.
        prior: Weight of the latents' divergence from a normal distribution, nats for each of their numbers.
    """

    def __init__(self, decoder: FlowDecoder, prior: float) -> None:
        super().__init__()
        self.decoder = decoder
        self._prior = prior

    def forward(self, pictures: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Weighted losses of (b, 4, s, s) pictures, -1 to 1, with (b, channels, g, g) normal noise."""
        posterior = self.decoder.posterior(pictures)
        again = self.decoder.pictures(posterior.mean + posterior.std * noise)
        prior = self._prior * posterior.kl().float().mean() / noise[0].numel()
        return {"picture": (again - pictures).abs().mean(), "prior": prior}


class LatentTrainee:
    """See Trainee."""

    def __init__(self, losses: LatentLosses, painted: PaintedSet) -> None:
        self._losses = losses
        self._shape = losses.decoder.noise.shape[1:]
        self._painted = painted
        self.size = len(painted)

    def module(self) -> nn.Module:
        """See Trainee."""
        return self._losses

    def paces(self) -> Sequence[tuple[Sequence[nn.Parameter], float]]:
        """See Trainee."""
        return [(list(self._losses.decoder.autoencoder.parameters()), 1.0)]

    def batch(self, chosen: NDArray[np.intp], generator: torch.Generator) -> Batch:
        """Pictures and noise."""
        return self._painted.pictures(chosen), torch.randn(len(chosen), *self._shape, generator=generator)


def fit_latents(decoder: FlowDecoder, painted: PaintedSet) -> None:
    """Write into a decoder whose autoencoder is trained where latents lie: what is to be drawn is how a picture differs.

    Args:
        decoder: Its buffers `middle`, the mean of each place, and `spread`, the deviation of each channel, are set.
        painted: Pictures, of which some, evenly spaced, are looked at.
    """
    chosen = np.unique(np.linspace(0, len(painted) - 1, min(_FITTED, len(painted))).astype(np.intp))
    decoder.middle.zero_()
    decoder.spread.fill_(1)
    with torch.inference_mode():
        parts = [decoder.latents(painted.pictures(rows)) for rows in np.array_split(chosen, -(-len(chosen) // _TOGETHER))]
    latents = torch.cat(parts)
    decoder.middle.copy_(latents.mean(dim=0, keepdim=True))
    decoder.spread.copy_((latents - decoder.middle).std(dim=(0, 2, 3), keepdim=True))
