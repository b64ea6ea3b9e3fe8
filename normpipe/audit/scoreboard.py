"""The scoreboard: identity left against expression kept, one point for each audited run of the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from normpipe.audit.document import Document, at, figure_at, read_document
from normpipe.audit.figures import Figure
from normpipe.audit.task import AUDIT_FOLDER
from normpipe.errors import IncompatibleRunError, UsageError

WIDTH, HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 20, 16, 48
_X = (0.5, 1.0)
_Y = (0.0, 1.0)
_TICK = 0.1
_LABEL_RISE, _LABEL_HEIGHT, _LABEL_WIDTH = 10, 14, 16


@dataclass(frozen=True, slots=True)
class Point:
    """A run on the scoreboard, in the drawing's coordinates; intervals as (low, high).

    Attributes:
        name: Normalizer and strength.
        x: Of the AUC.
        y: Of the correlation.
        across: Interval of the AUC.
        down: Interval of the correlation.
        label: Where the point's number stands, clear of those of its neighbours.
        text: The figures in words.
        own: Whether it is the run that the page is about.
    """

    name: str
    x: float
    y: float
    across: tuple[float, float]
    down: tuple[float, float]
    text: str
    own: bool
    label: float = 0.0


def read_others(document: Document, compare: Sequence[Path]) -> list[Document]:
    """audit.json of other runs.

    Raises:
        UsageError: one is not audited.
        IncompatibleRunError: one is of other rows, or was measured by other means.
    """
    found = []
    for out in compare:
        other = read_document(out / AUDIT_FOLDER)
        if other is None:
            raise UsageError(f"--compare {out.name}: not audited; give `normpipe audit {out.name}` first")
        for what, keys in (("rows", ("run", "manifest")), ("instruments", ("instruments",)), ("options", ("options",))):
            if at(document, *keys) != at(other, *keys):
                raise IncompatibleRunError(f"--compare {out.name}: audited on other {what}; figures would not compare")
        found.append(other)
    return found


def points(document: Document, others: Sequence[Document]) -> list[Point]:
    """Runs with both figures, least identity first."""
    found = (_point(each, own=each is document) for each in (document, *others))
    return _labelled(sorted((point for point in found if point is not None), key=lambda point: (point.x, point.name)))


def ticks(axis: str) -> list[tuple[float, str]]:
    """Places and numbers of an axis, "x" or "y"."""
    low, high = _X if axis == "x" else _Y
    place = _place_x if axis == "x" else _place_y
    numbers = [low + step * _TICK * (1 if axis == "x" else 2) for step in range(20)]
    return [(place(number), f"{number:.1f}") for number in numbers if number <= high + 1e-9]


def _labelled(found: Sequence[Point]) -> list[Point]:
    """Numbers of points that lie close together stand one above the other."""
    placed: list[Point] = []
    for point in found:
        label = point.y - _LABEL_RISE
        for before in placed:
            if abs(before.x - point.x) < _LABEL_WIDTH and abs(before.label - label) < _LABEL_HEIGHT:
                label = before.label - _LABEL_HEIGHT
        placed.append(replace(point, label=round(label, 1)))
    return placed


def _point(document: Document, own: bool) -> Point | None:
    auc = figure_at(document, "findings", "identity", "worst", "result", "auc")
    kept = figure_at(document, "findings", "expression", "displacement", "whole", "correlation")
    if not isinstance(auc, Figure) or not isinstance(kept, Figure):
        return None
    settings = at(document, "run", "configuration")
    name = str(at(settings, "normalize.normalizer")).strip('"')
    detail = at(settings, "normalize.detail")
    return Point(
        f"{name} {detail}" if name == "mean_face" else name,
        _place_x(auc.value),
        _place_y(kept.value),
        (_place_x(auc.low), _place_x(auc.high)),
        (_place_y(kept.low), _place_y(kept.high)),
        f"AUC {auc.value:.2f} ({auc.low:.2f} to {auc.high:.2f}), "
        f"expression {kept.value:.2f} ({kept.low:.2f} to {kept.high:.2f})",
        own,
    )


def _place_x(value: float) -> float:
    share = min(max((value - _X[0]) / (_X[1] - _X[0]), 0.0), 1.0)
    return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)


def _place_y(value: float) -> float:
    share = min(max((value - _Y[0]) / (_Y[1] - _Y[0]), 0.0), 1.0)
    return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)
