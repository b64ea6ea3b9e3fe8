"""The decoder: tokens to a drawing on the target.

It does not paint a face from nothing. It says where each pixel of the drawing comes from in the target (a flow), how much
lighter or darker it is there (wrinkles), and what is laid over it where the target has nothing to show (eyes, teeth). So the
common identity's texture arrives in full sharpness, at any size, from a small network.

Source: warping a target by a flow is the idea of FlowFace (https://arxiv.org/abs/2212.02797).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_blocks import UpDecoderBlock2D
from torch import Tensor, nn
from torch.nn import functional

_FLOW_UNIT = 0.1
"""Sides of the picture per unit of the last layer's output: flows then start small and are learnt at the pace of the rest."""
_LIGHT_UNIT = 0.2
_LIGHT_LIMIT = 1.0
_COVER_AT_FIRST = -4.0
_CHANNELS = (2, 1, 1, 3)


@dataclass(frozen=True, slots=True)
class Drawing:
    """What to do with the target, on a grid of any size.

    Attributes:
        flow: (b, 2, h, w) x and y, how far from a pixel of the drawing its place in the target is, in sides.
        light: (b, 1, h, w) log of the factor on the target's colour, within +-1.
        cover: (b, 1, h, w) share of the colour that is laid over, 0 to 1.
        colour: (b, 3, h, w) that colour, -1 to 1.
    """

    flow: Tensor
    light: Tensor
    cover: Tensor
    colour: Tensor


class WarpDecoder(ModelMixin, ConfigMixin):
    """Tokens to a Drawing.

    Args:
        dim: Length of a token.
        widths: Channels of each stage, multiples of `groups`; every stage but the last doubles the resolution.
        groups: Of the normalization.
    """

    @register_to_config
    def __init__(self, dim: int = 192, widths: Sequence[int] = (128, 64, 32, 16, 8), groups: int = 8) -> None:
        super().__init__()
        self.enter = nn.Conv2d(dim, widths[0], 1)
        inputs = (widths[0], *widths[:-1])
        self.stages = nn.ModuleList(
            [
                UpDecoderBlock2D(before, after, resnet_groups=groups, add_upsample=number < len(widths) - 1)
                for number, (before, after) in enumerate(zip(inputs, widths, strict=True))
            ]
        )
        self.leave = nn.Conv2d(widths[-1], sum(_CHANNELS), 3, padding=1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)  # the first drawing is the target

    def forward(self, tokens: Tensor) -> Drawing:
        """A Drawing on a grid of `sqrt(k) * 2 ** (len(widths) - 1)` from (b, k, dim) tokens."""
        grid = math.isqrt(tokens.shape[1])
        maps = self.enter(tokens.transpose(1, 2).unflatten(2, (grid, grid)))
        for stage in self.stages:
            maps = stage(maps)
        flow, light, cover, colour = self.leave(maps).float().split(_CHANNELS, dim=1)
        return Drawing(
            flow * _FLOW_UNIT,
            (light * _LIGHT_UNIT).tanh() * _LIGHT_LIMIT,
            torch.sigmoid(cover + _COVER_AT_FIRST),
            colour.tanh(),
        )


def draw(colour: Tensor, alpha: Tensor, drawing: Drawing) -> tuple[Tensor, Tensor]:
    """The target as the drawing says, before no background yet.

    The target's colour should go on beyond its rim (as that of a CommonFace does), since alpha alone says where the face ends.

    Args:
        colour: (b or 1, 3, s, s) of the target, -1 to 1.
        alpha: (as many, 1, s, s), 1 where the target is, 0 where something else will be behind it.
        drawing: On any grid; it is enlarged to s.

    Returns:
        Colour (b, 3, s, s), -1 to 1, and alpha (b, 1, s, s), 0 to 1. Before a background g, of the colour's range, the picture
        is `alpha * colour + (1 - alpha) * g`.
    """
    side = colour.shape[-1]
    flow, light, cover, laid_over = (
        functional.interpolate(part, (side, side), mode="bilinear", align_corners=False)
        for part in (drawing.flow, drawing.light, drawing.cover, drawing.colour)
    )
    target = torch.cat([colour, alpha], dim=1).float()
    warped = functional.grid_sample(
        target.expand(len(flow), -1, -1, -1),
        (_places(side, flow) + 2 * flow).permute(0, 2, 3, 1),
        padding_mode="border",
        align_corners=False,
    )
    lit = (warped[:, :3] + 1) * light.exp() - 1
    return (cover * laid_over + (1 - cover) * lit).clamp(-1, 1), cover + (1 - cover) * warped[:, 3:]


def _places(side: int, like: Tensor) -> Tensor:
    """(1, 2, side, side) where each pixel is, -1 to 1."""
    steps = (torch.arange(side, dtype=like.dtype, device=like.device) + 0.5) * (2 / side) - 1
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([columns, rows])[None]
