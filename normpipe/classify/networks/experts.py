"""Mixtures of experts: several small networks answer, and a gate says how much each answer counts.

A gate left alone sends everything to few experts, which then learn more and are chosen more. The balance loss holds against
that. It is a function of sums over the batch, so that ranks can add theirs up and judge the whole batch, not each its own part.

Source: Shazeer et al., https://arxiv.org/abs/1701.06538.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from normpipe.classify.networks.keyed import normal

_LEAST_NOISE = 1e-2
_TINY = 1e-10


@dataclass(frozen=True, slots=True)
class Balance:
    """How evenly the gates of a batch used e experts; those of the batch's parts add up.

    Attributes:
        importance: (e,) sum of the shares that each was given.
        load: (e,) how many answers each took part in: as an expectation over the noise in training, since a count has no
            gradient.
        count: () answers there were.
    """

    importance: Tensor
    load: Tensor
    count: Tensor

    def usage(self) -> Tensor:
        """(e,) share of all answers that each expert gave, 0 to 1; they sum to 1."""
        return self.importance / self.count.clamp(min=1)


def balance_loss(importance: Tensor, load: Tensor) -> Tensor:
    """() squared coefficients of variation of (e,) importance and load, added; 0 where all experts are used alike.

    Source: equations 7 and 11.
    """
    return _variation(importance) + _variation(load)


class DenseGate(nn.Module):
    """Every expert answers, each with its share.

    Args:
        inputs: Length of a vector.
        answers: Gates per sample: 1, or one for each label.
        experts: How many share an answer.
    """

    def __init__(self, inputs: int, answers: int, experts: int) -> None:
        super().__init__()
        self.clean = _gate_layer(inputs, answers, experts)
        self._shape = (answers, experts)

    def forward(self, values: Tensor, keys: Tensor | None) -> tuple[Tensor, Balance]:  # noqa: ARG002 (draws nothing)
        """(b, answers, experts) shares that sum to 1, from (b, inputs), and how even they are."""
        shares = self.clean(values).float().unflatten(1, self._shape).softmax(dim=2)
        return shares, _balance(shares, torch.ones_like(shares))


class NoisyTopKGate(nn.Module):
    """The best few experts answer; noise in training lets the others have their turn.

    Args:
        inputs: Length of a vector.
        answers: Gates per sample.
        experts: How many there are.
        chosen: How many share an answer, fewer than there are.
    """

    def __init__(self, inputs: int, answers: int, experts: int, chosen: int) -> None:
        super().__init__()
        assert 0 < chosen < experts, "a choice leaves something out"
        self.clean = _gate_layer(inputs, answers, experts)
        self.noise = _gate_layer(inputs, answers, experts)
        self._shape = (answers, experts)
        self._chosen = chosen

    def forward(self, values: Tensor, keys: Tensor | None) -> tuple[Tensor, Balance]:
        """As of DenseGate; shares of experts that are not chosen are 0. Source: equations 3 to 5 and 8 to 10."""
        clean = self.clean(values).float().unflatten(1, self._shape)
        if not self.training:
            shares, _ = self._shares(clean)
            return shares, _balance(shares, (shares > 0).to(shares.dtype))
        assert keys is not None, "training a noisy gate needs the samples' keys"
        spread = functional.softplus(self.noise(values).float().unflatten(1, self._shape)) + _LEAST_NOISE
        noisy = clean + normal(keys, 0, self._shape) * spread
        shares, best = self._shares(noisy)
        last, next_one = best[..., -2:-1], best[..., -1:]
        to_beat = torch.where(noisy > next_one, next_one, last)  # the best but for itself, of the k-th rank
        return shares, _balance(shares, torch.special.ndtr((clean - to_beat) / spread))

    def _shares(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Shares, and the best scores in order, one more than are chosen."""
        best, places = scores.topk(self._chosen + 1, dim=2)
        chosen = best[..., :-1].softmax(dim=2)
        return torch.zeros_like(scores).scatter(2, places[..., :-1], chosen), best


class Experts(nn.Module):
    """Perceptrons side by side, all of one size.

    Args:
        experts: How many.
        inputs: Length of a vector.
        hidden: Width of the hidden layer; 0 for none, which makes them linear.
        outputs: Length of an answer.
    """

    def __init__(self, experts: int, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        widths = [inputs, hidden, outputs] if hidden else [inputs, outputs]
        self.layers = nn.ModuleList([_Linears(experts, before, after) for before, after in pairwise(widths)])

    def forward(self, values: Tensor) -> Tensor:
        """(experts, b, outputs) from (b, inputs), or from (experts, b, inputs) where each has its own."""
        for number, layer in enumerate(self.layers):
            values = layer(functional.gelu(values) if number else values)
        return values


class Mixture(nn.Module):
    """Experts and their gate.

    Args:
        gate: For one answer per sample, or one for each of the outputs.
        experts: What it chooses from.
    """

    def __init__(self, gate: DenseGate | NoisyTopKGate, experts: Experts) -> None:
        super().__init__()
        self.gate = gate
        self.experts = experts

    def forward(self, values: Tensor, keys: Tensor | None) -> tuple[Tensor, Balance]:
        """(b, outputs) from (b, inputs), and how evenly the experts were used."""
        shares, balance = self.gate(values, keys)
        answers = self.experts(values)
        return (shares.permute(2, 0, 1).to(answers.dtype) * answers).sum(dim=0), balance


class Plain(nn.Module):
    """What stands in for a mixture that is switched off: one network as wide as all of its experts together."""

    def __init__(self, experts: int, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.network = Experts(1, inputs, experts * hidden, outputs)

    def forward(self, values: Tensor, keys: Tensor | None) -> tuple[Tensor, None]:  # noqa: ARG002 (draws nothing)
        """(b, outputs) from (b, inputs); there is nothing to balance."""
        return self.network(values)[0], None


def mixture(experts: int, inputs: int, hidden: int, outputs: int, *, answers: int, chosen: int | None) -> Mixture:
    """A mixture.

    Args:
        experts: How many.
        inputs: Length of a vector.
        hidden: See Experts.
        outputs: Length of an answer.
        answers: 1, or as many as outputs: whether each output has a gate of its own.
        chosen: How many experts share an answer (NoisyTopKGate); None for all (DenseGate).
    """
    assert answers in {1, outputs}, "a gate is for all outputs or for one"
    gate = DenseGate(inputs, answers, experts) if chosen is None else NoisyTopKGate(inputs, answers, experts, chosen)
    return Mixture(gate, Experts(experts, inputs, hidden, outputs))


class _Linears(nn.Module):
    """Linear layers side by side, each begun as torch begins one."""

    def __init__(self, count: int, inputs: int, outputs: int) -> None:
        super().__init__()
        reach = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(count, inputs, outputs).uniform_(-reach, reach))
        self.bias = nn.Parameter(torch.empty(count, 1, outputs).uniform_(-reach, reach))

    def forward(self, values: Tensor) -> Tensor:
        """(count, b, outputs) from (b, inputs) or (count, b, inputs)."""
        return torch.baddbmm(self.bias, values.expand(len(self.weight), -1, -1), self.weight)


def _gate_layer(inputs: int, answers: int, experts: int) -> nn.Linear:
    """Without bias and of zeros, so that all experts begin with equal shares (appendix A of the source)."""
    layer = nn.Linear(inputs, answers * experts, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


def _balance(shares: Tensor, taking_part: Tensor) -> Balance:
    count = torch.full((), shares.shape[0] * shares.shape[1], dtype=shares.dtype, device=shares.device)
    return Balance(shares.sum(dim=(0, 1)), taking_part.sum(dim=(0, 1)), count)


def _variation(sums: Tensor) -> Tensor:
    return sums.var(correction=0) / (sums.mean() ** 2 + _TINY)
