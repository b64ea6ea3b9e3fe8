"""What a network says of a batch, and what its losses need besides."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from normpipe.classify.networks.experts import Balance


@dataclass(frozen=True, slots=True)
class Regions:
    """What the local and the non-local part of an LnlClassifier say each for itself; k regions, row by row.

    Attributes:
        logits: (b, k, C) of each region's network.
        weights: (b, k) how much each region counts, 0 to 1; they sum to 1.
        overview: (b, C) logits of the non-local part.
    """

    logits: Tensor
    weights: Tensor
    overview: Tensor


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a network says of b samples.

    Attributes:
        logits: (b, C) float32; `losses.scores` makes them what the task speaks of.
        balances: How evenly experts were used, by the mixture's name.
        regions: Of an LnlClassifier.
    """

    logits: Tensor
    balances: Mapping[str, Balance] = field(default_factory=dict)
    regions: Regions | None = None

    @property
    def weight_maps(self) -> Tensor | None:
        """(b, p, p) how much each region counts, the first row at the top; None without regions."""
        if self.regions is None:
            return None
        side = math.isqrt(self.regions.weights.shape[1])
        maps: Tensor = self.regions.weights.unflatten(1, (side, side))
        return maps
