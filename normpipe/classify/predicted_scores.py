"""scores.json: what predictions are worth where the rows are labelled, with intervals over people.

The labels are those of the pairs, read when they are wanted: a prediction knows nothing of them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from normpipe import __version__
from normpipe.audit.groups import Floats, Mask
from normpipe.audit.intervals import Bootstrap
from normpipe.classify.folds import ROW_COLUMNS, Rows, folds, protocol_targets, units
from normpipe.classify.labels import LabelSpace, Targets, Task, label_columns, targets
from normpipe.classify.metrics import METRICS
from normpipe.classify.predicted_rows import PREDICTIONS_FOLDER
from normpipe.classify.prediction_run import PredictionRun
from normpipe.classify.protocols import Protocol
from normpipe.classify.scores import Estimate, Evaluation, Judged, evaluate, score_json
from normpipe.errors import UsageError
from normpipe.records import FORMAT_VERSION, PAIRS_SCHEMA, Status
from normpipe.shards.atomic import write_bytes

SCORES_FILE = "scores.json"

_REMEDY = "delete this file and give the same `normpipe classify predict` command again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """What predictions are judged by. Without a protocol, emotions that the classifier does not know are left out.

    Attributes:
        protocol: Whose labels are judged, read and thresholded as it says, on the rows of its data sets; of one that divides by
            the column split, on its test rows. None for the classifier's own labels on all rows.
        fold: The fold of the protocol whose test rows are judged; None for all rows.
        split: The split whose rows are judged.
        active_from: Without a protocol, see labels.targets.
    """

    protocol: Protocol | None = None
    fold: str | None = None
    split: str | None = None
    active_from: float | None = None

    def check(self, space: LabelSpace) -> None:
        """Make sure that a classifier of `space` can be judged so.

        Raises:
            UsageError: it does not know what the protocol judges.
        """
        if self.protocol is None:
            return
        asked = self.protocol.space
        if asked.task is not space.task:
            raise UsageError(f"--protocol {self.protocol.name}: judges {asked.task}, the classifier says {space.task}")
        lacking = [name for name in asked.names if name not in space.names]
        if lacking:
            raise UsageError(f"--protocol {self.protocol.name}: judges {lacking[0]}, which the classifier does not know")
        if asked.task is Task.EMOTION and len(asked) < len(space):
            raise UsageError(
                f"--protocol {self.protocol.name}: has {len(asked)} emotions, the classifier chooses among {len(space)}"
            )

    def space(self, own: LabelSpace) -> LabelSpace:
        """Labels that are judged, of a classifier's own ones."""
        return own if self.protocol is None else self.protocol.space

    def columns(self, own: LabelSpace) -> list[str]:
        """Label columns that it takes."""
        if self.protocol is None:
            return label_columns(own, active_from=self.active_from)
        return self.protocol.label_columns

    def truth(self, table: pa.Table, own: LabelSpace) -> Targets:
        """Labels of rows.

        Raises:
            UsageError: a label cannot be right.
        """
        if self.protocol is None:
            return targets(table, own, active_from=self.active_from, leave_out_other_emotions=True)
        return protocol_targets(self.protocol, table)

    def rows(self, rows: Rows, truth: Targets) -> tuple[Mask, str]:
        """(n,) which rows are judged, and what messages call them.

        Raises:
            UsageError: the protocol has no such fold, or does not fit the rows.
        """
        if self.split is not None:
            return rows.splits == self.split, f"rows of the split {self.split}"
        if self.protocol is not None and self.fold is not None:
            tested = {fold.name: fold.test for fold in folds(self.protocol, rows, truth)}
            if self.fold not in tested:
                raise UsageError(f"--fold {self.fold}: the protocol {self.protocol.name} has {', '.join(tested)}")
            chosen = np.zeros(len(rows), np.bool_)
            chosen[tested[self.fold]] = True
            return chosen, f"rows that {self.fold} tests"
        if self.protocol is not None and self.protocol.splits is not None:
            words = self.protocol.splits.test
            return np.isin(rows.splits, words), f"rows of the split {' or '.join(words)}"
        return np.ones(len(rows), np.bool_), "rows"


def score_predictions(predicted: PredictionRun, judging: Judging, bootstrap: Bootstrap | None = None) -> Evaluation:
    """Judge the predictions of a finished prediction and write OUT/scores.json.

    Args:
        predicted: All of whose shards are committed.
        judging: By what.
        bootstrap: Draws of people; None for no intervals.

    Raises:
        UsageError: no row with a prediction has a label, a label cannot be right, or the protocol does not fit them.
    """
    own = predicted.classifier.space
    judging.check(own)
    space = judging.space(own)
    table, said = _read(predicted, judging.columns(own), space)
    truth, rows = judging.truth(table, own), Rows.of(table)
    chosen, called = judging.rows(rows, truth)
    if not truth.known[chosen].any():
        raise UsageError(
            f"--scores: none of the {int(chosen.sum())} {called} of {predicted.source.name} that were predicted has a label of "
            f"{', '.join(space.names)}"
        )
    protocol = judging.protocol or _undivided(space)
    judged = Judged(truth.taken(chosen), units(protocol, rows)[chosen])
    found = evaluate(space, [said[chosen]], judged, threshold=protocol.threshold, bootstrap=bootstrap)
    document = {
        "format_version": FORMAT_VERSION,
        "producer": f"normpipe {__version__}",
        "predictions": predicted.plan.fingerprint.digest,
        "protocol": None if judging.protocol is None else judging.protocol.name,
        "fold": judging.fold,
        "split": judging.split,
        "active_from": judging.active_from,
        "evaluation": score_json(found),
    }
    write_bytes(predicted.out / SCORES_FILE, (json.dumps(document, indent=2) + "\n").encode())
    return found


def score_lines(found: Evaluation) -> Iterator[str]:
    """What there is to say in a few lines: each metric over all labels, with its interval."""
    yield f"{found.rows} labelled rows of {found.people} people"
    for metric, score in found.scores.items():
        yield f"{metric.value}: {_spoken(score.overall)}"


def _read(predicted: PredictionRun, columns: list[str], space: LabelSpace) -> tuple[pa.Table, Floats]:
    """Rows that were predicted, with their labels, and (n, C) scores."""
    wanted = list(dict.fromkeys((*ROW_COLUMNS, *columns)))
    tables, scores = [], []
    for shard, part in zip(predicted.plan.shards, predicted.source.parts, strict=True):
        rows = part.table(pa.schema([PAIRS_SCHEMA.field(name) for name in wanted]))
        said = _said(predicted.out / PREDICTIONS_FOLDER / f"{shard.name}.parquet", ["sample_id", "status", *space.names])
        if not rows["sample_id"].equals(said["sample_id"]):
            raise UsageError(f"{PREDICTIONS_FOLDER}/{shard.name}.parquet: holds other rows than {part.file}; {_REMEDY}")
        kept = pc.equal(said["status"], Status.OK.value)
        tables.append(rows.filter(kept))
        scores.append(np.stack([said[name].filter(kept).to_numpy() for name in space.names], axis=1))
    return pa.concat_tables(tables), np.concatenate(scores).astype(np.float32)


def _said(part: Path, columns: list[str]) -> pa.Table:
    """Columns of a file of predictions."""
    try:
        return pq.read_table(part, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:  # Arrow raises either, by what is damaged
        raise UsageError(f"{PREDICTIONS_FOLDER}/{part.name}: damaged; {_REMEDY}") from error


def _undivided(space: LabelSpace) -> Protocol:
    """All rows as they are: who is independent is told by subject, and by data set."""
    return Protocol(name="rows", task=space.task, labels=space.names, metric=METRICS[space.task][0], absent="one set")


def _spoken(found: Estimate | None) -> str:
    if found is None:
        return "not measurable on these rows"
    if found.low is None or found.high is None:
        return f"{found.value:.4f}"
    return f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"
