"""What the free part of a code lets expect of the own one: fitted in closed form, once reading has been learnt.

A smile that the first part sees goes with landmarks and wrinkles that most people's smiles have. That much is drawn at strength
0, and only what is beyond it may be somebody's.
"""

import numpy as np
import torch

from normpipe.batches import Floats
from normpipe.normalizers.norface.merging import ExpressionMerger

_PENALTY = 30.0


def fit_expected(merger: ExpressionMerger, free: Floats, own: Floats) -> None:
    """Write the ridge regression of the own part on the free one into the merger.

    Args:
        merger: Whose layer `expected` is set.
        free: (n, free) float32, as read from faces.
        own: (n, own) float32, as measured of them.
    """
    middle, expected = free.mean(axis=0, dtype=np.float64), own.mean(axis=0, dtype=np.float64)
    given, sought = free - middle, own - expected
    weights = np.linalg.solve(given.T @ given + _PENALTY * np.eye(free.shape[1]), given.T @ sought)
    with torch.no_grad():
        merger.expected.weight.copy_(torch.from_numpy(weights.T))
        merger.expected.bias.copy_(torch.from_numpy(expected - middle @ weights))
