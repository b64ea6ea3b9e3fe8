"""Random changes of pictures that change no expression: light, colour, place, sharpness, noise, something before the face."""

import torch
from torch import Tensor
from torch.nn import functional

_BRIGHTNESS, _CONTRAST, _TINT = 0.25, 0.25, 0.12  # standard deviations, pictures from -1 to 1
_GREY = 0.4  # share of pictures without colour
_TURN, _GROWTH, _SHIFT = 0.06, 0.04, 0.025  # standard deviations: radians, log, half sides
_COARSE = 0.25  # share of pictures seen at a half or a third of the resolution
_NOISE = 0.1  # largest standard deviation
_COVERED = 0.25  # share of pictures partly hidden
_COVER = (0.06, 0.28)  # sides of what hides them, as shares of the picture's


def jittered(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Changed copies of pictures.

    Args:
        pictures: (b, 3, s, s), -1 to 1, on the CPU.
        generator: Decides all.

    Returns:
        (b, 3, s, s), -1 to 1.
    """
    count, side = len(pictures), pictures.shape[-1]

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def some(share: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=generator) < share

    changed = pictures * (1 + _CONTRAST * normal(count, 1, 1, 1)) + _BRIGHTNESS * normal(count, 1, 1, 1)
    changed = changed + _TINT * normal(count, 3, 1, 1)
    changed = torch.where(some(_GREY), changed.mean(dim=1, keepdim=True), changed)
    changed = _placed(changed, _TURN * normal(count), torch.exp(_GROWTH * normal(count)), _SHIFT * normal(count, 2))
    for factor in (2, 3):
        coarse = functional.interpolate(functional.avg_pool2d(changed, factor), size=(side, side), mode="bilinear")
        changed = torch.where(some(_COARSE / 2), coarse, changed)
    changed = changed + torch.rand(count, 1, 1, 1, generator=generator) * _NOISE * torch.randn(
        changed.shape, generator=generator
    )
    covered = _cover(count, side, generator) & some(_COVERED)
    colour = torch.rand(count, 3, 1, 1, generator=generator) * 2 - 1
    return torch.where(covered, colour, changed).clamp(-1, 1)


def _placed(pictures: Tensor, turn: Tensor, growth: Tensor, shift: Tensor) -> Tensor:
    """Pictures turned, scaled and moved; what comes in at the border repeats it."""
    cosine, sine = torch.cos(turn) * growth, torch.sin(turn) * growth
    rows = torch.stack([torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)], 1)
    grid = functional.affine_grid(rows, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def _cover(count: int, side: int, generator: torch.Generator) -> Tensor:
    """(b, 1, s, s) bool, one rectangle each."""
    low, high = _COVER
    extent = torch.rand(count, 2, generator=generator) * (high - low) + low
    start = torch.rand(count, 2, generator=generator) * (1 - extent)
    steps = (torch.arange(side) + 0.5) / side
    inside = (steps >= start[..., None]) & (steps < (start + extent)[..., None])
    return (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None]
