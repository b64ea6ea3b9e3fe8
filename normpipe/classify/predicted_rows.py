"""`predictions/`: what a classifier says of each row of a run or of other Parquet files, part by part.

The same rows in the same order. A row without a pair, or whose pictures cannot be read, has its reason and no score.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from normpipe.audit.groups import Floats
from normpipe.classify.labels import LabelSpace, Task
from normpipe.errors import UsageError
from normpipe.records import PAIRS_SCHEMA, Failure, Reason, Status

PREDICTIONS_FOLDER = "predictions"

BATCH_ROWS = 32
"""That the network sees at once; it decides about scores by rounding."""

ROW_COLUMNS = ("sample_id", "face_index", "dataset", "subject", "split")
"""Columns of PAIRS_SCHEMA that tell which row it is."""

OUTCOME_COLUMNS = ("status", "reason", "detail")

STORED_SCHEMA = pa.schema([PAIRS_SCHEMA.field(name) for name in (*ROW_COLUMNS, *OUTCOME_COLUMNS)])
"""What is read of a row besides its pictures."""

SAID = "emotion"
"""Column of the likeliest emotion."""


def predictions_schema(space: LabelSpace) -> pa.Schema:
    """All columns: the row, its outcome, a score for each label by the label's name, and SAID where emotions are learnt."""
    fields = [*STORED_SCHEMA]
    fields += [pa.field(name, pa.float32()) for name in space.names]
    fields += [pa.field(SAID, pa.string())] if space.task is Task.EMOTION else []
    return pa.schema(fields)


def stored_failures(rows: pa.RecordBatch, where: str) -> list[Failure | None]:
    """Why rows have no pair, from their OUTCOME_COLUMNS; None for those that have one, or of which nothing is said.

    Args:
        rows: With STORED_SCHEMA.
        where: The file, for messages.

    Raises:
        UsageError: a row failed for a reason that is not known here.
    """
    columns = zip(*(rows[name].to_pylist() for name in OUTCOME_COLUMNS), strict=True)
    try:
        return [
            None if status in {Status.OK, None} else Failure(Reason(reason), detail or "") for status, reason, detail in columns
        ]
    except ValueError as error:
        raise UsageError(f"{where}: a row failed for a reason that this version does not know; update normpipe") from error


def predictions_batch(
    rows: pa.RecordBatch, failures: Sequence[Failure | None], scores: Floats, space: LabelSpace
) -> pa.RecordBatch:
    """Rows of a predictions file.

    Args:
        rows: n rows with ROW_COLUMNS.
        failures: n, None where there are scores.
        scores: (n, C), see losses.scores; anything where there are none.
        space: Their labels.
    """
    failed = np.array([failure is not None for failure in failures], np.bool_)
    columns = [rows[name] for name in ROW_COLUMNS]
    columns += [
        pa.array([(Status.OK if failure is None else Status.FAILED).value for failure in failures]),
        pa.array([None if failure is None else failure.reason.value for failure in failures], pa.string()),
        pa.array([None if failure is None else failure.detail or None for failure in failures], pa.string()),
    ]
    columns += [pa.array(column, pa.float32(), mask=failed) for column in scores.T]
    if space.task is Task.EMOTION:
        said = np.array(space.names, np.object_)[scores.argmax(axis=1)]
        columns.append(pa.array(said, pa.string(), mask=failed))
    return pa.RecordBatch.from_arrays(columns, schema=predictions_schema(space))
