"""Random expressions of the rig: what heads and warps are made to do.

Faces seldom do one thing, and networks learn what goes together. So a few shapes are chosen as if nothing went together, and
about every second face also smiles, frowns, scowls or wonders with all that goes with it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from normpipe.batches import Floats

_MOST_SHAPES = 8  # at once, beside those of a blend; both sides of one count once
_STRENGTH = (1.2, 1.5)  # of the beta distribution of weights: all amounts, the middle ones a little more often
_ONE_SIDED = 0.3  # share of shapes that are weaker on the person's right
_WEAKER = 0.3  # least share that is left there
_JAW = 0.6  # how far the jaw moves to the sides and forwards
_BLEND_STRENGTH = (0.2, 1.0)
_UNUSED = "PupilDilate"  # too small to be seen

# Probability, and shapes with the range of their weight as a share of the blend's strength.
_BLENDS: tuple[tuple[float, dict[str, tuple[float, float]]], ...] = (
    (
        0.15,
        {
            "mouthSmile": (1, 1),
            "cheekSquint": (0.3, 1),
            "eyeSquint": (0, 0.8),
            "mouthUpperUp": (0, 0.5),
            "mouthLowerDown": (0, 0.5),
        },
    ),
    (0.10, {"mouthFrown": (1, 1), "browInnerUp": (0, 1), "mouthShrugLower": (0, 1)}),
    (0.10, {"browDown": (1, 1), "eyeSquint": (0, 0.8), "mouthPress": (0, 1), "noseSneer": (0, 0.7)}),
    (0.10, {"browInnerUp": (1, 1), "browOuterUp": (0.4, 1), "eyeWide": (0, 1), "jawOpen": (0, 0.8)}),
)


def random_expression(names: Sequence[str], random: np.random.Generator) -> Floats:
    """Weights of the rig's expression shapes.

    Args:
        names: Names of the shapes; those that end in `_L` and `_R` are the sides of one.
        random: All that the result depends on.

    Returns:
        (len(names),) float32, 0 to 1.
    """
    weights = dict.fromkeys(names, 0.0)
    shapes = sorted({name.removesuffix("_L").removesuffix("_R") for name in names} - {_UNUSED})
    for shape in random.choice(shapes, int(random.integers(_MOST_SHAPES + 1)), replace=False):
        left = random.beta(*_STRENGTH)
        if shape.startswith("jaw") and shape != "jawOpen":
            left *= _JAW
        right = left * random.uniform(_WEAKER, 1) if random.random() < _ONE_SIDED else left
        _raise(weights, str(shape), left, right)
    place = random.random()
    for probability, blend in _BLENDS:
        if 0 <= place < probability:
            strength = random.uniform(*_BLEND_STRENGTH)
            for shape, (low, high) in blend.items():
                weight = strength * random.uniform(low, high)
                _raise(weights, shape, weight, weight)
        place -= probability
    return np.array([weights[name] for name in names], np.float32)


def by_name(names: Sequence[str], weights: Floats) -> dict[str, float]:
    """The weights above 0 by the rig's names, as its renderer takes them."""
    return {name: float(weight) for name, weight in zip(names, weights, strict=True) if weight > 0}


def of_gaze(names: Sequence[str]) -> NDArray[np.bool_]:
    """(len(names),) which shapes turn the eyes or widen the pupils, and move no landmark."""
    return np.array([name.startswith(("eyeLook", "Pupil")) for name in names])


def _raise(weights: dict[str, float], shape: str, left: float, right: float) -> None:
    """Let a shape, or its two sides, weigh at least so much."""
    for name, weight in ((shape, left), (f"{shape}_L", left), (f"{shape}_R", right)):
        if name in weights:
            weights[name] = max(weights[name], weight)
