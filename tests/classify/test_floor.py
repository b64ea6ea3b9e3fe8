"""The plain classifier under a training: every task, labels that cannot be learnt, and rows that it must not see."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch", reason="the package torch is not installed")
pytest.importorskip("sklearn", reason="the package scikit-learn is not installed")
pytest.importorskip("skimage", reason="the package scikit-image is not installed")

from normpipe.classify.arms import Arm  # isort: skip
from normpipe.classify.floor import floor_scores  # isort: skip
from normpipe.classify.labels import Targets  # isort: skip
from normpipe.classify.material import read_material  # isort: skip

from .small_training import training, write_people, write_protocol


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return write_people(tmp_path_factory.mktemp("people") / "run")


def material(people, folder, **keys):
    return read_material(training(people, write_protocol(folder, **keys)))


def scores(found, arm=Arm.BOTH, fold="fold1", side="test"):
    return floor_scores(found, found.folds[fold], [arm])[arm][side]


def test_emotions_are_probabilities_and_right_where_stripes_tell_them(people, tmp_path):
    found = material(people, tmp_path)
    said = scores(found)
    assert said.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (said.argmax(axis=1) == found.truth.values[found.folds["fold1"].test].argmax(axis=1)).all()


def test_action_units_are_learnt_from_the_rows_that_know_them(people, tmp_path):
    found = material(people, tmp_path, task="au", labels=["AU06", "AU12"])
    truth = found.truth.taken(found.folds["fold1"].test)
    assert ((scores(found) >= 0.5) == (truth.values > 0))[truth.known].all()


def test_numbers_stay_in_the_range_of_the_task(people, tmp_path):
    found = material(people, tmp_path, task="valence_arousal", labels=["valence", "arousal"], metric="ccc")
    said = scores(found)
    assert np.abs(said).max() <= 1
    valence = found.truth.values[found.folds["fold1"].test, 0]
    assert np.corrcoef(said[:, 0], valence)[0, 1] > 0.9


def test_a_label_that_never_varies_is_said_as_it_is(people, tmp_path):
    found = material(people, tmp_path, task="au", labels=["AU06", "AU12"])
    values = found.truth.values.copy()
    values[:, 1] = 1
    one = dataclasses.replace(found, truth=Targets(values, found.truth.known, found.truth.weights))
    assert (scores(one)[:, 1] == 1).all()
    unknown = found.truth.known.copy()
    unknown[:, 1] = False
    none = dataclasses.replace(found, truth=Targets(found.truth.values, unknown, found.truth.weights))
    assert (scores(none)[:, 1] == 0).all()


def test_labels_of_rows_to_test_decide_about_nothing(people, tmp_path):
    found = material(people, tmp_path)
    fold = found.folds["fold1"]
    values = found.truth.values.copy()
    values[fold.test] = values[fold.test][:, ::-1]
    other = dataclasses.replace(found, truth=Targets(values, found.truth.known, found.truth.weights))
    assert (scores(other) == scores(found)).all()


def test_arms_are_the_same_alone_and_together(people, tmp_path):
    found = material(people, tmp_path)
    together = floor_scores(found, found.folds["fold2"], list(Arm))
    assert list(together) == list(Arm)
    for arm in Arm:
        for side, said in floor_scores(found, found.folds["fold2"], [arm])[arm].items():
            assert (said == together[arm][side]).all()
