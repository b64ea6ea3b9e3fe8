"""What a classifier learns: a task, the names of its C outputs, and the labels of rows as numbers with a mask.

Data sets annotate different labels, and most rows lack some: a label that is not there is masked, never guessed, and neither a
loss nor a metric sees it. A label that cannot be right ends the work at once, since it would else be learnt in silence.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from normpipe.audit.groups import Floats, Indices, Mask
from normpipe.errors import UsageError
from normpipe.records import ACTION_UNITS, EMOTIONS

DIMENSIONS = ("valence", "arousal")
MAX_INTENSITY = 5

_AU_NAMES = tuple(f"AU{au:02d}" for au in ACTION_UNITS)


class Task(StrEnum):
    """What is learnt."""

    EMOTION = "emotion"
    AU = "au"
    AU_INTENSITY = "au_intensity"
    VALENCE_AROUSAL = "valence_arousal"


_VOCABULARY = {
    Task.EMOTION: EMOTIONS,
    Task.AU: _AU_NAMES,
    Task.AU_INTENSITY: _AU_NAMES,
    Task.VALENCE_AROUSAL: DIMENSIONS,
}
_RANGE = {Task.AU: (0, 1), Task.AU_INTENSITY: (0, MAX_INTENSITY), Task.VALENCE_AROUSAL: (-1, 1)}


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """A task and its outputs.

    Attributes:
        task: What is learnt.
        names: (C,) of the outputs, in their order: emotions of `records.EMOTIONS`, "AU01" and so on, or DIMENSIONS.

    Raises:
        UsageError: no name, one that stands there twice or that the task does not have; an emotion alone.
    """

    task: Task
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        vocabulary = _VOCABULARY[self.task]
        unknown = [name for name in self.names if name not in vocabulary]
        if unknown:
            raise UsageError(f"labels of the task {self.task}: {unknown[0]!r} is none of {', '.join(vocabulary)}")
        if len(set(self.names)) < len(self.names):
            raise UsageError(f"labels of the task {self.task}: a name stands there twice")
        if len(self.names) < (2 if self.task is Task.EMOTION else 1):
            raise UsageError(f"labels of the task {self.task}: there are too few; name some of {', '.join(vocabulary)}")

    @classmethod
    def all_of(cls, task: Task) -> Self:
        """Every label that the task can have."""
        return cls(task, _VOCABULARY[task])

    def __len__(self) -> int:
        """C."""
        return len(self.names)

    def columns(self) -> tuple[str, ...]:
        """Columns of LABEL_SCHEMA that hold the labels: one for each name, or `emotion` alone."""
        match self.task:
            case Task.EMOTION:
                return ("emotion",)
            case Task.AU:
                return tuple(f"au_occurrence_{name[2:]}" for name in self.names)
            case Task.AU_INTENSITY:
                return tuple(f"au_intensity_{name[2:]}" for name in self.names)
            case Task.VALENCE_AROUSAL:
                return self.names


@dataclass(frozen=True, slots=True)
class Targets:
    """Labels of n rows.

    Attributes:
        values: (n, C) float32: 0 or 1 of action units and of emotions (one 1 a row), 0 to 5 of intensities, -1 to 1 of valence
            and arousal; 0 where unknown.
        known: (n, C) whether the row is annotated with it; of emotions all or none.
        weights: (n,) float32, at least 0: how much the row counts in training; 1 where the manifest says nothing.
    """

    values: Floats
    known: Mask
    weights: Floats

    def __len__(self) -> int:
        return len(self.values)

    def taken(self, rows: Indices | Mask) -> "Targets":
        """The targets of some rows."""
        return Targets(self.values[rows], self.known[rows], self.weights[rows])


def label_columns(space: LabelSpace, *, active_from: float | None = None) -> list[str]:
    """Columns that `targets` needs of a table, for the same arguments."""
    source = _intensities(space) if active_from is not None else space
    return ["sample_id", *source.columns(), "weight"]


def targets(
    table: pa.Table, space: LabelSpace, *, active_from: float | None = None, leave_out_other_emotions: bool = False
) -> Targets:
    """Read the labels of a table.

    Args:
        table: n rows with `label_columns`, of the types in PAIRS_SCHEMA.
        space: What to read.
        active_from: Task au: an action unit occurs where its intensity is at least this, whatever the columns of occurrence
            say; None reads those columns. 2 is the custom on DISFA.
        leave_out_other_emotions: An emotion that the space does not have makes the row an unlabelled one (contempt, where
            seven classes are learnt); else it is an error.

    Raises:
        UsageError: a label or weight cannot be right, or an emotion is not in the space; names the first such sample and its
            column. `active_from` with another task than au.
    """
    weights = _numbers(table, "weight", (0, np.inf))
    row_weights = np.where(np.isnan(weights), 1, weights).astype(np.float32)
    if active_from is not None:
        values = _columns(table, _intensities(space))
        known = ~np.isnan(values)
        return Targets((values >= active_from).astype(np.float32), known, row_weights)
    values = _emotions(table, space, leave_out_other_emotions) if space.task is Task.EMOTION else _columns(table, space)
    known = ~np.isnan(values)
    return Targets(np.where(known, values, 0).astype(np.float32), known, row_weights)


def _intensities(space: LabelSpace) -> LabelSpace:
    if space.task is not Task.AU:
        raise UsageError(f"active_from: only the task au derives labels from intensities, not {space.task}")
    return LabelSpace(Task.AU_INTENSITY, space.names)


def _columns(table: pa.Table, space: LabelSpace) -> Floats:
    """(n, C) float32, NaN for null."""
    columns = [_numbers(table, column, _RANGE[space.task]) for column in space.columns()]
    values = np.stack(columns, axis=1)
    if space.task is Task.AU:
        _refuse(table, space.columns(), (values > 0) & (values < 1), "is neither 0 nor 1")
    return values


def _numbers(table: pa.Table, column: str, limits: tuple[float, float]) -> Floats:
    """(n,) float32 of one column, NaN for null; every number is finite and within the limits."""
    cells = table[column].cast(pa.float64())
    numbers = np.asarray(cells.to_numpy(), np.float64)
    null = np.asarray(cells.is_null().to_numpy(), np.bool_)
    low, high = limits
    outside = ~np.isfinite(numbers) | (numbers < low) | (numbers > high)
    extent = f"is not within {low:g} and {high:g}" if high < np.inf else f"is not a number of {low:g} or more"
    _refuse(table, (column,), (outside & ~null)[:, None], extent)
    return np.where(null, np.nan, numbers).astype(np.float32)


def _emotions(table: pa.Table, space: LabelSpace, leave_out_others: bool) -> Floats:
    """(n, C) float32, one 1 a row; rows of NaN for null and for what is left out."""
    words = table["emotion"].combine_chunks()
    known = np.asarray(pc.is_valid(words).to_numpy(False), np.bool_)
    _refuse(table, ("emotion",), (known & (_places(words, EMOTIONS) < 0))[:, None], f"is none of {', '.join(EMOTIONS)}")
    place = _places(words, space.names)
    if not leave_out_others:
        learnt = f"is none of those learnt, which are {', '.join(space.names)}"
        _refuse(table, ("emotion",), (known & (place < 0))[:, None], learnt, "learn it too, or leave other emotions out")
    return np.where((place < 0)[:, None], np.nan, np.eye(len(space))[place]).astype(np.float32)


def _places(words: pa.Array, vocabulary: tuple[str, ...]) -> Indices:
    """(n,) place of each word in the vocabulary; -1 for null and other words."""
    return np.asarray(pc.fill_null(pc.index_in(words, value_set=pa.array(vocabulary)), -1).to_numpy(False), np.intp)


def _refuse(
    table: pa.Table,
    columns: tuple[str, ...],
    wrong: Mask,
    complaint: str,
    advice: str = 'correct the manifest (null is "not annotated") and run it again',
) -> None:
    """End at the first of the (n, columns) labels that is wrong."""
    if wrong.any():
        row, place = (int(each) for each in np.argwhere(wrong)[0])
        value, sample = table[columns[place]][row].as_py(), table["sample_id"][row].as_py()
        shown = f"{value:g}" if isinstance(value, float) else value
        raise UsageError(f"{sample}: {columns[place]} {shown} {complaint}; {advice}")
