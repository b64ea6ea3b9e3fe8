"""Predictions are judged by the labels of their run, row by row."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from normpipe.audit.intervals import Bootstrap
from normpipe.classify.arms import Arm
from normpipe.classify.labels import Task
from normpipe.errors import UsageError

from .networks.tiny import SPACES
from .pair_shards import failed, pair
from .predicted import SIDE, predict, write_finished
from .trained import write_classifier

from normpipe.classify.metrics import Metric  # isort: skip
from normpipe.classify.predicted_scores import Judging, score_lines, score_predictions  # isort: skip
from normpipe.classify.prediction_run import plan_predictions  # isort: skip


def labelled(number, **columns):
    """A row whose AU12 is shown by every second of them, and whose other units nobody looked at."""
    return pair(number, SIDE, **columns) if number % 9 else failed(number)


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """Of two shards; a third of the rows is of the split test."""
    folder = tmp_path_factory.mktemp("predicted")
    rows = [labelled(number, split="test" if number % 3 else "train") for number in range(20)]
    classifier = write_classifier(folder / "model", arm=Arm.BOTH)
    run = write_finished(folder / "run", [rows[:10], rows[10:]], frames=20)
    assert predict(classifier, run, folder / "out").complete
    return plan_predictions(str(classifier), str(run), folder / "out")


def said(predicted, name):
    """By sample, of rows that were predicted."""
    tables = [pq.read_table(part).to_pylist() for part in sorted((predicted.out / "predictions").iterdir())]
    return {row["sample_id"]: row[name] for rows in tables for row in rows if row[name] is not None}


def test_the_accuracy_is_that_of_counting(predicted):
    found = score_predictions(predicted, Judging())
    scores = said(predicted, "AU12")
    right = [(score >= 0.5) == bool(int(sample[1:]) % 2) for sample, score in scores.items()]
    assert found.rows == len(scores) == 17
    assert found.known == {"AU01": 0, "AU04": 0, "AU12": 17}
    assert found.scores[Metric.ACCURACY].by_label["AU12"].value == pytest.approx(np.mean(right))


def test_rows_of_one_split(predicted):
    found = score_predictions(predicted, Judging(split="test"))
    assert found.rows == sum(int(sample[1:]) % 3 > 0 for sample in said(predicted, "AU12"))


def test_the_file_says_what_was_judged_and_how(predicted):
    score_predictions(predicted, Judging(split="test"), Bootstrap(draws=50))
    content = (predicted.out / "scores.json").read_bytes()
    document = json.loads(content)
    assert document["split"] == "test"
    assert document["predictions"] == predicted.plan.fingerprint.digest
    accuracy = document["evaluation"]["scores"]["accuracy"]["overall"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    score_predictions(predicted, Judging(split="test"), Bootstrap(draws=50))
    assert (predicted.out / "scores.json").read_bytes() == content


def test_lines_give_each_metric_with_its_interval(predicted):
    first, *lines = score_lines(score_predictions(predicted, Judging(), Bootstrap(draws=50)))
    assert first == "17 labelled rows of 7 people"
    assert [line.partition(":")[0] for line in lines] == ["f1", "balanced_f1", "auc", "accuracy", "balanced_accuracy"]
    assert all("[" in line for line in lines)


def test_without_labels_there_is_nothing_to_judge(predicted):
    with pytest.raises(UsageError, match=r"^--scores: none of the 0 rows of the split validation of run that were predicted"):
        score_predictions(predicted, Judging(split="validation"))
    with pytest.raises(UsageError, match=r"^--scores: none of the 17 rows of run that were predicted has a label of AU01, "):
        score_predictions(predicted, Judging(active_from=2))


def test_emotions_that_the_classifier_does_not_know_are_left_out(tmp_path):
    emotions = ("happiness", "neutral", "fear", "sadness", None)
    rows = [pair(number, SIDE, emotion=emotions[number % 5]) for number in range(20)]
    classifier = write_classifier(tmp_path / "model", task=Task.EMOTION)
    run = write_finished(tmp_path / "run", [rows[:10], rows[10:]], frames=20)
    predict(classifier, run, tmp_path / "out")
    predicted = plan_predictions(str(classifier), str(run), tmp_path / "out")
    found = score_predictions(predicted, Judging())
    emotion = said(predicted, "emotion")
    right = [emotion[row["sample_id"]] == row["emotion"] for row in rows if row["emotion"] in SPACES[Task.EMOTION].names]
    assert found.rows == len(right) == 12
    assert found.scores[Metric.ACCURACY].overall.value == pytest.approx(np.mean(right))
