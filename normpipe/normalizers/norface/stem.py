"""The first layers of the face encoder: separable convolutions, from a picture to the patches that the transformer takes.

Small data cannot teach a transformer what an edge, a lid or a lip corner is. These layers have the form of the first stages of
the embedded face mesh (BlazeFace blocks, https://arxiv.org/abs/1907.05047), so that training may start from its weights. The
whole is a hybrid transformer as in Dosovitskiy et al., https://arxiv.org/abs/2010.11929, section 3.1.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

REDUCTION = 16
"""Pixels of the picture per feature of the last stage, along each side."""

_BLOCKS = 3  # per stage; the plain convolution is the first one's first


class FaceStem(nn.Module):
    """(b, 3, s, s) pictures, -1 to 1, to features of the last two stages.

    Args:
        widths: Channels of the four stages, not decreasing; the face mesh has 16, 32, 64 and 128.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, widths[0], 3, 2)
        self.activation = nn.PReLU(widths[0])
        self.stages = nn.ModuleList()
        before = widths[0]
        for number, width in enumerate(widths):
            blocks = [] if number == 0 else [_Block(before, width, 2)]
            blocks += [_Block(width, width, 1) for _ in range(_BLOCKS - 1)]
            self.stages.append(nn.Sequential(*blocks))
            before = width

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(b, widths[-2], s / 8, s / 8) and (b, widths[-1], s / 16, s / 16)."""
        maps = self.activation(self.enter(_padded(pictures * 0.5 + 0.5, 2)))
        fine = maps
        for stage in self.stages:
            fine, maps = maps, stage(maps)
        return fine, maps


class _Block(nn.Module):
    """A depthwise and a pointwise convolution beside a shortcut."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self._stride = stride
        self._grown = width - before
        self.depthwise = nn.Conv2d(before, before, 3, stride, groups=before)
        self.pointwise = nn.Conv2d(before, width, 1)
        self.activation = nn.PReLU(width)

    def forward(self, maps: Tensor) -> Tensor:
        """(b, width, h / stride, w / stride)."""
        shortcut = functional.max_pool2d(maps, 2) if self._stride == 2 else maps
        if self._grown:
            shortcut = functional.pad(shortcut, (0, 0, 0, 0, 0, self._grown))
        found: Tensor = self.activation(shortcut + self.pointwise(self.depthwise(_padded(maps, self._stride))))
        return found


def _padded(maps: Tensor, stride: int) -> Tensor:
    """Room for a kernel of 3: on both sides at stride 1, after the last pixel at stride 2, as TensorFlow counts."""
    return functional.pad(maps, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))
