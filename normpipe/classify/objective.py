"""What training minimizes: the section of a training file, and how much each label counts. Known without torch."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from normpipe.audit.groups import Floats
from normpipe.classify.labels import Targets, Task
from normpipe.config import Section

_Weight = Annotated[float, Field(ge=0)]


class Objective(Section):
    """The losses and their weights; one of weight 0 costs nothing.

    `occurrence` is the loss of action units: cross-entropy, or the asymmetric one in which an absent unit counts by how present
    it was said to be. `agreement` weighs 1 - ICC(3,1) or 1 - CCC, as `measure` says, beside the squared error of
    intensities and of valence and arousal: 0 and 1 unless given. `balance` weighs the even use of experts; `regions`,
    `overview` and `spread` those of an LnlClassifier: its regions' own losses, that of its non-local part, and how far its
    weights are from even.
    """

    occurrence: Literal["cross_entropy", "asymmetric"] = "cross_entropy"
    agreement: _Weight | None = None
    measure: Literal["icc", "ccc"] = "ccc"
    balance: _Weight = 0.01
    regions: _Weight = 0.5
    overview: _Weight = 0.5
    spread: _Weight = 0.01


def label_weights(task: Task, targets: Targets) -> Floats:
    """How much each label counts, so that rare ones are learnt too.

    Args:
        task: Action units and emotions are weighted by the inverse of how often they occur where they are known (the custom,
            as in https://arxiv.org/abs/2205.01782); of the other tasks every label counts 1.
        targets: Of all rows that are trained on.

    Returns:
        (C,) float32, of mean 1 over the labels that occur; 1 for those that never do.
    """
    weights = np.ones(targets.values.shape[1], np.float32)
    if task not in {Task.AU, Task.EMOTION}:
        return weights
    rows = targets.weights[:, None] * targets.known
    occurring = (rows * targets.values).sum(axis=0, dtype=np.float64)
    occurs = occurring > 0
    inverse = rows.sum(axis=0, dtype=np.float64)[occurs] / occurring[occurs]
    weights[occurs] = inverse / inverse.mean() if occurs.any() else 1
    return weights
