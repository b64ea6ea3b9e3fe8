"""People and pictures of them: what is drawn at random around an expression that is known.

A person is a shape of head and a skin. A picture is taken under conditions of which there are two kinds, near and far, that
share no angle and no light: who learns from the near ones can be tested on what he has not seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np

from normpipe.batches import Floats, Image
from normpipe.synthetic.heads import HeadImage, HeadParams, HeadRig, Tile

cv2.setNumThreads(1)

_Range = tuple[float, float]

_DARKEST = np.array([0.5, 0.58, 0.64], np.float32)  # of each channel's light that the darkest skin takes away
_BLOTCHES = ((6, 0.08), (24, 0.06), (96, 0.05))  # patches along a tile, and the deviation of their logarithm
_ROLL = 6.0  # standard deviation, degrees


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which pictures are taken; each is even between its two ends.

    Attributes:
        yaw: Degrees from the front, to either side.
        pitch: Degrees from the level, up or down.
        azimuth: Degrees from the front at which the light stands, to either side.
        elevation: Degrees of the light above the face.
        ambient: Share of the light that comes from all around.
        patches: Of the background, along a side.
    """

    yaw: _Range
    pitch: _Range
    azimuth: _Range
    elevation: _Range
    ambient: _Range
    patches: tuple[int, int]


NEAR = Conditions(yaw=(0, 20), pitch=(0, 8), azimuth=(0, 35), elevation=(0, 40), ambient=(0.55, 0.75), patches=(1, 6))
FAR = Conditions(yaw=(25, 45), pitch=(8, 15), azimuth=(45, 75), elevation=(-20, 60), ambient=(0.35, 0.5), patches=(8, 24))


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody: the rig with a neutral head of their own, and their (512, 6 * 512, 3) uint8 atlas."""

    rig: HeadRig
    atlas: Image


def random_person(rig: HeadRig, atlas: Image, random: np.random.Generator) -> Person:
    """Somebody with a shape of their own, and the atlas' skin in another tone, with patches."""
    identity = random.standard_normal(len(rig.identity_deltas)) * random.uniform(0.5, 1.1)
    own = replace(rig, neutral=rig.vertices({}, identity.tolist()))
    side = atlas.shape[0]
    tone = 1 - random.uniform() * random.uniform(0.8, 1.0, 3) * _DARKEST
    skin = atlas.astype(np.float32)
    for tile in (Tile.FACE, Tile.HEAD):
        skin[:, tile * side : (tile + 1) * side] *= tone.astype(np.float32) * _blotches(side, random)[..., None]
    return Person(own, np.clip(np.rint(skin), 0, 255).astype(np.uint8))


def picture(
    person: Person, weights: Mapping[str, float], conditions: Conditions, random: np.random.Generator, size: int = 208
) -> HeadImage:
    """A picture of somebody who does what the weights say, and looks anywhere."""
    ambient = float(random.uniform(*conditions.ambient))
    azimuth, elevation = np.deg2rad([_either(conditions.azimuth, random), random.uniform(*conditions.elevation)])
    params = HeadParams(
        yaw=_either(conditions.yaw, random),
        pitch=_either(conditions.pitch, random),
        roll=float(random.normal(0, _ROLL)),
        expression={**weights, **_gaze(random)},
        size=size,
        extent=float(random.uniform(26, 34)),
        distance=float(random.uniform(60, 200)),
        light=(
            float(np.sin(azimuth) * np.cos(elevation)),
            float(np.sin(elevation)),
            float(np.cos(azimuth) * np.cos(elevation)),
        ),
        ambient=ambient,
        diffuse=1.1 - ambient,
        background=_patches(size, int(random.integers(*conditions.patches, endpoint=True)), random),
    )
    return person.rig.render(params, person.atlas)


def _either(limits: _Range, random: np.random.Generator) -> float:
    return float(random.uniform(*limits) * random.choice((-1.0, 1.0)))


def _gaze(random: np.random.Generator) -> dict[str, float]:
    """Both eyes turned alike, a little."""
    across, up = random.uniform(-0.5, 0.5, 2).tolist()
    right, left = ("In", "Out") if across > 0 else ("Out", "In")
    height = "Up" if up > 0 else "Down"
    turned = {f"eyeLook{right}_L": abs(across), f"eyeLook{left}_R": abs(across)}
    return turned | {f"eyeLook{height}_{side}": abs(up) for side in "LR"}


def _blotches(side: int, random: np.random.Generator) -> Floats:
    """(side, side) factors around 1, uneven at several sizes."""
    logarithm = np.zeros((side, side), np.float32)
    for count, deviation in _BLOTCHES:
        nodes = (random.standard_normal((count, count)) * deviation).astype(np.float32)
        logarithm += cv2.resize(nodes, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.exp(logarithm), np.float32)


def _patches(side: int, count: int, random: np.random.Generator) -> Image:
    """Soft patches of any colours; one patch is one colour."""
    nodes = random.integers(0, 256, (count, count, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(nodes, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)
