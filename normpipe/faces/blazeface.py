"""BlazeFace's output becomes candidates: anchors and decoding.

The networks answer, for every anchor of a fixed grid, one score and 16 offsets: box centre and size, then six points of which
the first two are the eyes. Pure functions on arrays; nothing here runs a network.

Source: Bazarevsky et al., BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs, https://arxiv.org/abs/1907.05047
"""

import numpy as np

from normpipe.batches import Floats

_SCORE_LIMIT = 80.0


def anchors(side: int, grid: tuple[tuple[int, int], ...]) -> Floats:
    """Centres of the anchors, (n, 2), in units of the input side.

    Args:
        side: Input side of the network in pixels.
        grid: (stride in pixels, anchors per cell) of each output layer, in order.
    """
    layers = []
    for stride, per_cell in grid:
        centres = (np.arange(side // stride, dtype=np.float32) + 0.5) * stride / side
        y, x = np.meshgrid(centres, centres, indexing="ij")
        layers.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), per_cell, axis=0))
    return np.concatenate(layers)


def decode(offsets: Floats, logits: Floats, centres: Floats, side: int, min_score: float) -> tuple[Floats, Floats]:
    """Candidates of one picture.

    Args:
        offsets: (n, 16) raw output, input pixels.
        logits: (n, 1) or (n,) raw scores.
        centres: (n, 2) from `anchors`.
        side: Input side of the network.
        min_score: Candidates below it are dropped.

    Returns:
        Shapes (k, 8): box x0 y0 x1 y1 and the two eyes x y x y, in units of the input side; scores (k,), 0 to 1.
    """
    scores = 1.0 / (1.0 + np.exp(-np.clip(logits.reshape(-1), -_SCORE_LIMIT, _SCORE_LIMIT)))
    kept = scores >= min_score
    values = offsets[kept, :8].reshape(-1, 4, 2) / side
    centre = values[:, 0] + centres[kept]
    half = values[:, 1] / 2
    eyes = values[:, 2:] + centres[kept][:, None]
    shapes = np.concatenate([centre - half, centre + half, eyes.reshape(-1, 4)], axis=1)
    return shapes.astype(np.float32), scores[kept].astype(np.float32)
