"""The scoreboard: identity left against expression kept, one point for each audited run of the same rows.

Expression has several witnesses, and a normalizer may please one alone; so there is a board for each. The originals stand on
every board: what the instrument says of the untouched pictures is what a run is held against.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from normpipe.audit.document import Document, at, figure_at, items, read_document
from normpipe.audit.figures import Figure
from normpipe.audit.task import AUDIT_FOLDER
from normpipe.errors import IncompatibleRunError, UsageError

WIDTH, HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 20, 16, 48
_X = (0.5, 1.0)
_MOST_TICKS = 6
_LABEL_RISE, _LABEL_HEIGHT, _LABEL_WIDTH = 10, 14, 16
_EXPRESSION = ("findings", "expression")

COMPARED = {"rows": ("run", "manifest"), "instruments": ("instruments",), "options": ("options",)}
"""What must be the same for figures to compare, and where audit.json has it."""


@dataclass(frozen=True, slots=True)
class Witness:
    """What stands upwards on a board.

    Attributes:
        name: In plain words.
        run: Keys of its figure in audit.json.
        original: Keys of the same figure of the originals, if there is one.
        whole: Whether the axis goes from 0 to 1, which is as good as it gets; else it is cut to the points.
    """

    name: str
    run: tuple[str, ...]
    original: tuple[str, ...] | None
    whole: bool


_WITNESSES = (
    Witness(
        "expression kept: landmarks' correlation",
        (*_EXPRESSION, "displacement", "whole", "correlation"),
        (*_EXPRESSION, "displacement_repeated", "whole", "correlation"),
        whole=True,
    ),
    Witness(
        "expression kept: blendshapes' correlation", (*_EXPRESSION, "blendshapes", "mean", "correlation"), None, whole=True
    ),
    Witness(
        "use: macro-F1 of a classifier",
        (*_EXPRESSION, "use", "arms", "normalized", "macro_f1"),
        (*_EXPRESSION, "use", "arms", "original", "macro_f1"),
        whole=False,
    ),
)


@dataclass(frozen=True, slots=True)
class Point:
    """A run on a board, in the drawing's coordinates; intervals as (low, high).

    Attributes:
        name: Normalizer and strength.
        x: Of the AUC.
        y: Of the witness's figure.
        across: Interval of the AUC.
        down: Interval of the figure.
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


@dataclass(frozen=True, slots=True)
class Board:
    """One drawing.

    Attributes:
        title: Of the axis upwards.
        points: Runs with both figures, least identity first.
        across: Places and numbers of the axis to the right.
        up: Of the axis upwards.
    """

    title: str
    points: tuple[Point, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class _Measured:
    """A run's figures."""

    name: str
    auc: Figure
    kept: Figure
    own: bool


def read_others(document: Document, compare: Sequence[Path]) -> list[Document]:
    """audit.json of other runs; of the page's own, what COMPARED names is enough.

    Raises:
        UsageError: one is not audited.
        IncompatibleRunError: one is of other rows, or was measured by other means.
    """
    found = []
    for out in compare:
        other = read_document(out / AUDIT_FOLDER)
        if other is None:
            raise UsageError(f"--compare {out.name}: not audited; give `normpipe audit {out.name}` first")
        for what, keys in COMPARED.items():
            if at(document, *keys) != at(other, *keys):
                raise IncompatibleRunError(f"--compare {out.name}: audited on other {what}; figures would not compare")
        found.append(other)
    return found


def boards(document: Document, others: Sequence[Document]) -> list[Board]:
    """A board for each witness that has measured the page's own run."""
    found = []
    for witness in _WITNESSES:
        measured = [each for each in (_of_run(each, witness, own=each is document) for each in (document, *others)) if each]
        if any(each.own for each in measured):
            originals = _of_originals(document, witness)
            found.append(_board(witness, measured + ([originals] if originals is not None else [])))
    return found


def _of_run(document: Document, witness: Witness, own: bool) -> _Measured | None:
    auc = figure_at(document, "findings", "identity", "worst", "result", "auc")
    kept = figure_at(document, *witness.run)
    if not isinstance(auc, Figure) or not isinstance(kept, Figure):
        return None
    settings = at(document, "run", "configuration")
    name = str(at(settings, "normalize.normalizer")).strip('"')
    return _Measured(f"{name} {at(settings, 'normalize.detail')}", auc, kept, own)


def _of_originals(document: Document, witness: Witness) -> _Measured | None:
    aucs = [figure_at(each, "result", "auc") for each in items(document, "findings", "identity", "before")]
    auc = max((each for each in aucs if isinstance(each, Figure)), key=lambda figure: figure.value, default=None)
    kept = figure_at(document, *witness.original) if witness.original is not None else None
    return _Measured("the originals", auc, kept, own=False) if auc is not None and isinstance(kept, Figure) else None


def _board(witness: Witness, measured: Sequence[_Measured]) -> Board:
    low, high, step = (0.0, 1.0, 0.2) if witness.whole else _cut([each.kept for each in measured])
    ordered = sorted((_point(each, low, high) for each in measured), key=lambda point: (point.x, point.name))
    rises = [low + step * count for count in range(round((high - low) / step) + 1)]
    widths = [_X[0] + 0.1 * count for count in range(6)]
    return Board(
        witness.name,
        tuple(_labelled(ordered)),
        tuple((_place_x(number), f"{number:.1f}") for number in widths),
        tuple((_place_y(number, low, high), f"{number:.2f}".removesuffix("0")) for number in rises),
    )


def _cut(figures: Sequence[Figure]) -> tuple[float, float, float]:
    """Lowest and highest number of an axis that holds all intervals, and its step."""
    lowest, highest = min(each.low for each in figures), max(each.high for each in figures)
    for step in (0.05, 0.1, 0.2):
        low, high = math.floor(lowest / step) * step, math.ceil(highest / step) * step
        if high - low <= _MOST_TICKS * step:
            break
    return low, max(high, low + step), step


def _point(measured: _Measured, low: float, high: float) -> Point:
    auc, kept = measured.auc, measured.kept
    return Point(
        measured.name,
        _place_x(auc.value),
        _place_y(kept.value, low, high),
        (_place_x(auc.low), _place_x(auc.high)),
        (_place_y(kept.low, low, high), _place_y(kept.high, low, high)),
        f"AUC {auc.value:.2f} ({auc.low:.2f} to {auc.high:.2f}), {kept.value:.2f} ({kept.low:.2f} to {kept.high:.2f})",
        measured.own,
    )


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


def _place_x(value: float) -> float:
    share = min(max((value - _X[0]) / (_X[1] - _X[0]), 0.0), 1.0)
    return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)


def _place_y(value: float, low: float, high: float) -> float:
    share = min(max((value - low) / (high - low), 0.0), 1.0)
    return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)
