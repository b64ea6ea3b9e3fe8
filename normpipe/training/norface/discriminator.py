"""The optional judge of drawings: it learns to tell the teacher's pictures from the network's, patch by patch.

Both learn in one step from one backward pass: what the network loses is judged with the judge's weights held still, and what
the judge loses is measured on drawings held still. So there is one optimizer, and one checkpoint.

Sources: PatchGAN, https://arxiv.org/abs/1611.07004.
"""

import torch
from torch import Tensor, nn

from normpipe.training.norface.losses import fooling, telling

_WIDTHS = (32, 64, 128)


class Discriminator(nn.Module):
    """(b, 3, s, s) pictures, -1 to 1, to (b, 1, s / 8, s / 8) verdicts, high for real ones."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in _WIDTHS:
            layers += [nn.Conv2d(before, width, 4, 2, 1), nn.LeakyReLU(0.2)]
            before = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 3, padding=1))

    def forward(self, pictures: Tensor) -> Tensor:
        """Verdicts."""
        verdicts: Tensor = self.layers(pictures)
        return verdicts

    def losses(self, drawn: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """What the maker of the drawings loses, and what this judge loses; each reaches its own weights only."""
        held = {name: value.detach() for name, value in self.named_parameters()}
        judged: Tensor = torch.func.functional_call(self, held, (drawn,))
        return fooling(judged), telling(self(real), self(drawn.detach()))
