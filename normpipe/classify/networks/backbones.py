"""Backbones: pictures to features. Small ones to train from nothing, the normalizer's encoder, and libraries' (pretrained.py).

Each gives a vector per picture, which the classifier joins over the views, and the features by place that it was pooled from.
Normalization is over a picture, never over a batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from normpipe.classify.networks.keyed import KeyedDropPath, derived
from normpipe.classify.networks.options import (
    BackboneOptions,
    ConvNetOptions,
    NormalizerEncoderOptions,
    TimmOptions,
    TransformersOptions,
    VitOptions,
)
from normpipe.errors import UsageError
from normpipe.normalizers.norface.encoder import FaceEncoder, transformer_block
from normpipe.normalizers.norface.stem import REDUCTION

_LARGEST_GROUPING = 8


@dataclass(frozen=True, slots=True)
class Features:
    """Of b pictures.

    Attributes:
        tokens: (b, k, width) by place, row by row; a network may put tokens of its own before them.
        pooled: (b, width) of the whole picture.
    """

    tokens: Tensor
    pooled: Tensor


class Backbone(nn.Module):
    """Pictures to features.

    Args:
        width: Length of a feature.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, pictures: Tensor, keys: Tensor | None) -> Features:
        """Features of pictures.

        Args:
            pictures: (b, 3, s, s), -1 to 1.
            keys: (b,) int64, see keyed.py; None in evaluation.
        """
        raise NotImplementedError


class ConvNet(Backbone):
    """A small residual network (https://arxiv.org/abs/1512.03385) with GroupNorm (https://arxiv.org/abs/1803.08494).

    The mean of all places forgets where something was seen, and in aligned faces that is half of what is to be known: so the
    last maps are taken together cell by cell, and a layer weighs them.

    Args:
        patch: Side of the first convolution, and its stride.
        widths: Channels of each stage; every stage but the first halves the resolution.
        cells: Along each side of the last maps.
        depth: Blocks per stage.
        drop_path: Share of the last block's branches that is dropped; of earlier ones less, in proportion.
    """

    def __init__(self, patch: int, widths: Sequence[int], cells: int, depth: int, drop_path: float) -> None:
        super().__init__(widths[-1])
        self.enter = nn.Sequential(nn.Conv2d(3, widths[0], patch, patch, bias=False), group_norm(widths[0]), nn.ReLU())
        rates = _rates(drop_path, depth * len(widths))
        self.blocks = nn.ModuleList()
        before = widths[0]
        for stage, width in enumerate(widths):
            for number in range(depth):
                stride = 2 if stage and not number else 1
                self.blocks.append(_Residual(before, width, stride, rates[len(self.blocks)]))
                before = width
        self.cells = nn.AdaptiveAvgPool2d(cells)
        self.leave = nn.Linear(before * cells**2, before)

    def forward(self, pictures: Tensor, keys: Tensor | None) -> Features:
        """See Backbone."""
        maps = self.enter(pictures)
        for number, block in enumerate(self.blocks):
            maps = block(maps, part_keys(keys, number))
        return Features(maps.flatten(2).transpose(1, 2), self.leave(self.cells(maps).flatten(1)))


class SmallViT(Backbone):
    """A vision transformer, https://arxiv.org/abs/2010.11929, with the mean of its tokens in the place of a class token.

    Args:
        side: Pixels along the side of a picture, a multiple of `patch`.
        patch: Pixels along the side of what becomes a token.
        stem: Channels of convolutions before the patches are cut, each of which halves the resolution
            (https://arxiv.org/abs/2106.14881); none for a plain cut.
        dim: Length of a token.
        depth: Blocks.
        heads: Of attention; divides `dim`.
        drop_path: See ConvNet.

    Raises:
        UsageError: the side is no multiple.
    """

    def __init__(self, side: int, patch: int, stem: Sequence[int], dim: int, depth: int, heads: int, drop_path: float) -> None:
        super().__init__(dim)
        if side % patch:
            raise UsageError(f"backbone.patch: {patch} does not divide the pictures' side of {side} pixels; give one that does")
        layers: list[nn.Module] = []
        before = 3
        for width in stem:
            layers += [nn.Conv2d(before, width, 3, 2, 1, bias=False), group_norm(width), nn.ReLU()]
            before = width
        rest = patch // 2 ** len(stem)
        self.embed = nn.Sequential(*layers, nn.Conv2d(before, dim, rest, rest))
        self.places = nn.Parameter(torch.randn(1, (side // patch) ** 2, dim) * 0.02)
        self.blocks = nn.ModuleList([transformer_block(dim, heads) for _ in range(depth)])
        self.paths = nn.ModuleList([KeyedDropPath(rate, number) for number, rate in enumerate(_rates(drop_path, depth))])

    def forward(self, pictures: Tensor, keys: Tensor | None) -> Features:
        """See Backbone."""
        tokens = self.embed(pictures).flatten(2).transpose(1, 2) + self.places
        for block, path in zip(self.blocks, self.paths, strict=True):
            tokens = tokens + path(block(tokens) - tokens, keys)
        return Features(tokens, tokens.mean(dim=1))


class NormalizerEncoder(Backbone):
    """The encoder of the normalizer norface, which has learnt to read expressions.

    Args:
        side: Pixels along the side of what it looks at; pictures of another side are resized.
        widths: See FaceEncoder.
        dim: See FaceEncoder.
        depth: See FaceEncoder.
        heads: See FaceEncoder.

    Raises:
        UsageError: the side is not one that it can have.
    """

    def __init__(self, side: int, widths: Sequence[int], dim: int, depth: int, heads: int) -> None:
        super().__init__(dim)
        if side % REDUCTION:
            raise UsageError(f"backbone.side: {side} is no multiple of {REDUCTION}")
        self.encoder = FaceEncoder(side, widths, dim, depth, heads)
        self._side = side

    def forward(self, pictures: Tensor, keys: Tensor | None) -> Features:  # noqa: ARG002 (draws nothing)
        """See Backbone."""
        tokens = self.encoder(resized(pictures, self._side))
        return Features(tokens, tokens.mean(dim=1))


def build_backbone(options: BackboneOptions, side: int) -> Backbone:
    """A backbone with random weights.

    Args:
        options: Which, and its size.
        side: Pixels along the side of the pictures.

    Raises:
        ModelUnavailableError: its library is not installed.
        UsageError: the sizes do not fit each other, or the library has no such architecture.
    """
    match options:
        case ConvNetOptions():
            return ConvNet(options.patch, options.widths, options.cells, options.depth, options.drop_path)
        case VitOptions():
            return SmallViT(side, options.patch, options.stem, options.dim, options.depth, options.heads, options.drop_path)
        case NormalizerEncoderOptions():
            return NormalizerEncoder(options.side, options.widths, options.dim, options.depth, options.heads)
        case TransformersOptions() | TimmOptions():
            from normpipe.classify.networks.pretrained import build_pretrained

            return build_pretrained(options)


def group_norm(width: int) -> nn.GroupNorm:
    """Over groups of channels: 8 of them, or as many as divide the width."""
    return nn.GroupNorm(math.gcd(width, _LARGEST_GROUPING), width)


def resized(pictures: Tensor, side: int) -> Tensor:
    """(b, 3, side, side) pictures."""
    if pictures.shape[-1] == side:
        return pictures
    return functional.interpolate(pictures, (side, side), mode="bilinear", align_corners=False, antialias=True)


def part_keys(keys: Tensor | None, number: int) -> Tensor | None:
    """As `derived`, None for None."""
    return None if keys is None else derived(keys, number)


class _Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, before: int, width: int, stride: int, drop_path: float) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(before, width, 3, stride, 1, bias=False),
            group_norm(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            group_norm(width),
        )
        self.path = KeyedDropPath(drop_path, 0)
        shortcut = [nn.AvgPool2d(2, ceil_mode=True)] if stride == 2 else []
        self.shortcut = nn.Sequential(*shortcut, *([nn.Conv2d(before, width, 1, bias=False)] if before != width else []))

    def forward(self, maps: Tensor, keys: Tensor | None) -> Tensor:
        """(b, width, h / stride, w / stride)."""
        return functional.relu(self.shortcut(maps) + self.path(self.branch(maps), keys))


def _rates(last: float, count: int) -> list[float]:
    """Rising from 0, as in https://arxiv.org/abs/1603.09382."""
    return [last * number / max(1, count - 1) for number in range(count)]
