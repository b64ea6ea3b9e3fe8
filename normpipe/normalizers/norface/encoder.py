"""The face encoder: a vision transformer over the patches of a convolutional stem.

One encoder looks at both faces, the source and the target. Before that it learns faces as such, by guessing most of a picture
from a few of its patches (masked autoencoding), which needs no label.

Sources: Dosovitskiy et al., https://arxiv.org/abs/2010.11929; He et al., https://arxiv.org/abs/2111.06377.
"""

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from normpipe.normalizers.norface.stem import REDUCTION, FaceStem


def transformer_block(dim: int, heads: int, context_dim: int | None = None) -> BasicTransformerBlock:
    """Self-attention, attention to a context of `context_dim` if there is one, and a perceptron, each after a norm."""
    return BasicTransformerBlock(
        dim, heads, dim // heads, cross_attention_dim=context_dim, activation_fn="gelu", attention_bias=True
    )


class FaceEncoder(ModelMixin, ConfigMixin):
    """Pictures to tokens, one for every 16 x 16 pixels.

    Args:
        side: Pixels along the side of its input, a multiple of 16.
        widths: Channels of the stem's four stages.
        dim: Length of a token.
        depth: Blocks.
        heads: Of attention; divides `dim`.
    """

    @register_to_config
    def __init__(
        self,
        side: int = 128,
        widths: Sequence[int] = (16, 32, 64, 128),
        dim: int = 192,
        depth: int = 4,
        heads: int = 3,
    ) -> None:
        super().__init__()
        self.stem = FaceStem(widths)
        self.embed = nn.Linear(widths[-1] + 4 * widths[-2], dim)
        self.places = nn.Parameter(torch.randn(1, (side // REDUCTION) ** 2, dim) * 0.02)
        self.blocks = nn.ModuleList([transformer_block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)

    def forward(self, pictures: Tensor, visible: Tensor | None = None) -> Tensor:
        """Tokens of pictures.

        Args:
            pictures: (b, 3, side, side), -1 to 1.
            visible: (b, k) numbers of the patches to look at, row by row; all if None. What the others show must have been
                covered in the pictures too, since the stem sees a little beyond a patch.

        Returns:
            (b, k, dim).
        """
        fine, coarse = self.stem(pictures)
        tokens = torch.cat([coarse, functional.pixel_unshuffle(fine, 2)], dim=1).flatten(2).transpose(1, 2)
        tokens = self.embed(tokens) + self.places
        if visible is not None:
            tokens = tokens.gather(1, visible[..., None].expand(-1, -1, tokens.shape[2]))
        for block in self.blocks:
            tokens = block(tokens)
        merged: Tensor = self.norm(tokens)
        return merged
