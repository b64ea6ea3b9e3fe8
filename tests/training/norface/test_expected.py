"""What is expected of the own part of a code is what its free part tells."""

import numpy as np

from .small import torch

from normpipe.normalizers.norface.merging import ExpressionMerger  # isort: skip
from normpipe.training.norface.expected import fit_expected  # isort: skip


def test_what_is_expected_is_what_the_free_part_tells():
    random = np.random.default_rng(0)
    merger = ExpressionMerger(dim=8, depth=1, heads=2, answers=2, answer_dim=2, free=3, own=2)
    free = random.normal(0, 1, (4000, 3)) + 2
    own = free @ np.array([[1.0, 0], [0, -2], [0.5, 0]]) + 3 + random.normal(0, 0.1, (4000, 2))
    free, own = free.astype(np.float32), own.astype(np.float32)
    fit_expected(merger, free, own)
    with torch.no_grad():
        calm = merger.passed(torch.from_numpy(free), torch.from_numpy(own), torch.tensor([0.0])).numpy()
    assert np.abs(calm[:, 3:] - own).mean() < 0.1
    assert np.allclose(merger.expected.weight.detach().T, [[1, 0], [0, -2], [0.5, 0]], atol=0.03)


def test_of_a_free_part_that_tells_nothing_the_mean_is_expected():
    random = np.random.default_rng(0)
    merger = ExpressionMerger(dim=8, depth=1, heads=2, answers=2, answer_dim=2, free=3, own=2)
    own = random.normal(3, 1, (50, 2)).astype(np.float32)
    fit_expected(merger, np.full((50, 3), 0.7, np.float32), own)
    assert not merger.expected.weight.any()
    np.testing.assert_allclose(merger.expected.bias.detach(), own.mean(axis=0), atol=1e-5)
