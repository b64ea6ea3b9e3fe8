"""What the classifiers of a training are worth, as JSON documents: of one fold, and over all folds of the protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from normpipe.audit.document import Document, at
from normpipe.audit.figures import Json, document
from normpipe.audit.groups import Floats, Indices
from normpipe.audit.intervals import Bootstrap
from normpipe.classify.folds import Fold
from normpipe.classify.material import Material
from normpipe.classify.objective import label_weights
from normpipe.classify.readings import Readings
from normpipe.classify.scores import Judged, evaluate, score_json

SCORES_FILE = "scores.json"
FORMAT_VERSION = 1

TEST, VALIDATION = "test", "validation"
"""Sides of a fold that are not learnt from."""

BEST, LAST = "best", "last"
"""The networks of a fold: with the averaged weights of its best epoch, and of its last one."""


def judged_sides(fold: Fold) -> dict[str, Indices]:
    """Rows by side, where there are any."""
    sides = {VALIDATION: fold.validation, TEST: fold.test}
    return {side: rows for side, rows in sides.items() if len(rows)}


@dataclass(frozen=True, slots=True)
class Result:
    """What one network says of the rows that it did not learn from.

    Attributes:
        name: Which of the fold's networks it is.
        epoch: After which its weights were taken, from 1.
        readings: By side of the fold, where that has rows.
    """

    name: str
    epoch: int
    readings: Mapping[str, Readings]


def fold_document(material: Material, fold: Fold, results: Sequence[Result], draws: int, seed: int) -> Document:
    """Scores of a fold: by side and network, with intervals over people.

    Args:
        material: Whose rows.
        fold: Which of them.
        results: Of each network.
        draws: Of people, 0 for no intervals.
        seed: Of the draws.
    """
    sides = judged_sides(fold)
    own = material.truth.taken(fold.train)
    weights = label_weights(material.protocol.task, own).tolist()
    found: dict[str, Json] = {
        **_about(material),
        "fold": fold.name,
        "rows": {"train": len(fold.train), **{side: len(rows) for side, rows in sides.items()}},
        "label_weights": document(dict(zip(material.protocol.space.names, weights, strict=True))),
        "nothing_to_learn": document(material.constant(fold)),
        "epochs": {result.name: result.epoch for result in results},
    }
    for side, rows in sides.items():
        judged = Judged(material.truth.taken(rows), material.units[rows])
        found[side] = {result.name: _scores(material, result.readings[side].scores, judged, draws, seed) for result in results}
    test = {result.name: result.readings[TEST] for result in results}
    found["experts"] = document({name: readings.experts for name, readings in test.items()})
    found["regions"] = document({name: readings.regions for name, readings in test.items()})
    return found


def protocol_document(material: Material, scores: Mapping[str, Sequence[Floats]], draws: int, seed: int) -> Document:
    """Scores over all folds, each fold judged for itself.

    Args:
        material: Whose rows.
        scores: (n, C) of each fold's test rows, by network.
        draws: Of people, 0 for no intervals.
        seed: Of the draws.
    """
    folds = list(material.folds.values())
    rows = np.concatenate([fold.test for fold in folds])
    names = np.repeat([fold.name for fold in folds], [len(fold.test) for fold in folds])
    judged = Judged(material.truth.taken(rows), material.units[rows], folds=names)
    found = {name: _scores(material, np.concatenate(parts), judged, draws, seed) for name, parts in scores.items()}
    return {**_about(material), TEST: found}


def headline(found: Document, name: str) -> str:
    """The protocol's metric on the test rows, in words."""
    metric = at(found, "metric")
    numbers = [at(found, TEST, name, "scores", str(metric), "overall", key) for key in ("value", "low", "high")]
    value, low, high = (each if isinstance(each, int | float) else None for each in numbers)
    if value is None:
        return f"{metric} cannot be measured on the test rows"
    extent = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
    return f"{metric} {value:.3f}{extent} on {at(found, TEST, name, 'rows')} test rows ({name} epoch)"


def _about(material: Material) -> dict[str, Json]:
    protocol = material.protocol
    return {
        "format_version": FORMAT_VERSION,
        "protocol": protocol.name,
        "metric": protocol.metric.value,
        "left_out": {reason.value: count for reason, count in material.shards.left_out.items()},
    }


def _scores(material: Material, predicted: Floats, judged: Judged, draws: int, seed: int) -> Json:
    protocol = material.protocol
    bootstrap = Bootstrap(draws=draws, seed=seed) if draws else None
    return score_json(evaluate(protocol.space, [predicted], judged, threshold=protocol.threshold, bootstrap=bootstrap))
