"""Randomness that belongs to a sample: what is drawn for it is a function of its key and of the place in the network.

A key is a hash of seed, epoch and sample. Ranks, workers and the order in a batch have no part in it, so a training step
gives the same on one device or eight, and a training that was stopped goes on with no state of a generator. All is integer
arithmetic on tensors, the same bits on every device.

Source: SplitMix64 of Steele, Lea and Flood, https://doi.org/10.1145/2660193.2660195, with the constants of
https://prng.di.unimi.it/splitmix64.c.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_BITS = 64
_FRACTION_BITS = 23
"""Of a uniform number: with half a unit more it is still exact in float32, so that neither 0 nor 1 is ever drawn."""


def _signed(number: int) -> int:
    """The int64 of the same 64 bits."""
    return (number + (1 << (_BITS - 1))) % (1 << _BITS) - (1 << (_BITS - 1))


_STEP = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def derived(keys: Tensor, number: int) -> Tensor:
    """Keys of a part, a view or a layer: independent of those of every other number.

    Args:
        keys: (b,) int64.
        number: Of the part, from 0 on: what stands at that place of the SplitMix64 sequence which starts from the key.

    Returns:
        (b,) int64.
    """
    return _mixed(keys + _signed((number + 1) * _STEP))


def uniform(keys: Tensor, place: int, shape: Sequence[int]) -> Tensor:
    """Numbers from a uniform distribution over 0 to 1, both excluded.

    Args:
        keys: (b,) int64, one per sample.
        place: Where in the network it is drawn: draws at two places are independent.
        shape: Of what is drawn for one sample.

    Returns:
        (b, *shape) float32, multiples of 2 ** -24.
    """
    numbers = torch.arange(1, math.prod(shape) + 1, device=keys.device) * _STEP
    bits = _mixed(derived(keys, place)[:, None] + numbers)
    fractions = (_shifted(bits, _BITS - _FRACTION_BITS).float() + 0.5) * 2.0**-_FRACTION_BITS
    return fractions.unflatten(1, tuple(shape)) if shape else fractions[:, 0]


def normal(keys: Tensor, place: int, shape: Sequence[int]) -> Tensor:
    """As `uniform`, from a normal distribution of mean 0 and variance 1; equal across devices up to rounding."""
    drawn: Tensor = torch.special.ndtri(uniform(keys, place, shape))
    return drawn


class KeyedDropout(nn.Module):
    """Dropout of single values, https://jmlr.org/papers/v15/srivastava14a.html, drawn by keys; the identity in evaluation.

    Args:
        rate: Share that is dropped, 0 up to but not 1.
        place: See `uniform`.
    """

    def __init__(self, rate: float, place: int) -> None:
        super().__init__()
        self._rate = rate
        self._place = place

    def forward(self, values: Tensor, keys: Tensor | None) -> Tensor:
        """(b, ...) as the values; the keys may be None only in evaluation or at rate 0."""
        return _dropped(values, keys, self._rate, self._place, values.shape[1:]) if self.training else values


class KeyedDropPath(nn.Module):
    """Dropping whole residual branches (stochastic depth, https://arxiv.org/abs/1603.09382); else as KeyedDropout."""

    def __init__(self, rate: float, place: int) -> None:
        super().__init__()
        self._rate = rate
        self._place = place

    def forward(self, branch: Tensor, keys: Tensor | None) -> Tensor:
        """(b, ...) as the branch: all of a sample, or nothing."""
        return _dropped(branch, keys, self._rate, self._place, (1,) * (branch.ndim - 1)) if self.training else branch


def _dropped(values: Tensor, keys: Tensor | None, rate: float, place: int, shape: Sequence[int]) -> Tensor:
    """Values with a share set to 0, one decision for each of `shape` and sample, and the others larger to make up for it."""
    if rate == 0:
        return values
    assert keys is not None, "training with dropout needs the samples' keys"
    kept = uniform(keys, place, shape) > rate
    return values * (kept / (1 - rate)).to(values.dtype)


def _mixed(bits: Tensor) -> Tensor:
    """SplitMix64's finalizer: a bijection that spreads every bit over all; products wrap around."""
    bits = (bits ^ _shifted(bits, 30)) * _FIRST
    bits = (bits ^ _shifted(bits, 27)) * _SECOND
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, places: int) -> Tensor:
    """To the right, filled up with zeros: torch's own shift of int64 repeats the sign."""
    return (bits >> places) & ((1 << (_BITS - places)) - 1)
