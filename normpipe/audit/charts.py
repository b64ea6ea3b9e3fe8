"""Figures as lines of a chart: a dot with its interval on a common axis, drawn by the page's style sheet from percentages.

Rows of text and dots, not a picture: they stay readable on a narrow screen, in the dark and in a screen reader.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from normpipe.audit.document import Document, at, entries, figure, figure_at, items
from normpipe.audit.figures import Figure, Json, NotMeasurable

_METHODS = {
    "cosine": "compares two normalized images",
    "probe": "has learnt from other people's normalized images",
    "cross_cosine": "compares an original with a normalized image",
    "cross_probe": "has learnt from other people's pairs",
}
_FEATURES = "HOG: histograms of gradients, which need no network; face shape: the landmarks, seen from the front."
_ARMS = {
    "original": "originals",
    "normalized": "normalized images",
    "both": "both",
    "original_twice": "originals twice (control)",
}


@dataclass(frozen=True, slots=True)
class Dot:
    """A figure's place on the axis, in percent of its length, and its interval, cut off at the ends."""

    place: float
    low: float
    width: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart.

    Attributes:
        label: What was measured.
        how: Under the label, in small print.
        before: Of the originals, or what an instrument can reach; None without.
        after: Of the normalized images; None where it could not be measured.
        note: Behind the numbers: what else there is to say, or why there is no figure.
        bad: Whether to draw attention.
    """

    label: str
    before: Dot | None
    after: Dot | None
    note: str = ""
    bad: bool = False
    how: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """The common axis: ends, ticks, a mark with its meaning (chance, all rows), and what is measured."""

    low: float
    high: float
    ticks: tuple[float, ...]
    mark: float | None = None
    meaning: str = ""
    name: str = ""

    def place(self, value: float) -> float:
        """Percent of the axis, within its ends."""
        return round(100 * min(max((value - self.low) / (self.high - self.low), 0.0), 1.0), 2)

    def dot(self, value: Figure | NotMeasurable, digits: int = 2) -> Dot | None:
        """A figure on this axis."""
        if isinstance(value, NotMeasurable):
            return None
        low, high = self.place(value.low), self.place(value.high)
        interval = "" if value.low == value.high else f" ({value.low:z.{digits}f} to {value.high:z.{digits}f})"
        return Dot(self.place(value.value), low, round(high - low, 2), f"{value.value:z.{digits}f}{interval}")


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart; `before` and `after` name the two kinds of dots, `bad` the one that draws attention."""

    title: str
    note: str
    axis: Axis
    lines: list[Line]
    before: str = "originals"
    after: str = "normalized images"
    bad: str = ""


def attacks(document: Document) -> Chart:
    """How well each attacker tells people apart."""
    axis = Axis(0.4, 1.0, (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), 0.5, "guessing", "AUC")
    found = at(document, "findings", "identity")
    before = {(str(at(each, "feature")), str(at(each, "method"))): each for each in items(found, "before")}
    worst = (at(found, "worst", "feature"), at(found, "worst", "method"))
    lines = []
    for each in items(found, "attacks"):
        name = str(at(each, "feature")), str(at(each, "method"))
        after = figure_at(each, "result", "auc")
        lines.append(
            Line(
                name[0],
                axis.dot(figure_at(before[name], "result", "auc")) if name in before else None,
                axis.dot(after),
                after.detail if isinstance(after, NotMeasurable) else "the best attacker" if name == worst else "",
                bad=name == worst,
                how=_METHODS[name[1]],
            )
        )
    note = (
        "AUC of each attacker: shown two pictures of one person and two pictures of different people, how often the first two "
        f"are found more alike. 0.5 is guessing, 1 is never wrong. The best attacker counts. {_FEATURES}"
    )
    return Chart("Can people be told apart?", note, axis, lines, bad="the best attacker")


def ranks(document: Document) -> Chart:
    """How often the nearest picture is of the same person."""
    found = at(document, "findings", "identity")
    chances = [at(each, "chance") for _, each in entries(found, "identification")]
    mark = max((each for each in chances if isinstance(each, float)), default=None)
    axis = Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0), mark, "guessing", "rank 1")
    lines = []
    for name, each in entries(found, "identification"):
        after = figure_at(each, "rank_one")
        chance = at(each, "chance")
        note = after.detail if isinstance(after, NotMeasurable) else f"guessing {chance:.2f}" if chance is not None else ""
        lines.append(Line(name, axis.dot(figure_at(found, "identification_before", name, "rank_one")), axis.dot(after), note))
    note = f"Share of pictures whose most similar other picture in the whole set is of the same person (rank 1). {_FEATURES}"
    return Chart("Can a person be found in the set?", note, axis, lines)


def displacement(document: Document, name: str) -> Chart:
    """Correlation or slope of landmarks by region, with what two measurements of the original reach."""
    slope = name == "slope"
    axis = (
        Axis(0.0, 1.5, (0.0, 0.5, 1.0, 1.5), 1.0, "as strong", "slope")
        if slope
        else Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0), name="correlation")
    )
    found = at(document, "findings", "expression", "displacement")
    repeated = at(document, "findings", "expression", "displacement_repeated")
    names = [("whole", ("whole",)), *((region, ("regions", region)) for region, _ in entries(found, "regions"))]
    lines = []
    for label, keys in names:
        after = figure_at(found, *keys, name)
        note = after.detail if isinstance(after, NotMeasurable) else ""
        lines.append(Line(label, axis.dot(figure_at(repeated, *keys, name)), axis.dot(after), note))
    if not slope:
        blend = figure_at(document, "findings", "expression", "blendshapes", "mean", name)
        note = blend.detail if isinstance(blend, NotMeasurable) else ""
        lines.append(Line("blendshapes, mean of 14", None, axis.dot(blend), note))
    else:
        blend = figure_at(document, "findings", "expression", "blendshapes", "mean", name)
        lines.append(Line("blendshapes, mean of 14", None, axis.dot(blend)))
    title = "How strong is it?" if slope else "Does the expression follow?"
    note = (
        "Slope: 1 keeps the amplitude, 0.5 halves it."
        if slope
        else "Correlation of what the landmarks do, seen from the front and as deviation from the person's own mean: 1 follows "
        "perfectly, 0 not at all. Grey: the original measured twice, which is the best that this instrument can say."
    )
    return Chart(title, note, axis, lines, before="the original measured twice")


def blendshapes(document: Document) -> Chart:
    """Correlation of each blendshape."""
    axis = Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))
    lines = []
    for name, pair in entries(document, "findings", "expression", "blendshapes", "by_name"):
        if isinstance(pair, list) and all(isinstance(each, int | float) for each in pair):
            correlation, slope = (float(each) for each in pair if isinstance(each, int | float))
            lines.append(Line(name, None, axis.dot(Figure(correlation, correlation, correlation)), f"slope {slope:.2f}"))
        else:
            lines.append(Line(name, None, None, "the originals do not vary"))
    lines.sort(key=lambda line: -(line.after.place if line.after else -1))
    note = "Correlation of each of MediaPipe's scores, original against normalized, best first."
    return Chart("Blendshape by blendshape", note, axis, lines)


def use(document: Document) -> Chart:
    """Macro-F1 of the plain classifier."""
    axis = Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0), name="macro-F1")
    found = at(document, "findings", "expression", "use")
    gaps = {
        str(at(each, "arm")) + "-" + str(at(each, "minus")): at(each, "scores", "macro_f1")
        for each in items(found, "contrasts")
    }
    notes = {
        "normalized": _gap(gaps.get("normalized-original"), "to originals"),
        "both": _gap(gaps.get("both-original_twice"), "to originals twice"),
    }
    lines = [Line(_ARMS[arm], None, axis.dot(figure_at(found, "arms", arm, "macro_f1")), notes.get(arm, "")) for arm in _ARMS]
    note = "Macro-F1 of one fixed, plain classifier of emotion, tried on people that it has not learnt from."
    return Chart("Can a classifier learn from it?", note, axis, lines)


def shows(document: Document) -> Chart:
    """What of the source's pose, background and sharpness is left."""
    axis = Axis(-0.05, 0.6, (0.0, 0.2, 0.4, 0.6), 0.0, "nothing shows")
    lines = []
    for name, each in entries(document, "findings", "surroundings", "shows"):
        after = figure_at(each, "normalized", "by_nuisance")
        null, p = at(each, "normalized", "null"), at(each, "normalized", "p")
        if isinstance(after, NotMeasurable):
            note = after.detail
        else:
            note = f"chance up to {null:z.3f}, p {p:.2f}" if isinstance(null, float) and isinstance(p, float) else ""
        lines.append(Line(name, axis.dot(figure_at(each, "original", "by_nuisance"), 3), axis.dot(after, 3), note))
    note = (
        "Share of how one person's pictures differ that the source's pose, background or sharpness explains beyond what the "
        "expression does. 0 is none."
    )
    return Chart("Does the source's setting still show?", note, axis, lines)


def losses(document: Document) -> list[Chart]:
    """One chart for each figure and column; those with losing groups first."""
    found = items(document, "findings", "losses", "by_group")
    order = sorted(found, key=lambda each: not at(each, "losing"))
    return [_loss(each) for each in order]


def _loss(loss: Json) -> Chart:
    failures = at(loss, "figure") == "failures"
    overall = _number(at(loss, "drift", "value"))
    groups = items(loss, "drift", "groups")
    values = [_number(at(each, "value")) for each in groups] + [overall]
    step = 0.02 if failures and max(values) < 0.16 else 0.1 if failures else 0.5
    high = min(max(math.ceil(1.1 * max(values) / step) * step, 2 * step), 1.0 if failures else 2.5)
    axis = Axis(0.0, high, _ticks(high, step), overall, f"all rows {overall:.3g}")
    lines = []
    for each in groups:
        value = _number(at(each, "value"))
        low, top = at(each, "low"), at(each, "high")
        shown = Figure(value, value if low is None else _number(low), value if top is None else _number(top))
        bad = at(each, "loses") is True
        rows = at(each, "rows")
        note = f"{rows} row{'' if rows == 1 else 's'}" + (", loses" if bad else "")
        lines.append(Line(str(at(each, "name")), None, axis.dot(shown, 3 if failures else 2), note, bad))
    count, losing = at(loss, "groups"), at(loss, "losing")
    more = f", the worst {len(groups)} shown" if isinstance(count, int) and count > len(groups) else ""
    title = f"{'Failed rows' if failures else 'Strength of the expression'} by {at(loss, 'column')}"
    return Chart(title, f"{losing} of {count} groups lose by more than chance{more}.", axis, lines)


def _ticks(high: float, step: float) -> tuple[float, ...]:
    """At most seven, from 0 in steps."""
    while high / step > 6.5:
        step *= 2
    return tuple(round(number * step, 3) for number in range(int(high / step + 1e-9) + 1))


def _gap(value: Json, against: str) -> str:
    found = figure(value)
    if isinstance(found, NotMeasurable):
        return ""
    return f"{100 * found.value:+.1f} points {against} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def _number(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def fifths(document: Document) -> Iterator[tuple[str, Sequence[str], str]]:
    """Of each quality of the source: name, mean residual in its fifths, rank correlation."""
    for name, each in entries(document, "findings", "losses", "by_quality"):
        correlation = figure_at(each, "rank_correlation")
        if isinstance(correlation, Figure):
            means = [f"{_number(mean):.3f}" if mean is not None else "" for mean in items(each, "by_quantile")]
            yield name, means, f"{correlation.value:+.2f} ({correlation.low:+.2f} to {correlation.high:+.2f})"
