"""How fast a training learns, step by step."""

import math


def cycle(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate: up over the warm-up and down to nothing, both along half a cosine.

    Source: Smith and Topin, https://arxiv.org/abs/1708.07120.

    Args:
        step: From 0.
        steps: Of the whole training.
        warmup: Share of them.
    """
    warm = max(1, round(warmup * steps))
    if step < warm:
        return 0.5 - 0.5 * math.cos(math.pi * (step + 1) / (warm + 1))
    return 0.5 + 0.5 * math.cos(math.pi * (step + 1 - warm) / (steps + 1 - warm))
