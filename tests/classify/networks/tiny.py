"""Tiny networks of every kind, and batches of noise; tests that import this module skip where its packages are missing."""

import pytest

torch = pytest.importorskip("torch", reason="the package torch is not installed")
pytest.importorskip("diffusers", reason="the package diffusers is not installed")

from normpipe.classify.labels import LabelSpace, Task  # noqa: E402
from normpipe.classify.networks.build import Network, build_network  # noqa: E402
from normpipe.classify.networks.options import (  # noqa: E402
    ConvNetOptions,
    LnlOptions,
    NetworkOptions,
    NorfaceOptions,
    NormalizerEncoderOptions,
    VitOptions,
)

SIDE = 32
SPACES = {
    Task.EMOTION: LabelSpace(Task.EMOTION, ("happiness", "sadness", "neutral")),
    Task.AU: LabelSpace(Task.AU, ("AU01", "AU04", "AU12")),
    Task.AU_INTENSITY: LabelSpace(Task.AU_INTENSITY, ("AU06", "AU12")),
    Task.VALENCE_AROUSAL: LabelSpace.all_of(Task.VALENCE_AROUSAL),
}

CONVNET = ConvNetOptions(widths=(8, 12), drop_path=0.4)
VIT = VitOptions(patch=8, stem=(4,), dim=12, depth=2, heads=2, drop_path=0.4)
ENCODER = NormalizerEncoderOptions(side=32, widths=(4, 8, 8, 16), dim=16, depth=1, heads=2)

NETWORKS: dict[str, NetworkOptions] = {
    "convnet": NorfaceOptions(backbone=CONVNET, dropout=0.3),
    "vit": NorfaceOptions(backbone=VIT, dropout=0.3),
    "encoder": NorfaceOptions(backbone=ENCODER, dropout=0.3),
    "own backbones": NorfaceOptions(backbone=CONVNET, shared=False),
    "noisy gates": NorfaceOptions(backbone=CONVNET, chosen=2),
    "input mixture": NorfaceOptions(backbone=CONVNET, output_mixture=False),
    "output mixture": NorfaceOptions(backbone=CONVNET, input_mixture=False),
    "no mixture": NorfaceOptions(backbone=CONVNET, input_mixture=False, output_mixture=False),
    "lnl": LnlOptions(widths=(8, 8, 12), grid=2, region_width=4, region_dim=6, dropout=0.3),
    "lnl of overlapping regions": LnlOptions(widths=(8, 8), grid=3, reach=0.5, region_width=4, region_dim=6),
}


def network(name: str = "convnet", task: Task = Task.AU, views: int = 2, seed: int = 0) -> Network:
    """One of NETWORKS; its gates, which begin with zeros, are given random weights, so that shares differ."""
    made = build_network(NETWORKS[name], SPACES[task], views, SIDE, seed)
    generator = torch.Generator().manual_seed(1)
    for place, weight in made.named_parameters():
        if ".gate." in place:
            weight.data = torch.randn(weight.shape, generator=generator)
    return made


def pictures(count: int, views: int = 2, side: int = SIDE):
    """(count, views, 3, side, side) of noise, -1 to 1."""
    return torch.rand(count, views, 3, side, side, generator=torch.Generator().manual_seed(2)) * 2 - 1


def keys(count: int):
    """(count,) of any."""
    return torch.randint(-(2**62), 2**62, (count,), generator=torch.Generator().manual_seed(3))


def labels(task: Task, count: int):
    """(count, C) values and all of them known."""
    space, generator = SPACES[task], torch.Generator().manual_seed(4)
    drawn = torch.rand(count, len(space), generator=generator)
    match task:
        case Task.EMOTION:
            values = torch.nn.functional.one_hot(drawn.argmax(1), len(space)).float()
        case Task.AU:
            values = (drawn > 0.5).float()
        case Task.AU_INTENSITY:
            values = (drawn * 6).floor()
        case Task.VALENCE_AROUSAL:
            values = drawn * 2 - 1
    return values, torch.ones(values.shape, dtype=torch.bool)
