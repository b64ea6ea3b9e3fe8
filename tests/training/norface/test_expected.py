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
    codes = np.concatenate([free, own], axis=1).astype(np.float32)
    fit_expected(merger, codes)
    with torch.no_grad():
        calm = merger.passed(torch.from_numpy(codes), torch.tensor([0.0])).numpy()
    assert np.abs(calm[:, 3:] - own).mean() < 0.1
    assert np.allclose(merger.expected.weight.detach().T, [[1, 0], [0, -2], [0.5, 0]], atol=0.03)
