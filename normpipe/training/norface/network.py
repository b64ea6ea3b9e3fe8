"""A network that has learnt nothing yet, and pictures as it takes them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from normpipe.config import Align
from normpipe.normalizers.norface.common_face import neutral_common_face
from normpipe.normalizers.norface.decoder import WarpDecoder
from normpipe.normalizers.norface.encoder import FaceEncoder
from normpipe.normalizers.norface.generation import FlowDecoder
from normpipe.normalizers.norface.layout import FaceLayout, measured_numbers
from normpipe.normalizers.norface.merging import ExpressionMerger
from normpipe.normalizers.norface.pipeline import NorfacePipeline
from normpipe.training.norface.config import Training
from normpipe.training.norface.examples import EXPRESSION_SHAPES, ExampleSet
from normpipe.training.norface.loop import seed_of
from normpipe.training.norface.mesh_stem import copy_mesh_stem


def new_network(training: Training) -> NorfacePipeline:
    """All parts with the weights they start from, which follow from the seed.

    The common face has twice the examples' side: drawings are made as large.
    """
    encoder, merger, drawing = training.encoder, training.merger, training.drawing
    free, own = EXPRESSION_SHAPES, measured_numbers()
    side = training.examples.side
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(training.seed, "weights"))
        parts = (
            FaceEncoder(side, encoder.widths, encoder.dim, encoder.depth, encoder.heads),
            ExpressionMerger(
                encoder.dim,
                merger.depth,
                merger.heads,
                merger.answers,
                merger.answer_dim,
                free,
                own,
            ),
            _new_decoder(training),
        )
    if encoder.from_mesh:
        copy_mesh_stem(parts[0].stem)
    margin = Align().margin
    layout = FaceLayout(free, own, margin, drawing.by_landmarks, drawing.by_rig, drawing.by_detail)
    return NorfacePipeline(*parts, neutral_common_face(2 * side, margin), layout)


def pictures_of(examples: ExampleSet, rows: NDArray[np.intp]) -> Tensor:
    """(b, 3, side, side) float32 pictures of examples by number, -1 to 1."""
    pictures = np.stack([examples.picture(int(row)) for row in rows])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def _new_decoder(training: Training) -> WarpDecoder | FlowDecoder:
    dim, warp, flow = training.encoder.dim, training.decoder, training.latent
    decoder: WarpDecoder | FlowDecoder
    if flow is None:
        decoder = WarpDecoder(dim, warp.widths, warp.groups)
    else:
        side, steps = training.examples.side, flow.euler_steps
        decoder = FlowDecoder(dim, side, flow.picture_widths, flow.channels, flow.widths, flow.groups, steps)
    return decoder
