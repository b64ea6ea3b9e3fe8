"""Results as JSON, and intervals of a mean whose truth is known."""

import json

import numpy as np
import pytest

from normpipe.audit.figures import Figure, NotMeasurable, Why, document
from normpipe.audit.intervals import Bootstrap, measured


def test_results_become_json() -> None:
    found = {"a": Figure(0.5, float("nan"), 1.0), "b": [NotMeasurable(Why.ONE_CLASS, "x")], "c": (1, None, True)}
    expected = {
        "a": {"value": 0.5, "low": None, "high": 1.0},
        "b": [{"why": "one_class", "detail": "x"}],
        "c": [1, None, True],
    }
    assert json.loads(json.dumps(document(found))) == expected
    with pytest.raises(TypeError, match="not a result"):
        document(np.zeros(3))


def test_the_interval_of_a_mean_covers_at_about_its_level() -> None:
    def covered(seed: int) -> bool:
        values = np.random.default_rng(seed).normal(2, 1, 40)
        (found,) = measured(lambda drawn: np.array([drawn @ values / drawn.sum()]), 40, Bootstrap(draws=300, seed=seed))
        assert isinstance(found, Figure)
        return found.low <= 2 <= found.high

    assert 0.90 <= np.mean([covered(seed) for seed in range(300)]) <= 0.98


def test_one_seed_one_interval() -> None:
    values = np.random.default_rng(0).standard_normal(30)

    def found(seed: int) -> object:
        return measured(lambda drawn: np.array([drawn @ values]), 30, Bootstrap(draws=100, seed=seed))

    assert found(1) == found(1)
    assert found(1) != found(2)


def test_a_statistic_without_a_value_is_not_measurable() -> None:
    (found,) = measured(lambda drawn: np.array([np.nan]), 30, Bootstrap(draws=10))
    assert isinstance(found, NotMeasurable)
    assert found.why is Why.NO_VARIATION
