"""The Expression Merging Module: the target's tokens ask, the source's answer.

Queries are the target's, so that layout, pose and background follow it; keys and values are the source's, so that expression
follows that one. Between them is a bottleneck of some hundred numbers in two parts. The first, free part is read from the
source's picture and is nobody's: it is learnt from heads of random people whose expression is known. The second, own part is
measured: what landmarks and wrinkles show of a face is exact, but some of it is whose face it is. How much of the second part
passes, beyond what the first one lets expect, is the strength.

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
        answers: How many tokens ask the source for its expression, and as many carry it to the target.
        answer_dim: Length of an answer, and of what carries it.
        free: Numbers of the code that are nobody's.
        own: Numbers of the code that may be somebody's.
    """

    @register_to_config
    def __init__(
        self,
        dim: int = 192,
        depth: int = 2,
        heads: int = 3,
        answers: int = 16,
        answer_dim: int = 12,
        free: int = 57,
        own: int = 64,
    ) -> None:
        super().__init__()
        self.questions = nn.Parameter(torch.randn(1, answers, dim) * 0.02)
        self.answer = transformer_block(dim, heads, context_dim=dim)
        self.narrow = nn.Linear(dim, answer_dim)
        self.read = nn.Linear(answers * answer_dim, free)
        self.expected = nn.Linear(free, own)
        self.carry = nn.Linear(free + own, answers * answer_dim)
        self.places = nn.Parameter(torch.randn(1, answers, answer_dim) * 0.5)
        self.blocks = nn.ModuleList([transformer_block(dim, heads, context_dim=answer_dim) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)

    def forward(self, source: Tensor, own: Tensor, target: Tensor, strength: Tensor) -> Tensor:
        """Tokens of the face to draw.

        Args:
            source: (b, k, dim) from the encoder.
            own: (b, own), what was measured of the source, in standard deviations of photos'.
            target: (b or 1, k, dim) from the encoder.
            strength: (b or 1,), 0 to 1.

        Returns:
            (b, k, dim).
        """
        return self.merge(self.passed(self.expression(source), own, strength), target)

    def expression(self, source: Tensor) -> Tensor:
        """(b, free): the expression as read from the source's tokens, in standard deviations of what it was learnt from."""
        answers = self.answer(self.questions.expand(len(source), -1, -1), encoder_hidden_states=source)
        return _one_by_one(self.read, self.narrow(answers).flatten(1))

    def passed(self, free: Tensor, own: Tensor, strength: Tensor) -> Tensor:
        """(b, free + own): the code without a share of what its first part does not let expect of the second."""
        expected = _one_by_one(self.expected, free)
        return torch.cat([free, expected + strength.to(own.dtype)[:, None] * (own - expected)], dim=1)

    def merge(self, passed: Tensor, target: Tensor) -> Tensor:
        """As forward, from what passed."""
        context = _one_by_one(self.carry, passed).unflatten(1, self.places.shape[1:]) + self.places
        tokens = target.expand(len(passed), -1, -1)
        for block in self.blocks:
            tokens = block(tokens, encoder_hidden_states=context)
        merged: Tensor = self.norm(tokens)
        return merged


def _one_by_one(layer: nn.Linear, rows: Tensor) -> Tensor:
    """The layer's (b, m) of (b, n) rows, a product for each: in one product of all, rounding depends on a row's place."""
    products = torch.bmm(rows[:, None], layer.weight.t().expand(len(rows), -1, -1))
    return products[:, 0] + layer.bias
