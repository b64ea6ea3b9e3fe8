"""Who loses more? Rates, quality and kept expression by group, worst first, with a correction for having looked at many groups.

A figure of a group is a ratio of sums over its rows: of failures to rows, of a quality to rows, of kept to given movement. Rows
of one person (or clip) are not independent: intervals and tests take these clusters as the units. A group is tested against all
rows by the score of its deviation, whose variance comes from the clusters, so a group of a few people cannot be significant by
the number of its rows.

Sources: Binder, On the variances of asymptotically normal estimators from complex surveys, 1983 (ratios of clusters); Korn and
Graubard, Confidence intervals for proportions with small expected number of positive counts, 1998 (effective sample size);
Holm, A simple sequentially rejective multiple test procedure, 1979.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

import numpy as np
from scipy import stats

from normpipe.audit.figures import Measured, NotMeasurable, Why
from normpipe.audit.groups import Doubles, Floats, Groups, Indices, Names, summed
from normpipe.audit.intervals import Bootstrap
from normpipe.audit.moments import Moments

LEVEL = 0.05
_QUANTILES = 5


class Worse(StrEnum):
    """Which direction is a loss."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True, slots=True)
class Group:
    """One group against all rows.

    Attributes:
        name: Of the group.
        rows: Rows behind the figure.
        clusters: Independent units among them.
        value: Of the group.
        low: Lower end of the 95 % interval, None with one cluster.
        high: Upper end.
        p: Of no difference from all rows, two-sided.
        p_holm: Corrected for the number of groups compared, see `corrected`.
        loses: Whether the group is worse, p_holm below 0.05.
    """

    name: str
    rows: int
    clusters: int
    value: float
    low: float | None
    high: float | None
    p: float
    p_holm: float
    loses: bool


@dataclass(frozen=True, slots=True)
class Drift:
    """A figure by group.

    Attributes:
        value: Of all rows.
        worse: Which direction is a loss.
        groups: Worst first.
        missing: Rows without a value.
    """

    value: float
    worse: Worse
    groups: list[Group]
    missing: int


@dataclass(frozen=True, slots=True)
class Association:
    """How a figure of rows goes with a proxy of their quality.

    Attributes:
        rank_correlation: Spearman's, people weighted equally.
        by_quantile: Mean of the figure in fifths of the proxy, from its lowest.
        edges: (6,) ends of the fifths.
        rows: Rows with both.
    """

    rank_correlation: Measured
    by_quantile: list[float]
    edges: list[float]
    rows: int


def by_group(
    values: Doubles, names: Names, clusters: Names, worse: Worse, sizes: Doubles | None = None
) -> Drift | NotMeasurable:
    """Compare groups.

    Args:
        values: (n,) 0 or 1 for a rate, any number for a mean, a numerator for a ratio; NaN where there is none.
        names: (n,) group of each row; every row has one, the caller names what null means.
        clusters: (n,) what is independent: the subject, or for groups that are subjects the clip or the row itself.
        worse: Which direction is a loss.
        sizes: (n,) denominators of a ratio, None for rates and means.

    Returns:
        Groups sorted by evidence of loss: losing ones first, then by p and value.
    """
    known = np.isfinite(values) if sizes is None else np.isfinite(values) & np.isfinite(sizes)
    if not known.any():
        return NotMeasurable(Why.NO_ROWS, "no row has a value")
    above = values[known].astype(np.float64)
    below = np.ones(len(above)) if sizes is None else sizes[known].astype(np.float64)
    total = float(below.sum())
    if total <= 0:
        return NotMeasurable(Why.NO_VARIATION, "the denominators are all 0")
    groups, units = Groups.of(names[known]), Groups.of(clusters[known])
    overall = float(above.sum() / total)
    cells, owner = _cells(groups, units)

    sums = groups.sums(np.stack([above, below], axis=1))
    value = sums[:, 0] / np.where(sums[:, 1] > 0, sums[:, 1], np.nan)
    counts = np.bincount(owner, minlength=len(groups))
    p = _p_values(above - overall * below, below, groups, units, cells, owner)
    p = np.where(np.isfinite(value), p, 1.0)
    variance = _variance(above - value[groups.index] * below, sums[:, 1], counts, cells, owner)
    rate = sizes is None and bool(np.isin(above, (0, 1)).all())
    low, high = _rate_interval(value, variance, counts, groups.counts) if rate else _mean_interval(value, variance, counts)
    corrected_p = holm(p)
    sign = 1 if worse is Worse.HIGHER else -1
    loses = (sign * (value - overall) > 0) & (corrected_p < LEVEL)
    order = sorted(range(len(groups)), key=lambda g: _rank(bool(loses[g]), float(p[g]), float(sign * (value[g] - overall)), g))
    found = [
        Group(
            str(groups.names[g]),
            int(groups.counts[g]),
            int(counts[g]),
            float(value[g]),
            None if np.isnan(low[g]) else float(low[g]),
            None if np.isnan(high[g]) else float(high[g]),
            float(p[g]),
            float(corrected_p[g]),
            bool(loses[g]),
        )
        for g in order
    ]
    return Drift(overall, worse, found, int((~known).sum()))


def corrected(drifts: Sequence[Drift]) -> list[Drift]:
    """The same with `p_holm` and `loses` corrected for the groups of all of them together: for a report with many columns."""
    everything = holm(np.array([group.p for drift in drifts for group in drift.groups]))
    place, found = 0, []
    for drift in drifts:
        sign = 1 if drift.worse is Worse.HIGHER else -1
        groups = []
        for group in drift.groups:
            p_holm = float(everything[place])
            groups.append(replace(group, p_holm=p_holm, loses=sign * (group.value - drift.value) > 0 and p_holm < LEVEL))
            place += 1
        groups.sort(key=lambda group: not group.loses)
        found.append(replace(drift, groups=groups))
    return found


def holm(p: Doubles) -> Doubles:
    """(g,) p values corrected for their number; holds for any dependence between them."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def ranges(values: Floats, edges: Sequence[float], unit: str) -> Names:
    """(n,) names of ranges, such as "10 to 20 degrees", to group by; "not measured" for NaN."""
    texts = [f"below {edges[0]:g} {unit}"]
    texts += [f"{low:g} to {high:g} {unit}" for low, high in pairwise(edges)]
    texts.append(f"{edges[-1]:g} {unit} or more")
    texts.append("not measured")
    place = np.where(np.isnan(values), len(texts) - 1, np.searchsorted(edges, values, side="right"))
    return np.array(texts)[place]


def association(values: Doubles, proxy: Floats, subjects: Names, bootstrap: Bootstrap) -> Association | NotMeasurable:
    """How a figure of rows (residual of the displacement, failure) goes with a proxy (sharpness, share inside the frame).

    Args:
        values: (n,), NaN where there is none.
        proxy: (n,), NaN where there is none.
        subjects: (n,) people.
        bootstrap: Draws of people; ranks are those of all rows.
    """
    known = np.isfinite(values) & np.isfinite(proxy)
    if not known.any():
        return NotMeasurable(Why.NO_ROWS, "no row has both values")
    people = Groups.of(subjects[known])
    ranks = [stats.rankdata(each[known])[:, None] / known.sum() for each in (proxy, values)]
    found = Moments.of(ranks[0].astype(np.float32), ranks[1].astype(np.float32), people.share, people).agreement(bootstrap)
    if isinstance(found, NotMeasurable):
        return NotMeasurable(Why.NO_VARIATION, "the proxy does not vary")
    edges = np.quantile(proxy[known].astype(np.float64), np.linspace(0, 1, _QUANTILES + 1))
    place = np.clip(np.searchsorted(edges, proxy[known], side="right") - 1, 0, _QUANTILES - 1)
    counts, sums = np.bincount(place, minlength=_QUANTILES), np.bincount(place, values[known], _QUANTILES)
    means = [float(total / count) if count else float("nan") for total, count in zip(sums, counts, strict=True)]
    return Association(found.correlation, means, [float(edge) for edge in edges], int(known.sum()))


def worst_rows(values: Doubles, count: int, worse: Worse = Worse.HIGHER) -> Indices:
    """At most `count` row numbers, worst first, equals by row number; rows without a value are left out."""
    known = np.flatnonzero(np.isfinite(values))
    sign = -1 if worse is Worse.HIGHER else 1
    return known[np.argsort(sign * values[known], kind="stable")[:count]]


def _rank(loses: bool, p: float, excess: float, number: int) -> tuple[bool, bool, float, float, int]:
    """Losers, then what looks worse by its p, then the rest from the nearest to all rows to the best."""
    worse = excess > 0
    return not loses, not worse, p if worse else -p, -excess, number


def _cells(groups: Groups, units: Groups) -> tuple[Indices, Indices]:
    """(n,) number of the (group, cluster) cell of each row, and (c,) the group of each cell."""
    found, cells = np.unique(groups.index * len(units) + units.index, return_inverse=True)
    return cells.astype(np.intp), (found // len(units)).astype(np.intp)


def _p_values(residuals: Doubles, below: Doubles, groups: Groups, units: Groups, cells: Indices, owner: Indices) -> Doubles:
    """(g,) of the score test. The variance of sum_g(e) - f sum(e), f the group's share, is summed over clusters."""
    share = groups.sums(below[:, None])[:, 0] / below.sum()
    score = groups.sums(residuals[:, None])[:, 0]
    of_unit = units.sums(residuals[:, None])[:, 0]
    of_cell = summed(cells, residuals[:, None], len(owner))[:, 0]
    unit_of_cell = np.empty(len(owner), np.intp)
    unit_of_cell[cells] = units.index
    part = share[owner] * of_unit[unit_of_cell]
    variance = np.bincount(owner, (of_cell - part) ** 2 - part**2, len(groups)) + share**2 * (of_unit**2).sum()
    scale = np.sqrt(np.maximum(variance, 0))
    exact = 1e-9 * np.abs(residuals).sum()
    statistic = np.where(scale > exact, score / np.where(scale > exact, scale, 1), 0.0)
    return np.asarray(2 * stats.t.sf(np.abs(statistic), max(len(units) - 1, 1)))


def _variance(residuals: Doubles, sizes: Doubles, counts: Indices, cells: Indices, owner: Indices) -> Doubles:
    """(g,) of the group's ratio; NaN with one cluster."""
    of_cell = summed(cells, np.nan_to_num(residuals)[:, None], len(owner))[:, 0]
    squares = np.bincount(owner, of_cell**2, len(counts))
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = squares / sizes**2 * counts / (counts - 1)
    return np.where(counts > 1, variance, np.nan)


def _mean_interval(value: Doubles, variance: Doubles, counts: Indices) -> tuple[Doubles, Doubles]:
    reach = stats.t.ppf(0.975, np.maximum(counts - 1, 1)) * np.sqrt(variance)
    return value - reach, value + reach


def _rate_interval(value: Doubles, variance: Doubles, counts: Indices, rows: Indices) -> tuple[Doubles, Doubles]:
    """Wilson's, with the number of rows that would have given the same variance if they were independent."""
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = value * (1 - value) / variance
    effective = np.where(np.isfinite(effective), effective, counts)
    effective = np.clip(effective, 1, rows)
    z = stats.norm.ppf(0.975)
    centre = (value + z**2 / (2 * effective)) / (1 + z**2 / effective)
    reach = z / (1 + z**2 / effective) * np.sqrt(value * (1 - value) / effective + z**2 / (4 * effective**2))
    return np.where(value == 0, 0.0, centre - reach), np.where(value == 1, 1.0, centre + reach)
