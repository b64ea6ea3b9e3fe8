"""Predictions are judged by the labels of their run, row by row."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from normpipe.audit.intervals import Bootstrap
from normpipe.classify.arms import Arm
from normpipe.classify.labels import LabelSpace, Task
from normpipe.classify.protocols import Protocol
from normpipe.errors import UsageError

from .networks.tiny import SPACES
from .pair_shards import failed, pair
from .predicted import SIDE, predict, write_files, write_finished
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


def protocol(**columns):
    """One that judges two of the classifier's units."""
    return Protocol(name="mine", task=Task.AU, labels=("AU12", "AU04"), metric=Metric.F1, threshold=0.25, **columns)


def test_a_protocol_says_which_labels_are_judged_and_from_where(predicted):
    found = score_predictions(predicted, Judging(protocol=protocol(absent="one set")))
    scores = said(predicted, "AU12")
    right = [(score >= 0.25) == bool(int(sample[1:]) % 2) for sample, score in scores.items()]
    assert found.known == {"AU12": 17, "AU04": 0}
    assert found.threshold == 0.25
    assert found.scores[Metric.ACCURACY].by_label["AU12"].value == pytest.approx(np.mean(right))


def test_each_data_set_is_read_as_the_protocol_says(tmp_path):
    """Of one the intensities count from 3 on, of the other from 1 on; a third takes no part."""
    names = ("one", "other", "third")
    rows = [pair(number, SIDE, dataset=names[number % 3], au_intensity_12=number % 5) for number in range(20)]
    release = write_files(tmp_path / "release", [rows])
    classifier = write_classifier(tmp_path / "model")
    predict(classifier, release, tmp_path / "out")
    mine = protocol(datasets={"one": {"active_from": 3}, "other": {"active_from": 1}}, absent="no lists")
    found = score_predictions(plan_predictions(str(classifier), str(release), tmp_path / "out"), Judging(protocol=mine))
    least = {"one": 3, "other": 1}
    judged = [row for row in rows if row["dataset"] in least]
    assert found.known["AU12"] == len(judged)
    assert found.positive["AU12"] == sum(row["au_intensity_12"] >= least[row["dataset"]] for row in judged)
    document = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert (document["protocol"], document["fold"]) == ("mine", None)


def test_a_protocol_of_splits_judges_its_test_rows(predicted):
    mine = protocol(splits={"train": ["train"], "test": ["test"]})
    tested = sum(int(sample[1:]) % 3 > 0 for sample in said(predicted, "AU12"))
    assert score_predictions(predicted, Judging(protocol=mine)).rows == tested
    assert score_predictions(predicted, Judging(protocol=mine, split="train")).rows == 17 - tested


def test_a_fold_judges_the_people_that_it_tests(predicted):
    people = [f"p{number}" for number in range(7)]
    mine = protocol(parts={"A": people[:2], "B": people[2:]}, folds={"fold1": "A", "fold2": "B"}, validation={"one_in": 0})
    tested = [sample for sample in said(predicted, "AU12") if int(sample[1:]) % 7 < 2]
    found = score_predictions(predicted, Judging(protocol=mine, fold="fold1"))
    assert (found.rows, found.people) == (len(tested), 2)
    with pytest.raises(UsageError, match=r"^--fold fold3: the protocol mine has fold1, fold2$"):
        score_predictions(predicted, Judging(protocol=mine, fold="fold3"))


@pytest.mark.parametrize(
    ("task", "labels", "metric", "message"),
    [
        (Task.EMOTION, ("happiness", "fear"), Metric.ACCURACY, "judges emotion, the classifier says au"),
        (Task.AU, ("AU12", "AU26"), Metric.F1, "judges AU26, which the classifier does not know"),
    ],
)
def test_a_protocol_of_something_else_is_refused(task, labels, metric, message, predicted):
    mine = Protocol(name="mine", task=task, labels=labels, metric=metric, absent="one set")
    with pytest.raises(UsageError, match=f"^--protocol mine: {message}$"):
        score_predictions(predicted, Judging(protocol=mine))


def test_a_choice_among_more_emotions_is_no_choice_among_fewer():
    names = ("happiness", "neutral", "fear")
    mine = Protocol(name="mine", task=Task.EMOTION, labels=names[:2], metric=Metric.ACCURACY, absent="one set")
    with pytest.raises(UsageError, match=r"^--protocol mine: has 2 emotions, the classifier chooses among 3$"):
        Judging(protocol=mine).check(LabelSpace(Task.EMOTION, names))


def test_labels_that_a_release_lacks_are_unknown(tmp_path):
    rows = [pair(number, SIDE) for number in range(8)]
    release = write_files(tmp_path / "release", [rows], without=["au_occurrence_01", "weight", "split", "subject"])
    classifier = write_classifier(tmp_path / "model")
    predict(classifier, release, tmp_path / "out")
    found = score_predictions(plan_predictions(str(classifier), str(release), tmp_path / "out"), Judging())
    assert (found.known["AU01"], found.known["AU12"], found.people) == (0, 8, 8)


def test_a_damaged_file_of_predictions_says_how_to_get_it_again(predicted, tmp_path):
    out = shutil.copytree(predicted.out, tmp_path / "out")
    part = out / "predictions" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    broken = replace(predicted, task=replace(predicted.task, out=out))
    with pytest.raises(
        UsageError, match=r"^predictions/part-00001\.parquet: damaged; delete this file and give the same `norm"
    ) as e:
        score_predictions(broken, Judging())
    assert "`normpipe classify predict`" in str(e.value)


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
