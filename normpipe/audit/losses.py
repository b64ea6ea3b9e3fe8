"""Who loses? Failures and kept expression by group of the manifest and by how good the source was."""

from dataclasses import dataclass, replace

import numpy as np

from normpipe.audit.drift import Association, Drift, Worse, association, by_group, corrected, ranges
from normpipe.audit.expression import own_names
from normpipe.audit.figures import NotMeasurable
from normpipe.audit.groups import NUMBERED, UNKNOWN, Floats, Names
from normpipe.audit.intervals import Bootstrap
from normpipe.audit.table import RowTable

_RANGES = {
    "yaw": ((15.0, 30.0, 45.0), "degrees"),
    "eye_distance": ((20.0, 40.0, 80.0), "px"),
    "brightness": ((60.0, 100.0, 140.0), "grey levels"),
}
_PROXIES = ("sharpness", "eye_distance", "inside_frame", "brightness")
_SHOWN_GROUPS = 12
_SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class Loss:
    """A figure by the groups of one column.

    Attributes:
        figure: "failures", or "expression kept".
        column: Whose groups.
        drift: Worst first, at most 12; people and clips are numbered, not named.
        groups: Number of groups.
        losing: Of them those that lose.
        gap: How much worse the worst group is than all rows, by more than chance or not; 0 where none is worse.
    """

    figure: str
    column: str
    drift: Drift
    groups: int
    losing: int
    gap: float


@dataclass(frozen=True, slots=True)
class Losses:
    """Who loses.

    Attributes:
        by_group: Losses with corrected p values, over all columns and figures together.
        by_quality: How the residual of the expression goes with a quality of the source.
    """

    by_group: list[Loss]
    by_quality: dict[str, Association | NotMeasurable]


def losses(table: RowTable, kept: Floats, size: Floats, residual: Floats, bootstrap: Bootstrap) -> Losses:
    """Compare groups.

    Args:
        table: Rows.
        kept: (n,) share of the expression kept, NaN where not measured.
        size: (n,) size of the expression, eye distances.
        residual: (n,) what is wrong, eye distances.
        bootstrap: Draws of people.
    """
    people = own_names(table.units)
    weights = size.astype(np.float64) ** 2
    numerators = kept.astype(np.float64) * weights
    columns = {name: _named(name, names) for name, names in table.groups.items() if len(np.unique(names[~table.withdrawn])) > 1}
    measured = {
        name: ranges(np.abs(table.measures[name]) if name == "yaw" else table.measures[name], *bounds)
        for name, bounds in _RANGES.items()
    }
    failures = np.where(table.withdrawn, np.nan, ~table.ok)  # who withdrew is in no group, and no failure
    found: list[tuple[str, str, Drift]] = []
    for name, names in columns.items():
        clusters = own_names(table.clips) if name == _SUBJECT else people
        _add(found, "failures", name, by_group(failures, names, clusters, Worse.HIGHER))
    for name, names in {**columns, **measured}.items():
        clusters = own_names(table.clips) if name == _SUBJECT else people
        if len(np.unique(names[np.isfinite(numerators)])) > 1:
            _add(found, "expression kept", name, by_group(numerators, names, clusters, Worse.LOWER, weights))
    adjusted = corrected([drift for _, _, drift in found])
    by_quality = {name: association(residual.astype(np.float64), table.measures[name], people, bootstrap) for name in _PROXIES}
    return Losses([_loss(figure, name, drift) for (figure, name, _), drift in zip(found, adjusted, strict=True)], by_quality)


def _add(found: list[tuple[str, str, Drift]], figure: str, column: str, drift: Drift | NotMeasurable) -> None:
    if not isinstance(drift, NotMeasurable):
        found.append((figure, column, drift))


def _loss(figure: str, column: str, drift: Drift) -> Loss:
    losing = sum(group.loses for group in drift.groups)
    sign = 1 if drift.worse is Worse.HIGHER else -1
    gap = max((sign * (group.value - drift.value) for group in drift.groups), default=0.0)
    return Loss(figure, column, replace(drift, groups=drift.groups[:_SHOWN_GROUPS]), len(drift.groups), losing, max(gap, 0.0))


def _named(column: str, names: Names) -> Names:
    """What the groups are called."""
    shown = names
    if column in NUMBERED:
        known = np.unique(names[names != UNKNOWN])
        shown = np.char.add(f"{NUMBERED[column]} ", (np.searchsorted(known, names) + 1).astype(np.str_))
    return np.where(names == UNKNOWN, "not given", shown)
