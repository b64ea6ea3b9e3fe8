"""Tremble of clips: none of steady movement, the known size of noise, no step across cuts."""

import numpy as np
import pytest

from normpipe.audit.figures import Figure, Measured, NotMeasurable, Why
from normpipe.audit.groups import Floats
from normpipe.audit.jitter import Jitter, jitter
from tests.audit.factories import FEW

_CLIPS = np.repeat(np.arange(20), 30).astype(str)
_FRAMES = np.tile(np.arange(30), 20)
_PEOPLE = np.repeat(np.arange(10), 60).astype(str)


def _value(figure: Measured) -> float:
    assert isinstance(figure, Figure), figure
    return figure.value


def _walk() -> Floats:
    """Straight movement of 5 points, another speed in each clip."""
    speeds = np.random.default_rng(0).standard_normal((20, 10))
    return (speeds[_CLIPS.astype(int)] * _FRAMES[:, None]).astype(np.float32)


def _measured(original: Floats, normalized: Floats, frames: np.ndarray = _FRAMES) -> Jitter:
    found = jitter(original, normalized, _CLIPS, frames, _PEOPLE, FEW)
    assert isinstance(found, Jitter)
    return found


def test_noise_has_the_second_difference_that_theory_says() -> None:
    """Variance 1 + 4 + 1 per coordinate, two coordinates."""
    random = np.random.default_rng(1)
    steady, trembling = (_walk() + size * random.standard_normal((600, 10)).astype(np.float32) for size in (0.1, 0.2))
    found = _measured(steady, trembling)
    assert _value(found.original) == pytest.approx(0.1 * np.sqrt(12), rel=0.05)
    assert _value(found.ratio) == pytest.approx(2, rel=0.05)
    assert (found.clips, found.frames) == (20, 20 * 28)


def test_equal_images_have_ratio_one_and_steady_movement_none() -> None:
    moving = _walk() + np.sin(_FRAMES)[:, None].astype(np.float32)
    assert _value(_measured(moving, moving).ratio) == 1
    assert _value(_measured(moving, _walk()).normalized) < 1e-4


def test_the_order_of_rows_does_not_matter_and_gaps_are_not_stepped_over() -> None:
    moving = _walk() + np.random.default_rng(2).standard_normal((600, 10)).astype(np.float32)
    order = np.random.default_rng(3).permutation(600)
    shuffled = jitter(moving[order], moving[order], _CLIPS[order], _FRAMES[order], _PEOPLE[order], FEW)
    assert isinstance(shuffled, Jitter)
    assert _value(shuffled.original) == pytest.approx(_value(_measured(moving, moving).original), abs=1e-9)
    holes = _walk()
    holes[_FRAMES == 15] = np.nan
    gap = _measured(holes, holes)
    assert gap.frames == 20 * (28 - 3)
    assert _value(gap.original) < 1e-4


def test_stills_have_no_jitter() -> None:
    found = jitter(_walk(), _walk(), np.full(600, ""), _FRAMES, _PEOPLE, FEW)
    assert isinstance(found, NotMeasurable)
    assert found.why is Why.NO_CLIPS
