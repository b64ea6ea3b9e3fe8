"""The whole of it: networks and losses learn what is plain to see."""

import pytest

from normpipe.classify.labels import Task
from normpipe.classify.objective import Objective

from .tiny import SIDE, SPACES, keys, labels, pictures, torch

from normpipe.classify.losses import Criterion  # isort: skip
from normpipe.classify.networks.build import build_network  # isort: skip
from normpipe.classify.networks.options import ConvNetOptions, LnlOptions, NorfaceOptions, VitOptions  # isort: skip

NORFACE = NorfaceOptions(backbone=ConvNetOptions(widths=(8, 16), drop_path=0.1))
OF_TOKENS = NorfaceOptions(backbone=VitOptions(patch=8, dim=16, depth=1, heads=2), chosen=2)
LNL = LnlOptions(widths=(8, 16), grid=2, region_width=8, region_dim=8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "task"),
    [*((NORFACE, task) for task in Task), (OF_TOKENS, Task.AU), (LNL, Task.AU), (LNL, Task.EMOTION)],
)
def test_the_brightness_of_parts_of_the_second_picture(options, task):
    made = build_network(options, SPACES[task], 2, SIDE, 0).train()
    values, known = labels(task, 32)
    seen = pictures(32) * 0.1
    for column, value in enumerate(values.t()):
        seen[:, 1, :, :, 10 * column : 10 * column + 10] += (value / values.abs().max() - 0.5)[:, None, None, None]
    criterion = Criterion(task, Objective(), torch.ones(values.shape[1]))
    optimizer = torch.optim.AdamW(made.parameters(), 5e-3)
    curve = []
    for step in range(100):
        losses = criterion.losses(criterion.sums(made(seen, keys(32) + step), values, known, torch.ones(32)))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        curve.append(losses["labels"].item())
    assert sum(curve[-10:]) < 0.3 * sum(curve[:10])
