"""The local non-local joint network: a small network for each region of the face, and a non-local one that weighs them.

No landmarks: the picture is cut into a grid, and which cells matter is learnt. The weights stay in the graph, so that the local
networks learn most where the non-local one looks, and it looks where they do well. The paper's text leaves sizes and losses
open; those here are our own.

Source: Shi et al., https://arxiv.org/abs/2203.14045.
"""

import math
from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from normpipe.classify.networks.backbones import group_norm
from normpipe.classify.networks.keyed import KeyedDropout
from normpipe.classify.networks.prediction import Prediction, Regions

_LOCAL_GROUPS = 4
_CELLS_PER_REGION = 2
"""Along each side, of the map that the non-local part sees, as far as the regions divide."""


class LnlClassifier(ModelMixin, ConfigMixin):
    """Pictures of a sample to logits, with those of each region and how much it counts.

    Args:
        labels: (C,) what is learnt, in the order of the outputs.
        views: V, pictures of a sample: 1 or 2. The first part is one network for all; its maps of the views are put together
            before they are cut into regions.
        patch: Side of the first convolution, and its stride.
        widths: Channels of the U-Net's levels; every level but the first halves the resolution.
        grid: P: regions along each side.
        reach: How far a region reaches into its neighbours, on each side, in shares of its own side: 0.5 makes neighbours
        overlap
            by half.
        region_width: Channels of a local network.
        region_dim: Length of what it says of its region.
        dropout: Share of what all regions say that is dropped before they are joined.
    """

    @register_to_config
    def __init__(
        self,
        labels: Sequence[str],
        views: int,
        patch: int = 4,
        widths: Sequence[int] = (16, 32, 64, 96, 128),
        grid: int = 4,
        reach: float = 0.0,
        region_width: int = 24,
        region_dim: int = 32,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        outputs, seen = len(labels), views * widths[0]
        self.maps = UNet(patch, widths)
        self.overview = NonLocal(seen)
        self.importance = nn.Conv2d(seen, 1, 1, bias=False)
        self.overview_head = nn.Linear(seen, outputs)
        self.local = LocalNetworks(grid**2, seen, region_width, region_dim)
        self.local_head = nn.Conv1d(grid**2 * region_dim, grid**2 * outputs, 1, groups=grid**2)
        self.drop = KeyedDropout(dropout, 0)
        self.joint_head = nn.Linear(grid**2 * region_dim, outputs)
        self._grid = grid
        self._reach = reach

    def forward(self, pictures: Tensor, keys: Tensor | None = None) -> Prediction:
        """What the network says of b samples; arguments as of NorfaceClassifier."""
        maps = self.maps(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2]).flatten(1, 2)
        cell = max(1, maps.shape[-1] // (self._grid * _CELLS_PER_REGION))
        overview = self.overview(functional.avg_pool2d(maps, cell))
        importance = cut(self.importance(overview), self._grid, 0.0).mean(dim=(2, 3, 4))
        weights = importance.float().softmax(dim=1)
        said = self.local(cut(maps, self._grid, self._reach))
        counted = said * (len(weights[0]) * weights[..., None]).to(said.dtype)  # 1 each where all count alike
        regions = Regions(
            self.local_head(said.flatten(1)[..., None]).unflatten(1, (weights.shape[1], -1))[..., 0].float(),
            weights,
            self.overview_head(overview.mean(dim=(2, 3))).float(),
        )
        return Prediction(self.joint_head(self.drop(counted.flatten(1), keys)).float(), regions=regions)


class UNet(nn.Module):
    """Maps that join what is deep with what is fine, https://arxiv.org/abs/1505.04597, with GroupNorm.

    Args:
        patch: Side of the first convolution, and its stride.
        widths: Channels of each level, from the finest on.
    """

    def __init__(self, patch: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, widths[0], patch, patch)
        self.down = nn.ModuleList([_level(before, after) for before, after in zip((widths[0], *widths), widths, strict=False)])
        self.up = nn.ModuleList([_level(deep + fine, fine) for deep, fine in zip(widths[:0:-1], widths[-2::-1], strict=True)])

    def forward(self, pictures: Tensor) -> Tensor:
        """(b, widths[0], s / patch, s / patch) from (b, 3, s, s)."""
        maps = self.enter(pictures)
        passed: list[Tensor] = []
        for number, level in enumerate(self.down):
            maps = level(functional.max_pool2d(maps, 2, ceil_mode=True) if number else maps)
            passed.append(maps)
        for level, fine in zip(self.up, passed[-2::-1], strict=True):
            maps = level(torch.cat([functional.interpolate(maps, fine.shape[-2:]), fine], dim=1))
        joined: Tensor = maps
        return joined


class NonLocal(nn.Module):
    """Every place looks at all others: the embedded Gaussian of Wang et al., https://arxiv.org/abs/1711.07971, equation 3.

    Args:
        width: Channels; inside there are half as many.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = max(1, width // 2)
        self.ask = nn.Conv2d(width, inner, 1)
        self.tell = nn.Conv2d(width, inner, 1)
        self.carry = nn.Conv2d(width, inner, 1)
        self.leave = nn.Conv2d(inner, width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """(b, width, h, w) from as much."""
        asked, told, carried = (part(maps).flatten(2).transpose(1, 2) for part in (self.ask, self.tell, self.carry))
        found = functional.scaled_dot_product_attention(asked, told, carried, scale=1.0)
        left: Tensor = maps + self.leave(found.transpose(1, 2).unflatten(2, maps.shape[2:]))
        return left


class LocalNetworks(nn.Module):
    """One network for each of k regions, all of one size, side by side as groups of convolutions.

    Args:
        regions: k.
        inputs: Channels of a region.
        width: Channels inside.
        outputs: Length of what is said of a region.
    """

    def __init__(self, regions: int, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        groups = regions * math.gcd(width, _LOCAL_GROUPS)
        layers: list[nn.Module] = []
        for before in (inputs, width):
            layers += [
                nn.Conv2d(regions * before, regions * width, 3, padding=1, groups=regions, bias=False),
                nn.GroupNorm(groups, regions * width),
                nn.ReLU(),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
        self.layers = nn.Sequential(*layers)
        self.leave = nn.Conv1d(regions * width, regions * outputs, 1, groups=regions)
        self._regions = regions

    def forward(self, regions: Tensor) -> Tensor:
        """(b, k, outputs) from (b, k, inputs, h, w)."""
        maps = self.layers(regions.flatten(1, 2)).mean(dim=(2, 3))
        said: Tensor = self.leave(maps[..., None])[..., 0].unflatten(1, (self._regions, -1))
        return said


def cut(maps: Tensor, grid: int, reach: float) -> Tensor:
    """Cut maps into a grid of regions; what lies outside a map is 0.

    Args:
        maps: (b, c, h, h).
        grid: Regions along each side.
        reach: See LnlClassifier.

    Returns:
        (b, grid * grid, c, n, n), row by row; n is h / grid, rounded up, and what the region reaches beyond.
    """
    height = maps.shape[-1]
    side = math.ceil(height / grid)
    margin = round(reach * side)
    before = (grid * side - height) // 2 + margin
    after = grid * side - height - (before - margin) + margin
    padded = functional.pad(maps, (before, after, before, after))
    regions = padded.unfold(2, side + 2 * margin, side).unfold(3, side + 2 * margin, side)
    return regions.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)


def _level(before: int, after: int) -> nn.Sequential:
    """A level of the U-Net: two convolutions."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        group_norm(after),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        group_norm(after),
        nn.ReLU(),
    )
