"""A tiny network with random weights; tests that import this module skip where its packages are missing."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the package torch is not installed")
pytest.importorskip("diffusers", reason="the package diffusers is not installed")

from normpipe.config import Align, Execution, Normalize, Pipeline  # noqa: E402
from normpipe.normalizers.norface.common_face import neutral_common_face  # noqa: E402
from normpipe.normalizers.norface.decoder import WarpDecoder  # noqa: E402
from normpipe.normalizers.norface.encoder import FaceEncoder  # noqa: E402
from normpipe.normalizers.norface.merging import ExpressionMerger  # noqa: E402
from normpipe.normalizers.norface.normalizer import Norface  # noqa: E402
from normpipe.normalizers.norface.pipeline import NorfacePipeline  # noqa: E402

torch.set_num_threads(1)


def tiny(trained: bool = True, dim: int = 16) -> NorfacePipeline:
    """A network of a few thousand weights; `trained` gives its last layer random ones too, so that faces differ."""
    torch.manual_seed(0)
    encoder = FaceEncoder(side=32, widths=(4, 8, 8, 16), dim=dim, depth=1, heads=2)
    merger = ExpressionMerger(dim=dim, depth=1, heads=2, answers=4, answer_dim=4, free=5, own=6)
    decoder = WarpDecoder(dim=dim, widths=(16, 8, 8), groups=4)
    if trained:
        torch.nn.init.normal_(decoder.leave.weight, std=0.3)
    for part in (encoder, merger, decoder):
        part.eval().requires_grad_(False)  # as from_pretrained leaves them: kernels differ with it
    return NorfacePipeline(encoder, merger, decoder, neutral_common_face(64))


def crops(count: int, size: int = 64) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(count)]


def norface(weights: Path, size: int = 64, margin: float = 0.1, device: str = "cpu", **options: object) -> Norface:
    """A normalizer, not yet prepared, with the given options of the section `normalize`."""
    section = Normalize(normalizer="norface", weights=str(weights), **{"batch": 4, **options})
    return Norface(Pipeline(size=size, align=Align(margin=margin), normalize=section, execution=Execution(device=device)))


def prepared(weights: Path, size: int = 64, **options: object) -> Norface:
    normalizer = norface(weights, size, **options)
    normalizer.prepare("cpu")
    return normalizer
