"""The figures of an ablation to look at: SVG files, which are text and the same bytes each time.

OUT/plots/scores.svg        every variant, with its interval and each seed's own value
OUT/plots/contrasts.svg     differences with their intervals
OUT/plots/curves.svg        the metric on the validation rows over the epochs, mean over trainings
OUT/plots/confusion.svg     of emotions
OUT/plots/regions.svg       of networks that weigh regions: how much each counts
"""

import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normpipe.audit.document import Document, at, items
from normpipe.audit.figures import Json
from normpipe.classify.ablation_page import compared_things, word
from normpipe.shards.atomic import write_bytes

PLOTS_FOLDER = "plots"

_STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "normpipe",  # names of parts are random else
}
_WIDTH = 7.0
"""Inches."""
_LINE = 0.28
_INK, _PALE = "#1f4e79", "#9db8d2"


def write_plots(ablation: Document, out: Path) -> None:
    """Draw an ablation.

    Args:
        ablation: See ablation_figures.py.
        out: Folder of the ablation; its folder of plots is made anew.
    """
    folder = out / PLOTS_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with style.context(_STYLE):
        drawn = {
            "scores": _scores(ablation),
            "contrasts": _contrasts(ablation),
            "curves": _curves(ablation),
            "confusion": _confusion(ablation),
            "regions": _regions(ablation),
        }
        for name, figure in drawn.items():
            if figure is not None:
                content = io.BytesIO()
                figure.savefig(content, format="svg", metadata={"Date": None}, bbox_inches="tight")
                write_bytes(folder / f"{name}.svg", content.getvalue())


def _scores(ablation: Document) -> Figure:
    metric = str(at(ablation, "metric"))
    things = list(compared_things(ablation))
    figure, axes = _lines([name for name, _ in things])
    for row, (_, found) in enumerate(things):
        _dot(axes, row, at(found, "evaluation", "scores", metric, "overall"))
        seeds = [value for value in items(found, "by_seed") if isinstance(value, float)]
        axes.plot(seeds, [row] * len(seeds), "|", color=_PALE, markersize=9)
    axes.set_xlabel(f"{word(metric)} on test rows, 95 % interval over people; strokes: single seeds")
    return figure


def _contrasts(ablation: Document) -> Figure | None:
    metric, contrasts = str(at(ablation, "metric")), items(ablation, "contrasts")
    if not contrasts:
        return None
    figure, axes = _lines([f"{at(each, 'variant')} - {at(each, 'minus')}" for each in contrasts])
    axes.axvline(0, color="black", linewidth=0.8)
    for row, contrast in enumerate(contrasts):
        _dot(axes, row, at(contrast, "scores", metric, "overall"))
    axes.set_xlabel(f"difference of {word(metric)}, 95 % interval over people")
    return figure


def _curves(ablation: Document) -> Figure | None:
    curves = [(name, _numbers(items(found, "curve"))) for name, found in compared_things(ablation)]
    known = [(name, values) for name, values in curves if values]
    if not known:
        return None
    figure = Figure(figsize=(_WIDTH, 4))
    axes = figure.add_subplot()
    for name, values in known:
        axes.plot(range(1, len(values) + 1), values, label=name)
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{word(str(at(ablation, 'metric')))} on validation rows, mean over trainings")
    axes.legend(frameon=False)
    return figure


def _confusion(ablation: Document) -> Figure | None:
    tables = [(name, items(found, "evaluation", "confusion")) for name, found in compared_things(ablation)]
    known = [(name, np.array(table, np.float64)) for name, table in tables if table]
    if not known:
        return None
    labels = [str(label) for label in items(ablation, "labels")]
    figure, grid = _tiles(len(known))
    for axes, (name, table) in zip(grid, known, strict=False):
        shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        for row, values in enumerate(shares):
            for column, share in enumerate(values):
                colour = "white" if share > 0.5 else "black"
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=6, color=colour)
        axes.set_title(name, fontsize=8)
        axes.set_xticks(range(len(labels)), [label[:3] for label in labels], fontsize=6)
        axes.set_yticks(range(len(labels)), [label[:3] for label in labels], fontsize=6)
    figure.suptitle("rows as labelled, columns as predicted, percent of the row", fontsize=8)
    return figure


def _regions(ablation: Document) -> Figure | None:
    maps = [(name, items(found, "regions")) for name, found in compared_things(ablation)]
    known = [(name, np.array(table, np.float64)) for name, table in maps if table]
    if not known:
        return None
    figure, grid = _tiles(len(known))
    for axes, (name, table) in zip(grid, known, strict=False):
        axes.imshow(table, vmin=0, vmax=2 / table.size, cmap="Blues")
        axes.set_title(name, fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.suptitle("mean weight of each region; the middle of the scale is even", fontsize=8)
    return figure


def _lines(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """A figure with a line for each label, from the top."""
    figure = Figure(figsize=(_WIDTH, 0.8 + _LINE * len(labels)))
    axes = figure.add_subplot()
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _tiles(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of square pictures; those beyond the count are empty."""
    columns = min(count, 4)
    rows = -(-count // columns)
    figure = Figure(figsize=(_WIDTH, _WIDTH / columns * rows), layout="constrained")
    grid = [figure.add_subplot(rows, columns, number + 1) for number in range(rows * columns)]
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid


def _dot(axes: Axes, row: int, score: Json) -> None:
    value, low, high = (at(score, key) for key in ("value", "low", "high"))
    if not isinstance(value, float):
        return
    if isinstance(low, float) and isinstance(high, float):
        axes.plot([low, high], [row, row], color=_INK, linewidth=1.2)
    axes.plot([value], [row], "o", color=_INK, markersize=4)


def _numbers(values: Sequence[Json]) -> list[float]:
    return [value for value in values if isinstance(value, float)]
