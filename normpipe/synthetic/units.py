"""Proxy action units: what the weights of a rig's expression shapes would be called in the terms of FACS.

The shapes have ARKit's names, and ARKit's shapes are near to single action units without being them: nobody coded the heads by
the FACS manual, a shape at full weight is what its sculptor took for full, and units that change each other on a face are added
up on a rig. Figures on proxy units are exact about the rig and say nothing of how well FACS coders would be met.

Sources of the table: M. Ozel, ARKit to FACS: Blendshape Cheat Sheet, https://melindaozel.com/arkit-to-facs-cheat-sheet/; what a
shape moves, https://developer.apple.com/documentation/arkit/arfaceanchor/blendshapelocation; names of the units, P. Ekman,
W. Friesen, J. Hager, Facial Action Coding System, 2002. Three readings are of our own: a still cannot tell a blink (AU45) from
closed eyes, so `eyeBlink` is AU43; `jawOpen` is AU26 however far it opens; `cheekRaiser`, which ICT FaceKit has beside
`cheekSquint`, has the name of AU6. Left out are shapes of no unit in `records.ACTION_UNITS` (gaze, jaw and mouth to the side,
`mouthClose`), `cheekPuff` (an action descriptor, AD34), and AU25, which many shapes bring about and none stands for.
"""

from collections.abc import Mapping

import numpy as np

SHAPES: Mapping[int, tuple[str, ...]] = {
    1: ("browInnerUp",),
    2: ("browOuterUp",),
    4: ("browDown",),
    5: ("eyeWide",),
    6: ("cheekSquint", "cheekRaiser"),
    7: ("eyeSquint",),
    9: ("noseSneer",),
    10: ("mouthUpperUp",),
    12: ("mouthSmile",),
    14: ("mouthDimple",),
    15: ("mouthFrown",),
    16: ("mouthLowerDown",),
    17: ("mouthShrugLower", "mouthShrugUpper"),
    18: ("mouthPucker",),
    20: ("mouthStretch",),
    22: ("mouthFunnel",),
    24: ("mouthPress",),
    26: ("jawOpen",),
    28: ("mouthRollLower", "mouthRollUpper"),
    43: ("eyeBlink",),
}
"""Shapes of each action unit, without the side."""

ONE_PIECE = frozenset(
    {"jawOpen", "mouthFunnel", "mouthPucker", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"}
)
"""Shapes that the rig does not divide into `_L` and `_R`."""

STRONGEST = 5.0
"""Intensity of a shape at weight 1: E on the scale of FACS, as data sets write it."""

# Units that go together: prototypes of W. Friesen and P. Ekman, EMFACS-7, 1983, as far as the table has them.
_PROTOTYPES: tuple[tuple[int, ...], ...] = (
    (6, 12),  # happiness
    (1, 4, 15),  # sadness
    (1, 2, 5, 26),  # surprise
    (1, 2, 4, 5, 7, 20, 26),  # fear
    (4, 5, 7, 24),  # anger
    (9, 15, 16),  # disgust
    (12, 14),  # contempt
)
_OPPOSED = ({5, 43}, {24, 26}, {22, 24}, {24, 28}, {18, 20})  # no face does both
_PROTOTYPE = 0.6  # share of the faces that show one,
_DROPPED = 0.15  # less so many of its units
_ALONE = 0.15  # share of the faces that show a unit for no such reason
_WEAKEST = 0.1
_ONE_SIDED = 0.2  # share of the units that are weaker on one side


def sides(shape: str) -> tuple[str, ...]:
    """Names under which the rig has a shape of the table."""
    return (shape,) if shape in ONE_PIECE else (f"{shape}_L", f"{shape}_R")


def intensities(weights: Mapping[str, float]) -> dict[int, float]:
    """Intensity of every unit of the table, 0 to 5: five times the greatest weight among its shapes and their sides.

    Args:
        weights: 0 to 1 by shape name of the rig; those that are not there are 0.
    """
    return {
        unit: STRONGEST * max(weights.get(name, 0.0) for shape in shapes for name in sides(shape))
        for unit, shapes in SHAPES.items()
    }


def random_weights(random: np.random.Generator) -> dict[str, float]:
    """A face that shows some units, weak or strong: often those of an emotion, and others beside them.

    Of a unit with several shapes one has its whole strength and the others a share; so has one side of what is one-sided.

    Returns:
        Weights, above 0 to 1, by the rig's names.
    """
    strengths: dict[int, float] = {}
    if random.random() < _PROTOTYPE:
        whole = random.uniform(2 * _WEAKEST, 1)
        for unit in _PROTOTYPES[int(random.integers(len(_PROTOTYPES)))]:
            strength = whole * random.uniform(0.5, 1)
            if random.random() >= _DROPPED:
                strengths[unit] = float(strength)
    for unit in random.permutation(list(SHAPES)).tolist():
        strength, wanted = random.uniform(_WEAKEST, 1), random.random() < _ALONE
        if wanted and not any(unit in pair and pair & strengths.keys() for pair in _OPPOSED):
            strengths[unit] = max(strengths.get(unit, 0.0), float(strength))
    weights: dict[str, float] = {}
    for unit, strength in sorted(strengths.items()):
        shares = random.uniform(0.3, 1, len(SHAPES[unit]))
        other_side = random.uniform(0.2, 1) if random.random() < _ONE_SIDED else 1.0
        weaker = int(random.integers(2))
        for shape, share in zip(SHAPES[unit], shares / shares.max(), strict=True):
            names = sides(shape)
            for place, name in enumerate(names):
                weights[name] = strength * float(share) * (other_side if len(names) == 2 and place == weaker else 1.0)
    return weights
