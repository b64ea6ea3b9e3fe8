"""The losses, as sums over a batch and as functions of these sums.

A mean over a batch cannot be had from means over its parts when labels are missing, an agreement or a balance even less. So
each part of a batch gives sums, these are added up over the ranks, and the losses are a pure function of them: the same
curve however many ranks there are. A label that is not known has the weight 0 and no gradient.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from normpipe.classify.labels import MAX_INTENSITY, Task
from normpipe.classify.networks.experts import balance_loss
from normpipe.classify.networks.prediction import Prediction, Regions
from normpipe.classify.objective import Objective

_TINY = 1e-12

LABELS, AGREEMENT, REGIONS, OVERVIEW, SPREAD, BALANCE = "labels", "agreement", "regions", "overview", "spread", "balance"
"""Names of the losses."""


def scores(task: Task, logits: Tensor) -> Tensor:
    """What a network's logits say.

    Args:
        task: Of which they are.
        logits: (..., C).

    Returns:
        (..., C): probabilities of emotions, which sum to 1; of action units, each by itself; intensities, 0 to 5; valence and
        arousal, -1 to 1.
    """
    match task:
        case Task.EMOTION:
            return logits.softmax(dim=-1)
        case Task.AU:
            return logits.sigmoid()
        case Task.AU_INTENSITY:
            return MAX_INTENSITY * logits.sigmoid()
        case Task.VALENCE_AROUSAL:
            return logits.tanh()


def asymmetric_error(logits: Tensor, values: Tensor) -> Tensor:
    """-(y log p + p (1 - y) log(1 - p)), where the factor p has no gradient: absent units that are seen as such hardly count.

    Source: Luo et al., https://arxiv.org/abs/2205.01782 ("weighted asymmetric loss"); that p is a mere factor is from its code.

    Args:
        logits: (..., C).
        values: (..., C), 0 or 1.
    """
    factor = torch.where(values > 0.5, 1.0, logits.detach().sigmoid())
    return factor * functional.binary_cross_entropy_with_logits(logits, values, reduction="none")


def moments(read: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """(6, C) float64 sums of w, wx, wy, wxx, wyy and wxy over (b, C) numbers, true values and weights."""
    x, y, w = read.double(), values.double(), weights.double()
    return torch.stack([w, w * x, w * y, w * x * x, w * y * y, w * x * y]).sum(dim=1)


def agreement(sums: Tensor, measure: str) -> Tensor:
    """How well numbers agree with true values.

    Args:
        sums: (6, C) from `moments`.
        measure: "icc", ICC(3,1) of two raters (Shrout and Fleiss 1979, https://doi.org/10.1037/0033-2909.86.2.420), which a
            constant offset does not touch; or "ccc" (Lin 1989, https://doi.org/10.2307/2532051), which it lowers.

    Returns:
        (C,) float64, -1 to 1; 0 where the values do not vary.
    """
    count = sums[0].clamp(min=_TINY)
    x, y, xx, yy, xy = sums[1:] / count
    apart = (x - y) ** 2 if measure == "ccc" else 0.0
    agreeing: Tensor = 2 * (xy - x * y) / (xx - x * x + yy - y * y + apart).clamp(min=_TINY)
    return agreeing


@dataclass(frozen=True, slots=True)
class Criterion:
    """What a training minimizes.

    Attributes:
        task: What is learnt.
        objective: Which losses, and their weights.
        label_weights: (C,) how much each label counts, see objective.py.
    """

    task: Task
    objective: Objective
    label_weights: Tensor

    def sums(self, prediction: Prediction, values: Tensor, known: Tensor, rows: Tensor) -> dict[str, Tensor]:
        """What a part of a batch adds to the whole.

        Args:
            prediction: Of b samples.
            values: (b, C) float32, see labels.Targets.
            known: (b, C) bool.
            rows: (b,) how much each row counts.

        Returns:
            Tensors by name. Each has the same shape for every part and adds up over the parts.
        """
        values = values.where(known, 0)
        weights = self._weights(values, known, rows)
        sums = {LABELS: _ratio(self._errors(prediction.logits, values), weights)}
        if self._agreement_weight:
            sums[AGREEMENT] = moments(scores(self.task, prediction.logits), values, known * rows[:, None])
        for name, balance in prediction.balances.items():
            sums[f"{BALANCE}.{name}"] = torch.stack([balance.importance, balance.load])
        if prediction.regions is not None:
            sums |= self._sums_of_regions(prediction.regions, values, weights)
        return sums

    def losses(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses of a whole batch, times their weights: () each, by name, to be added.

        Args:
            sums: Those of its parts, added up.
        """
        objective = self.objective
        losses = {LABELS: _mean(sums[LABELS])}
        if AGREEMENT in sums:
            seen = sums[AGREEMENT][0] > 0
            apart = (1 - agreement(sums[AGREEMENT], objective.measure)) * seen
            losses[AGREEMENT] = self._agreement_weight * (apart.sum() / seen.sum().clamp(min=1)).to(losses[LABELS].dtype)
        for name, weight in ((REGIONS, objective.regions), (OVERVIEW, objective.overview), (SPREAD, objective.spread)):
            if name in sums and weight:
                losses[name] = weight * _mean(sums[name])
        uneven = [balance_loss(part[0], part[1]) for name, part in sums.items() if name.startswith(f"{BALANCE}.")]
        if uneven and objective.balance:
            losses[BALANCE] = objective.balance * torch.stack(uneven).sum()
        return losses

    @property
    def _agreement_weight(self) -> float:
        if self.task not in {Task.AU_INTENSITY, Task.VALENCE_AROUSAL}:
            return 0.0
        given = self.objective.agreement
        return given if given is not None else float(self.task is Task.VALENCE_AROUSAL)

    def _errors(self, logits: Tensor, values: Tensor) -> Tensor:
        """(..., C) of each label, or (..., 1) of emotions, which are one question."""
        match self.task:
            case Task.EMOTION:
                return -(values * logits.log_softmax(dim=-1)).sum(dim=-1, keepdim=True)
            case Task.AU if self.objective.occurrence == "asymmetric":
                return asymmetric_error(logits, values)
            case Task.AU:
                return functional.binary_cross_entropy_with_logits(logits, values, reduction="none")
            case Task.AU_INTENSITY | Task.VALENCE_AROUSAL:
                return (scores(self.task, logits) - values) ** 2

    def _weights(self, values: Tensor, known: Tensor, rows: Tensor) -> Tensor:
        """(b, C) or (b, 1), as the errors."""
        of_labels = self.label_weights.to(values)
        if self.task is Task.EMOTION:
            return (rows * known.all(dim=1) * (values @ of_labels))[:, None]
        return rows[:, None] * known * of_labels

    def _sums_of_regions(self, regions: Regions, values: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Of an LnlClassifier: a region's errors count as much as the region does."""
        errors = self._errors(regions.logits, values[:, None].expand(-1, regions.logits.shape[1], -1))
        share = regions.weights
        uneven = math.log(share.shape[1]) + (share * share.clamp(min=_TINY).log()).sum(dim=1)
        return {
            REGIONS: _ratio((share[..., None] * errors).sum(dim=1), weights),
            OVERVIEW: _ratio(self._errors(regions.overview, values), weights),
            SPREAD: _ratio(uneven[:, None], weights.sum(dim=1, keepdim=True)),
        }


def attached(whole: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sums of a whole batch with the gradient of this rank's part.

    A reduction over ranks has no gradient. But the whole depends on a rank's part with the slope 1: so the gradients that
    the ranks get from the losses of these sums add up to that of the whole batch.

    Args:
        whole: Sums over all ranks.
        own: This rank's.
    """
    return {name: whole[name].detach() + (part - part.detach()) for name, part in own.items()}


def _ratio(errors: Tensor, weights: Tensor) -> Tensor:
    """(2,) weighted sum and weight."""
    return torch.stack([(errors * weights).sum(), weights.sum()])


def _mean(ratio: Tensor) -> Tensor:
    return ratio[0] / ratio[1].clamp(min=_TINY)
