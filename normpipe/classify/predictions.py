"""Predictions of a fold as a Parquet file: what the network says of each row that it did not learn from, beside the truth."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from normpipe.audit.groups import Floats, Indices
from normpipe.classify.folds import Fold
from normpipe.classify.labels import Targets
from normpipe.classify.material import Material
from normpipe.classify.results import Result, judged_sides
from normpipe.errors import UsageError
from normpipe.shards.atomic import AtomicFile

PREDICTIONS_FILE = "predictions.parquet"

PREDICTIONS_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string()),
        pa.field("face_index", pa.int32()),
        pa.field("dataset", pa.string()),
        pa.field("subject", pa.string()),
        pa.field("fold", pa.string()),
        pa.field("side", pa.string()),  # of the fold: validation or test
        pa.field("weights", pa.string()),  # which of the fold's classifiers says it: best or last
        pa.field("epoch", pa.int32()),  # after which these weights were taken, from 1
        pa.field("scores", pa.list_(pa.float32())),  # as of losses.scores, in the order of the labels
        pa.field("truth", pa.list_(pa.float32())),  # null where unknown
        pa.field("known", pa.list_(pa.bool_())),
    ]
)
"""One row per row, side and weights. The schema's metadata names task and labels."""

_NAMES = ("sample_id", "face_index", "dataset", "subject")


def write_predictions(file: Path, material: Material, fold: Fold, results: Sequence[Result]) -> None:
    """Write a fold's predictions, whole or not at all.

    Args:
        file: Its place.
        material: Whose rows.
        fold: Which of them.
        results: What each network says.
    """
    space, sides = material.protocol.space, judged_sides(fold)
    about = {"task": space.task.value, "labels": json.dumps(list(space.names))}
    tables = [_rows(material, fold.name, side, rows, result) for result in results for side, rows in sides.items()]
    with AtomicFile(file) as target:
        pq.write_table(pa.concat_tables(tables).replace_schema_metadata(about), target)


def read_scores(file: Path, side: str, weights: str) -> Floats:
    """(n, C) scores of one side of a fold, in the order of its rows.

    Raises:
        UsageError: the file is damaged or gone.
    """
    try:
        table = pq.read_table(file, columns=["side", "weights", "scores"])
    except (pa.ArrowException, OSError) as error:
        place = f"{file.parent.name}/{file.name}"
        raise UsageError(f"{place}: damaged; delete the folder {file.parent.name} and train this fold again") from error
    chosen = table.filter(pc.and_(pc.equal(table["side"], side), pc.equal(table["weights"], weights)))["scores"]
    flat = pc.list_flatten(chosen).to_numpy()
    return np.asarray(flat, np.float32).reshape(len(chosen), -1)


def _rows(material: Material, fold: str, side: str, rows: Indices, result: Result) -> pa.Table:
    truth = material.truth.taken(rows)
    names = material.shards.table.select(_NAMES).take(pa.array(rows))
    columns: dict[str, Sequence[object]] = {
        "fold": [fold] * len(rows),
        "side": [side] * len(rows),
        "weights": [result.name] * len(rows),
        "epoch": [result.epoch] * len(rows),
        "scores": list(result.readings[side].scores),
        "truth": _with_nulls(truth),
        "known": truth.known.tolist(),
    }
    for field in PREDICTIONS_SCHEMA:
        if field.name in columns:
            names = names.append_column(field, pa.array(columns[field.name], field.type))
    return names.cast(PREDICTIONS_SCHEMA)


def _with_nulls(truth: Targets) -> list[list[float | None]]:
    values, known = truth.values.tolist(), truth.known.tolist()
    return [
        [value if is_known else None for value, is_known in zip(*row, strict=True)] for row in zip(values, known, strict=True)
    ]
