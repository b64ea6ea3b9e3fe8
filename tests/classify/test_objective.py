"""How much labels count, and that an objective and a network can be chosen before anything heavy is loaded."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from normpipe.classify.labels import Targets, Task
from normpipe.classify.objective import label_weights


def targets(values, known=None, weights=None):
    values = np.asarray(values, np.float32)
    known = np.ones(values.shape, np.bool_) if known is None else np.asarray(known)
    return Targets(values, known, np.ones(len(values), np.float32) if weights is None else np.asarray(weights, np.float32))


def test_rare_action_units_count_more():
    """Weights that are published with the positive rates of BP4D's first fold, https://github.com/CVI-SZU/ME-GraphAU."""
    rates = np.array([0.5, 0.25, 0.1])
    values = np.arange(20)[:, None] / 20 < rates
    weights = label_weights(Task.AU, targets(values))
    np.testing.assert_allclose(weights, (1 / rates) / (1 / rates).mean(), rtol=1e-6)
    assert weights.dtype == np.float32


def test_class_weights_are_scikit_learns_up_to_their_scale():
    classes = np.repeat([0, 1, 2], [5, 2, 11])
    weights = label_weights(Task.EMOTION, targets(np.eye(3)[classes]))
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=classes)
    np.testing.assert_allclose(weights, balanced / balanced.mean(), rtol=1e-6)


def test_a_rate_is_of_what_is_known():
    values = [[1, 1], [0, 0], [0, 1], [0, 0]]
    known = [[True, True], [True, True], [False, True], [False, True]]
    np.testing.assert_allclose(label_weights(Task.AU, targets(values, known)), [1, 1])


def test_rows_of_no_weight_are_not_counted():
    some = targets([[1, 1], [0, 0], [0, 1]], weights=[1, 1, 0])
    np.testing.assert_allclose(label_weights(Task.AU, some), label_weights(Task.AU, some.taken(np.arange(2))))


@given(st.integers(1, 30), st.integers(1, 5), st.integers(0, 99))
def test_the_mean_of_those_that_occur_is_1_and_the_others_are_left_alone(rows, labels, seed):
    generator = np.random.default_rng(seed)
    values = generator.random((rows, labels)) < 0.2
    weights = label_weights(Task.AU, targets(values))
    occurs = values.any(axis=0)
    assert (weights > 0).all()
    assert (weights[~occurs] == 1).all()
    if occurs.any():
        assert weights[occurs].mean() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("task", [Task.AU_INTENSITY, Task.VALENCE_AROUSAL])
def test_numbers_count_alike(task):
    assert label_weights(task, targets([[3, 0], [1, 0]])).tolist() == [1, 1]


def test_options_are_read_without_torch():
    code = "import sys; import normpipe.classify.objective, normpipe.classify.networks.options; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
