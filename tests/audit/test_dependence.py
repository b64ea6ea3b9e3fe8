"""Pose and background that still show in the output are found; expression that goes with the pose is not taken for them."""

import numpy as np
import pytest

from normpipe.audit.crossfit import Folds, standardized, subject_folds
from normpipe.audit.dependence import Dependence, DependenceLimits, dependence
from normpipe.audit.figures import Figure, NotMeasurable, Why
from normpipe.audit.groups import Floats, Groups
from tests.audit.factories import FEW, Faces, faces

_LIMITS = DependenceLimits(permutations=50)


def _measured(made: Faces, codes: Floats, nuisance: Floats) -> Dependence:
    found = dependence(codes.astype(np.float32), nuisance, made.expression, made.subjects, FEW, _LIMITS)
    assert isinstance(found, Dependence)
    return found


def _nuisance(made: Faces) -> Floats:
    """Goes with the expression: who is surprised raises the head."""
    own = np.random.default_rng(4).standard_normal((len(made), 2))
    return (own + made.expression[:, :2]).astype(np.float32)


def test_a_nuisance_that_shows_is_found_at_its_size() -> None:
    made = faces(people=100)
    nuisance = _nuisance(made)
    free = nuisance - made.expression[:, :2]
    noise = np.random.default_rng(5).standard_normal((len(made), 2))
    found = _measured(made, free + noise, nuisance)
    assert isinstance(found.by_nuisance, Figure)
    assert found.by_nuisance.value == pytest.approx(0.5, abs=0.05)
    assert found.p == pytest.approx(1 / 51)
    assert found.null < 0.02


def test_expression_that_goes_with_the_nuisance_is_not_taken_for_it() -> None:
    made = faces(people=100)
    found = _measured(made, made.expression[:, :4] + made.person[:, :4], _nuisance(made))
    assert isinstance(found.by_nuisance, Figure)
    assert isinstance(found.by_expression, Figure)
    assert found.by_expression.value > 0.95
    assert found.by_nuisance.value < 0.01


def test_the_null_is_rejected_at_about_its_level() -> None:
    made = faces(people=20, columns=3)
    nuisance = _nuisance(made)

    def p(seed: int) -> float:
        codes = np.random.default_rng(seed).standard_normal((len(made), 2)).astype(np.float32)
        found = dependence(codes, nuisance, made.expression, made.subjects, FEW, DependenceLimits(permutations=19))
        assert isinstance(found, Dependence)
        return found.p

    assert np.mean([p(seed) <= 0.1 for seed in range(60)]) <= 0.2


def test_outputs_that_do_not_move_show_nothing() -> None:
    made = faces()
    found = dependence(np.ones((len(made), 3), np.float32), _nuisance(made), made.expression, made.subjects, FEW, _LIMITS)
    assert isinstance(found, NotMeasurable)
    assert found.why is Why.NO_VARIATION


def test_one_image_of_each_person_is_not_measurable() -> None:
    made = faces()
    found = dependence(made.original, _nuisance(made), made.expression, np.arange(len(made)).astype(str), FEW, _LIMITS)
    assert isinstance(found, NotMeasurable)
    assert found.why is Why.ONE_IMAGE_PER_SUBJECT


def test_figures_repeat_to_the_last_digit() -> None:
    made = faces()
    assert _measured(made, made.original, _nuisance(made)) == _measured(made, made.original, _nuisance(made))


def test_folds_share_no_person_and_held_out_errors_are_those_of_a_plain_fit() -> None:
    made = faces(people=100, columns=2)
    people = Groups.of(made.subjects)
    fold = subject_folds(people, 5, 0)
    assert all(len(set(fold[people.index == person])) == 1 for person in range(len(people)))
    split = Folds(people, fold, people.share)
    inputs = made.original.astype(np.float64)
    targets = standardized(inputs @ np.array([[1.0, 2.0], [0.0, 1.0]]) + 5, people.share)
    base, left = split.errors(inputs[:, :0], targets).sum(), split.errors(inputs, targets).sum()
    assert left / base < 1e-3
    assert base / people.share.sum() == pytest.approx(2, rel=0.05)
