"""The Expression Merging Module: the target's tokens ask, the source's answer.

Queries are the target's, so that layout, pose and background follow it; keys and values are the source's, so that expression
follows that one. The source passes a bottleneck first, a few short tokens without a place in the picture: who somebody is needs
more room than that, what the face does does not.

Source: the module of Norface (https://arxiv.org/abs/2407.15617) as far as it is published; the bottleneck is our own.
"""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from normpipe.normalizers.norface.encoder import transformer_block


class ExpressionMerger(ModelMixin, ConfigMixin):
    """Tokens of both faces to tokens of the face to draw.

    Args:
        dim: Length of a token.
        depth: Blocks.
        heads: Of attention; divides `dim`.
        code_tokens: How many tokens pass the bottleneck.
        code_dim: Length of each.
    """

    @register_to_config
    def __init__(self, dim: int = 192, depth: int = 2, heads: int = 3, code_tokens: int = 16, code_dim: int = 12) -> None:
        super().__init__()
        self.questions = nn.Parameter(torch.randn(1, code_tokens, dim) * 0.02)
        self.answer = transformer_block(dim, heads, context_dim=dim)
        self.narrow = nn.Linear(dim, code_dim)
        self.blocks = nn.ModuleList([transformer_block(dim, heads, context_dim=code_dim) for _ in range(depth)])
        self.places = nn.Parameter(torch.randn(1, code_tokens, code_dim) * 0.5)
        self.norm = nn.LayerNorm(dim)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Tokens of the face to draw.

        Args:
            source: (b, k, dim) from the encoder.
            target: (b or 1, k, dim) from the encoder.

        Returns:
            (b, k, dim).
        """
        return self.merge(self.code(source), target)

    def code(self, source: Tensor) -> Tensor:
        """(b, code_tokens, code_dim): all of the source that is drawn."""
        asked = self.questions.expand(len(source), -1, -1)
        narrowed: Tensor = self.narrow(self.answer(asked, encoder_hidden_states=source))
        return narrowed

    def merge(self, code: Tensor, target: Tensor) -> Tensor:
        """As forward, from the source's code."""
        tokens = target.expand(len(code), -1, -1)
        for block in self.blocks:
            tokens = block(tokens, encoder_hidden_states=code + self.places)
        merged: Tensor = self.norm(tokens)
        return merged
