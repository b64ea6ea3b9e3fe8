"""What a network says of rows, gathered from all ranks: scores by row, and how it used its experts and regions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from normpipe.audit.groups import Floats, Indices
from normpipe.classify.labels import Task
from normpipe.classify.loader import Batch, Loader
from normpipe.classify.losses import scores
from normpipe.classify.networks.build import Network
from normpipe.classify.networks.prediction import Prediction
from normpipe.classify.ranks import Ranks

_SCORES, _EXPERTS, _COUNT, _REGIONS, _ROWS = "scores", "experts.", "count.", "regions", "rows"
_MIDDLE = 127.5


@dataclass(frozen=True, slots=True)
class Readings:
    """What a network says of n rows.

    Attributes:
        scores: (n, C), see losses.scores.
        experts: Share of all answers that each expert gave, by mixture.
        regions: Mean weight of each region, row by row from the top; empty without regions.
    """

    scores: Floats
    experts: dict[str, list[float]]
    regions: list[list[float]]


def read(network: Network, task: Task, loader: Loader, rows: Indices, ranks: Ranks) -> Readings:
    """Let a network, in evaluation mode, look at rows.

    Args:
        network: On the ranks' device.
        task: What it learnt.
        loader: Gives this rank's share of the rows, not augmented.
        rows: (n,) their numbers, ascending, at least one.
        ranks: All of which call this.

    Raises:
        UsageError: see Loader.batches.
    """
    found: Tensor | None = None
    sums: dict[str, Tensor] = {}
    with torch.inference_mode():
        for batch in loader.batches():
            seen = filled(batch).to(ranks.device)
            with ranks.autocast():
                prediction = network(as_input(seen.pictures), None)
            if found is None:
                found = torch.zeros(len(rows), prediction.logits.shape[1])
            if len(batch):
                found[torch.from_numpy(np.searchsorted(rows, batch.rows.numpy()))] = scores(task, prediction.logits).cpu()
            for name, part in _used(prediction, len(batch)).items():
                sums[name] = sums.get(name, 0) + part
        assert found is not None, "there is a row"
        whole = ranks.summed({_SCORES: found.to(ranks.device), **sums})
    return Readings(whole[_SCORES].cpu().numpy(), _experts(whole), _regions(whole))


def as_input(pictures: Tensor) -> Tensor:
    """float32 from -1 to 1, of uint8."""
    return pictures.float() / _MIDDLE - 1


def filled(batch: Batch) -> Batch:
    """The batch, or where a rank has no row of it, one row of black pictures without a label: networks take one at least."""
    if len(batch):
        return batch
    parts = (batch.pictures, batch.values, batch.known, batch.weights, batch.keys, batch.rows)
    return Batch(*(torch.zeros((1, *part.shape[1:]), dtype=part.dtype) for part in parts))


def _used(prediction: Prediction, rows: int) -> dict[str, Tensor]:
    """Sums over the rows of a batch; alike for every batch, zeros where it has no row."""
    factor = float(rows > 0)
    sums: dict[str, Tensor] = {}
    for name, balance in prediction.balances.items():
        sums[f"{_EXPERTS}{name}"] = factor * balance.importance.double()
        sums[f"{_COUNT}{name}"] = factor * balance.count.double()
    if prediction.weight_maps is not None:
        sums[_REGIONS] = factor * prediction.weight_maps.double().sum(dim=0)
        sums[_ROWS] = torch.tensor(float(rows), dtype=torch.float64, device=sums[_REGIONS].device)
    return sums


def _experts(sums: Mapping[str, Tensor]) -> dict[str, list[float]]:
    mixtures = [name.removeprefix(_EXPERTS) for name in sums if name.startswith(_EXPERTS)]
    return {name: (sums[f"{_EXPERTS}{name}"] / sums[f"{_COUNT}{name}"]).tolist() for name in mixtures}


def _regions(sums: Mapping[str, Tensor]) -> list[list[float]]:
    found: list[list[float]] = (sums[_REGIONS] / sums[_ROWS]).tolist() if _REGIONS in sums else []
    return found
