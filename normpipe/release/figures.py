"""The audit's charts as SVG files of a release's card: the lines of the audit's page, for wherever Markdown is shown.

They hold figures and names of instruments, no picture and no name of a person. Text colours stand on a white ground of their
own, so that they can be read in the dark too.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import replace
from html import escape

from normpipe.audit import charts
from normpipe.audit.charts import Axis, Chart, Dot, Line
from normpipe.audit.document import Document

_WIDTH, _LABELS, _NUMBERS = 1000, 325, 300
_AXIS = _WIDTH - _LABELS - _NUMBERS - 30
_TITLE, _LINE, _SMALL = 40, 44, 17
_NOTE_LETTERS, _LABEL_LETTERS, _NUMBER_LETTERS = 146, 50, 50
_BEFORE, _AFTER, _BAD = "#8a8f98", "#1f5fbf", "#b3261e"
_INK, _DIM = "#16181d", "#5c6370"


def audit_figures(document: Document, number: int) -> dict[str, str]:
    """SVG texts of the main charts of a run's audit that have something to show, by name.

    Args:
        document: The audit.
        number: Of the run.
    """
    found = {
        "identity": charts.attacks(document),
        "ranks": charts.ranks(document),
        "expression": charts.displacement(document, "correlation"),
        "strength": charts.displacement(document, "slope"),
        "use": charts.use(document),
    }
    return {
        name: drawn(replace(chart, title=f"Run {number}: {chart.title}"))
        for name, chart in found.items()
        if any(line.after for line in chart.lines)
    }


def drawn(chart: Chart) -> str:
    """A chart as SVG: what it means, then text, dots and intervals for each of its lines, then the axis."""
    note = textwrap.wrap(chart.note, _NOTE_LETTERS)
    legend = list(_legend(chart, _TITLE + _SMALL * len(note) + 8))
    top = _TITLE + _SMALL * len(note) + (28 if legend else 4)
    bottom = top + _LINE * len(chart.lines)
    height = bottom + 52
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="13" role="img">',
        f"<title>{escape(chart.title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="14" y="26" font-size="16" font-weight="600" fill="{_INK}">{escape(chart.title)}</text>',
        *(_small(14, _TITLE + 6 + _SMALL * place, text) for place, text in enumerate(note)),
        *legend,
        *_ticks(chart.axis, top, bottom),
        *(each for place, line in enumerate(chart.lines) for each in _line(line, top + _LINE * place + 16)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend(chart: Chart, y: int) -> Iterator[str]:
    """What the dots mean, where there are several kinds."""
    shown = []
    if any(line.before for line in chart.lines):
        shown += [(_BEFORE, chart.before), (_AFTER, chart.after)]
    if chart.bad and any(line.bad for line in chart.lines):
        shown.append((_BAD, chart.bad))
    place = 14
    for colour, text in shown:
        yield f'<circle cx="{place + 5}" cy="{y - 4}" r="5" fill="{colour}"/>'
        yield f'<text x="{place + 16}" y="{y}" fill="{_INK}">{escape(text)}</text>'
        place += 40 + 7 * len(text)


def _ticks(axis: Axis, top: int, bottom: int) -> Iterator[str]:
    for tick in axis.ticks:
        x = _x(axis.place(tick))
        yield f'<line x1="{x}" y1="{top}" x2="{x}" y2="{bottom}" stroke="#e3e5e9"/>'
        yield _small(x, bottom + 16, f"{tick:g}", "middle")
    yield _small(_x(100), bottom + 36, axis.name, "end")
    if axis.mark is not None:
        x = _x(axis.place(axis.mark))
        yield f'<line x1="{x}" y1="{top}" x2="{x}" y2="{bottom}" stroke="{_DIM}" stroke-dasharray="3 3"/>'
        yield _small(x, bottom + 36, axis.meaning, "middle")


def _line(line: Line, y: int) -> Iterator[str]:
    label = textwrap.shorten(line.label, _LABEL_LETTERS, placeholder=" …")
    yield f'<text x="14" y="{y + 4}" fill="{_INK}">{escape(label)}</text>'
    yield _small(14, y + 4 + _SMALL, line.how)
    for dot, colour, radius in ((line.before, _BEFORE, 4), (line.after, _BAD if line.bad else _AFTER, 5)):
        if dot is not None:
            yield from _dot(dot, y, colour, radius)
    number = line.after.text if line.after is not None else "not measured"
    yield f'<text x="{_WIDTH - _NUMBERS}" y="{y + 4}" fill="{_INK}">{escape(number)}</text>'
    yield _small(_WIDTH - _NUMBERS, y + 4 + _SMALL, textwrap.shorten(line.note, _NUMBER_LETTERS, placeholder=" …"))


def _small(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" font-size="12" text-anchor="{anchor}" fill="{_DIM}">{escape(text)}</text>'


def _dot(dot: Dot, y: int, colour: str, radius: int) -> Iterator[str]:
    if dot.width > 0:
        low, high = _x(dot.low), _x(dot.low + dot.width)
        yield f'<line x1="{low}" y1="{y}" x2="{high}" y2="{y}" stroke="{colour}" stroke-width="2"/>'
    yield f'<circle cx="{_x(dot.place)}" cy="{y}" r="{radius}" fill="{colour}"/>'


def _x(percent: float) -> float:
    return round(_LABELS + _AXIS * percent / 100, 1)
