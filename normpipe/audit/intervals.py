"""Intervals: 95 %, over people, by the percentile bootstrap.

Rows of one person are not independent, so people are drawn with replacement, and a statistic is a function of how often each
was drawn. Statistics to be compared are computed on the same draws: their difference is then a statistic of its own.

Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, sections 2.4 and 3.8 (resampling of clusters).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from normpipe.audit.figures import Figure, Measured, NotMeasurable, Why
from normpipe.audit.groups import Doubles

FEWEST_PEOPLE = 5
"""Below this a percentile interval over people says nothing."""

_PERCENTILES = (2.5, 97.5)

Statistic = Callable[[Doubles], Doubles]
"""From (people,) weights, 1 for everyone as observed, to (k,) values; NaN where a draw has no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """How often and with which seed people are drawn."""

    draws: int = 1000
    seed: int = 0

    def weights(self, people: int) -> Iterator[Doubles]:
        """(people,) float64 per draw: how often each was drawn."""
        random = np.random.default_rng(self.seed)
        for _ in range(self.draws):
            yield np.bincount(random.integers(0, people, people), minlength=people).astype(np.float64)


def measured(statistic: Statistic, people: int, bootstrap: Bootstrap) -> list[Measured]:
    """Several figures at once, each with its interval.

    Args:
        statistic: Of the weights of people.
        people: Number of people behind the statistic, at least 1.
        bootstrap: Draws.

    Returns:
        k figures. NotMeasurable with too few people, or where the statistic has no value on all people or on most draws.
    """
    if people < FEWEST_PEOPLE:
        reason = NotMeasurable(Why.TOO_FEW_SUBJECTS, f"{people} people, {FEWEST_PEOPLE} are needed for an interval")
        return [reason for _ in statistic(np.ones(people))]
    return [interval(column) for column in resampled(statistic, people, bootstrap).T]


def resampled(statistic: Statistic, people: int, bootstrap: Bootstrap) -> Doubles:
    """(1 + draws, k) values: on all people as observed, then on each draw of them."""
    with threadpool_limits(1):  # the last digits of a sum depend on how many threads share it
        return np.stack([statistic(weights) for weights in (np.ones(people), *bootstrap.weights(people))])


def interval(values: Doubles) -> Measured:
    """The figure of one column of `resampled`; NotMeasurable without a value as observed or on most draws."""
    value, drawn = float(values[0]), values[1:]
    if not np.isfinite(value) or np.isfinite(drawn).mean() < 0.5:
        return NotMeasurable(Why.NO_VARIATION, "the statistic has no value on these rows, or on most draws of people")
    return Figure(value, *percentiles(drawn))


def percentiles(drawn: Doubles) -> tuple[float, float]:
    """The ends of the 95 % interval of (draws,) values, NaN left out."""
    low, high = np.nanpercentile(drawn, _PERCENTILES)
    return float(low), float(high)
