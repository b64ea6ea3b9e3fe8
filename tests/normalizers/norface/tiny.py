"""A tiny network with random weights; tests that import this module skip where its packages are missing."""

from pathlib import Path

import pytest
from fixtures.faces import aligned_face

torch = pytest.importorskip("torch", reason="the package torch is not installed")
pytest.importorskip("diffusers", reason="the package diffusers is not installed")

from normpipe.batches import AlignedFace  # noqa: E402
from normpipe.config import Align, Detect, Execution, Normalize, Pipeline  # noqa: E402
from normpipe.normalizers.norface.common_face import neutral_common_face  # noqa: E402
from normpipe.normalizers.norface.decoder import WarpDecoder  # noqa: E402
from normpipe.normalizers.norface.encoder import FaceEncoder  # noqa: E402
from normpipe.normalizers.norface.generation import FlowDecoder  # noqa: E402
from normpipe.normalizers.norface.layout import FaceLayout, measured_numbers  # noqa: E402
from normpipe.normalizers.norface.merging import ExpressionMerger  # noqa: E402
from normpipe.normalizers.norface.normalizer import Norface  # noqa: E402
from normpipe.normalizers.norface.pipeline import NorfacePipeline  # noqa: E402

torch.set_num_threads(1)

FREE = 5


def tiny(trained: bool = True, dim: int = 16, **shares: float) -> NorfacePipeline:
    """A network of a few thousand weights; `trained` gives its last layer random ones too, so that faces differ.

    `shares` are options of its layout, whose spreads and rig are random.
    """
    torch.manual_seed(0)
    encoder = FaceEncoder(side=32, widths=(4, 8, 8, 16), dim=dim, depth=1, heads=2)
    merger = ExpressionMerger(dim=dim, depth=1, heads=2, answers=4, answer_dim=4, free=FREE, own=measured_numbers())
    decoder = WarpDecoder(dim=dim, widths=(16, 8, 8), groups=4)
    if trained:
        torch.nn.init.normal_(decoder.leave.weight, std=0.3)
    for part in (encoder, merger, decoder):
        part.eval().requires_grad_(False)  # as from_pretrained leaves them: kernels differ with it
    return NorfacePipeline(encoder, merger, decoder, neutral_common_face(64), layout(**shares))


def generating(dim: int = 16) -> NorfacePipeline:
    """The same with a decoder that generates, of which no layer does nothing."""
    network = tiny(dim=dim)
    decoder: FlowDecoder = FlowDecoder(dim, 32, picture_widths=(16, 8), channels=2, widths=(8, 16), groups=4, steps=3)
    for last in (decoder.unet.conv_out, decoder.autoencoder.decoder.conv_out):
        torch.nn.init.normal_(last.weight, std=0.3)
    decoder.eval().requires_grad_(False)
    return NorfacePipeline(network.encoder, network.merger, decoder, network.common_face, network.layout)


def layout(**options: float) -> FaceLayout:
    """One with random spreads and a rig that is noise."""
    made: FaceLayout = FaceLayout(free=FREE, **options)
    generator = torch.Generator().manual_seed(0)
    made.spread.copy_(0.5 + torch.rand(made.spread.shape, generator=generator))
    made.rig_offsets.copy_(0.02 * torch.randn(made.rig_offsets.shape, generator=generator))
    return made


def faces(count: int, size: int = 64) -> list[AlignedFace]:
    """Crops of noise, and landmarks without expression."""
    return [aligned_face(seed, size) for seed in range(count)]


def norface(
    weights: Path, size: int = 64, margin: float = 0.1, device: str = "cpu", landmarker: str = "embedded", **options: object
) -> Norface:
    """A normalizer, not yet prepared, with the given options of the section `normalize`."""
    section = Normalize(normalizer="norface", weights=str(weights), **{"batch": 4, **options})
    return Norface(
        Pipeline(
            size=size,
            detect=Detect(landmarker=landmarker),
            align=Align(margin=margin),
            normalize=section,
            execution=Execution(device=device),
        )
    )


def prepared(weights: Path, size: int = 64, **options: object) -> Norface:
    normalizer = norface(weights, size, **options)
    normalizer.prepare("cpu")
    return normalizer
