"""The stage that learns to draw with a generating decoder: where a latent goes that is on its way from noise to a picture.

Latents are those of the autoencoder, which stays as it is; the way is a straight line. Half of the examples are asked where
every drawing starts, at the decoder's own noise: of any noise alone, the start is learnt more slowly. The other half are
anywhere on a way from any noise: of its own noise alone, which gives a latent away as soon as it is left, a decoder would learn
nothing but the start.

Source: Lipman et al., https://arxiv.org/abs/2210.02747.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from normpipe.normalizers.norface.generation import FlowDecoder
from normpipe.training.norface.drawer import Drawer
from normpipe.training.norface.drawing import CODE_NOISE
from normpipe.training.norface.loop import Batch
from normpipe.training.norface.painted import PaintedSet


class FlowLosses(Drawer):
    """What is trained: the part of the merger behind the code, and a FlowDecoder without its autoencoder."""

    decoder: FlowDecoder

    def forward(self, passed: Tensor, pictures: Tensor, noise: Tensor, time: Tensor) -> dict[str, Tensor]:
        """The loss of a batch.

        Args:
            passed: (b, 121) what passed of codes.
            pictures: (b, 4, s, s) the teacher's, -1 to 1.
            noise: (b, channels, g, g), normal.
            time: (b,), 0 to 1.
        """
        with torch.no_grad():
            latents = self.decoder.latents(pictures)
        wanted = self.decoder.wanted(self.merger.merge(passed, self.target))
        on_the_way = noise.lerp(latents, time[:, None, None, None])
        return {"end": functional.mse_loss(self.decoder.end(on_the_way, time, wanted), latents)}


class FlowTrainee:
    """See Trainee."""

    def __init__(self, losses: FlowLosses, painted: PaintedSet) -> None:
        self._losses = losses
        self._noise = losses.decoder.noise.clone()
        self._painted = painted
        self.size = len(painted)

    def module(self) -> nn.Module:
        """See Trainee."""
        return self._losses

    def paces(self) -> Sequence[tuple[Sequence[nn.Parameter], float]]:
        """See Trainee."""
        merger, decoder = self._losses.merger, self._losses.decoder
        parts = (merger.carry, merger.blocks, merger.norm, decoder.enter, decoder.unet)
        return [([merger.places, *(weight for part in parts for weight in part.parameters())], 1.0)]

    def batch(self, chosen: NDArray[np.intp], generator: torch.Generator) -> Batch:
        """What passes, a little disturbed; the teacher's pictures of the undisturbed; noise, and moments on the way from it."""
        codes = torch.from_numpy(self._painted.targets.passed[chosen])
        noise = torch.randn(len(chosen), *self._noise.shape[1:], generator=generator)
        time = torch.rand(len(chosen), generator=generator)
        noise[::2], time[::2] = self._noise, 0
        disturbed = codes + CODE_NOISE * torch.randn(codes.shape, generator=generator)
        return disturbed, self._painted.pictures(chosen), noise, time
