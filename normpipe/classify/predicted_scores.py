"""scores.json: what predictions are worth where the run's rows are labelled, with intervals over people.

The labels are those of the run, read when they are wanted: a prediction knows nothing of them.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from normpipe import __version__
from normpipe.audit.groups import Floats
from normpipe.audit.intervals import Bootstrap
from normpipe.classify.folds import ROW_COLUMNS, Rows, units
from normpipe.classify.labels import LabelSpace, label_columns, targets
from normpipe.classify.metrics import METRICS
from normpipe.classify.predicted_rows import PREDICTIONS_FOLDER
from normpipe.classify.prediction_run import PredictionRun
from normpipe.classify.protocols import Protocol
from normpipe.classify.scores import Estimate, Evaluation, Judged, evaluate, score_json
from normpipe.errors import UsageError
from normpipe.records import FORMAT_VERSION, Status
from normpipe.shards.atomic import write_bytes
from normpipe.shards.reader import open_part
from normpipe.stages.parts import SHARDS_FOLDER

SCORES_FILE = "scores.json"


def score_predictions(
    predicted: PredictionRun, *, split: str | None = None, active_from: float | None = None, bootstrap: Bootstrap | None = None
) -> Evaluation:
    """Judge the predictions of a finished prediction and write OUT/scores.json.

    Args:
        predicted: All of whose shards are committed.
        split: Judge rows of this split alone; None for all, also those that the classifier may have learnt from.
        active_from: See labels.targets. Emotions that the classifier does not know are left out.
        bootstrap: Draws of people; None for no intervals.

    Raises:
        UsageError: no row with a prediction has a label, or a label cannot be right.
    """
    space = predicted.classifier.space
    table, said = _read(predicted, label_columns(space, active_from=active_from), split)
    truth = targets(table, space, active_from=active_from, leave_out_other_emotions=True)
    if not truth.known.any():
        rows = "rows" if split is None else f"rows of the split {split}"
        raise UsageError(
            f"--scores: none of the {len(table)} {rows} of {predicted.source.out.name} that were predicted has a label of "
            f"{', '.join(space.names)}"
        )
    found = evaluate(space, [said], Judged(truth, units(_undivided(space), Rows.of(table))), bootstrap=bootstrap)
    document = {
        "format_version": FORMAT_VERSION,
        "producer": f"normpipe {__version__}",
        "predictions": predicted.plan.fingerprint.digest,
        "split": split,
        "active_from": active_from,
        "evaluation": score_json(found),
    }
    write_bytes(predicted.out / SCORES_FILE, (json.dumps(document, indent=2) + "\n").encode())
    return found


def score_lines(found: Evaluation) -> Iterator[str]:
    """What there is to say in a few lines: each metric over all labels, with its interval."""
    yield f"{found.rows} labelled rows of {found.people} people"
    for metric, score in found.scores.items():
        yield f"{metric.value}: {_spoken(score.overall)}"


def _read(predicted: PredictionRun, columns: list[str], split: str | None) -> tuple[pa.Table, Floats]:
    """Rows that were predicted, with their labels, and (n, C) scores."""
    names = list(predicted.classifier.space.names)
    wanted = list(dict.fromkeys((*ROW_COLUMNS, *columns)))
    tables, scores = [], []
    for part in predicted.parts:
        rows = _columns(predicted.source.out / SHARDS_FOLDER / part, wanted)
        said = _columns(predicted.out / PREDICTIONS_FOLDER / part, ["sample_id", "status", *names])
        if not rows["sample_id"].equals(said["sample_id"]):
            raise UsageError(f"{PREDICTIONS_FOLDER}/{part}: holds other rows than the run; delete it and predict again")
        kept = pc.equal(said["status"], Status.OK.value)
        if split is not None:
            kept = pc.and_(kept, pc.fill_null(pc.equal(rows["split"], split), False))
        tables.append(rows.filter(kept))
        scores.append(np.stack([said[name].filter(kept).to_numpy() for name in names], axis=1))
    return pa.concat_tables(tables), np.concatenate(scores).astype(np.float32)


def _columns(part: Path, columns: list[str]) -> pa.Table:
    with open_part(part) as file:
        return file.read(columns=columns, use_threads=False)


def _undivided(space: LabelSpace) -> Protocol:
    """All rows as they are: who is independent is told by subject, and by data set."""
    return Protocol(name="rows", task=space.task, labels=space.names, metric=METRICS[space.task][0], absent="one set")


def _spoken(found: Estimate | None) -> str:
    if found is None:
        return "not measurable on these rows"
    if found.low is None or found.high is None:
        return f"{found.value:.4f}"
    return f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"
