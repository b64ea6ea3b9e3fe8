"""The audit's charts as SVG files of a release's card: the lines of the audit's page, for wherever Markdown is shown.

They hold figures and names of instruments, no picture and no name of a person. Text colours stand on a white ground of their
own, so that they can be read in the dark too.
"""

from collections.abc import Iterator
from html import escape

from normpipe.audit import charts
from normpipe.audit.charts import Axis, Chart, Dot, Line
from normpipe.audit.document import Document

_WIDTH, _LABELS, _NUMBERS = 960, 350, 210
_AXIS = _WIDTH - _LABELS - _NUMBERS - 30
_LINE, _HEAD = 30, 64
_BEFORE, _AFTER, _BAD = "#8a8f98", "#1f5fbf", "#b3261e"


def audit_figures(document: Document) -> dict[str, str]:
    """SVG texts of an audit's main charts that have something to show, by name."""
    found = {
        "identity": charts.attacks(document),
        "ranks": charts.ranks(document),
        "expression": charts.displacement(document, "correlation"),
        "strength": charts.displacement(document, "slope"),
        "use": charts.use(document),
    }
    return {name: drawn(chart) for name, chart in found.items() if any(line.after for line in chart.lines)}


def drawn(chart: Chart) -> str:
    """A chart as SVG: one line of text, dot and interval for each of its lines."""
    height = _HEAD + _LINE * len(chart.lines) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="13" role="img">',
        f"<title>{escape(chart.title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="14" y="26" font-size="16" font-weight="600" fill="#16181d">{escape(chart.title)}</text>',
        *_legend(chart),
        *_ticks(chart.axis, height),
        *(each for number, line in enumerate(chart.lines) for each in _line(line, _HEAD + _LINE * number + 18)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend(chart: Chart) -> Iterator[str]:
    shown = [(_AFTER, chart.after)]
    if any(line.before for line in chart.lines):
        shown.insert(0, (_BEFORE, chart.before))
    place = 14
    for colour, text in shown:
        yield f'<circle cx="{place + 5}" cy="45" r="5" fill="{colour}"/>'
        yield f'<text x="{place + 16}" y="49" fill="#3a3f47">{escape(text)}</text>'
        place += 40 + 7 * len(text)


def _ticks(axis: Axis, height: int) -> Iterator[str]:
    bottom = height - 30
    for tick in axis.ticks:
        x = _x(axis.place(tick))
        yield f'<line x1="{x}" y1="{_HEAD}" x2="{x}" y2="{bottom}" stroke="#e3e5e9"/>'
        yield f'<text x="{x}" y="{bottom + 16}" text-anchor="middle" fill="#5c6370">{tick:g}</text>'
    if axis.mark is not None:
        x = _x(axis.place(axis.mark))
        yield f'<line x1="{x}" y1="{_HEAD}" x2="{x}" y2="{bottom}" stroke="#5c6370" stroke-dasharray="3 3"/>'
        style = 'text-anchor="middle" fill="#5c6370" font-size="11"'
        yield f'<text x="{x}" y="{bottom + 28}" {style}>{escape(axis.meaning)}</text>'


def _line(line: Line, y: int) -> Iterator[str]:
    label = line.label if not line.how else f"{line.label}: {line.how}"
    shown = label if len(label) <= 48 else f"{label[:47]}…"
    yield f'<text x="14" y="{y + 4}" fill="#16181d"><title>{escape(label)}</title>{escape(shown)}</text>'
    for dot, colour, radius in ((line.before, _BEFORE, 4), (line.after, _BAD if line.bad else _AFTER, 5)):
        if dot is not None:
            yield from _dot(dot, y, colour, radius)
    text = line.after.text if line.after is not None else line.note
    yield f'<text x="{_WIDTH - _NUMBERS}" y="{y + 4}" fill="#16181d">{escape(text[:34])}</text>'


def _dot(dot: Dot, y: int, colour: str, radius: int) -> Iterator[str]:
    if dot.width > 0:
        low, high = _x(dot.low), _x(dot.low + dot.width)
        yield f'<line x1="{low}" y1="{y}" x2="{high}" y2="{y}" stroke="{colour}" stroke-width="2"/>'
    yield f'<circle cx="{_x(dot.place)}" cy="{y}" r="{radius}" fill="{colour}"/>'


def _x(percent: float) -> float:
    return round(_LABELS + _AXIS * percent / 100, 1)
