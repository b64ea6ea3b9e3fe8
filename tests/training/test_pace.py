"""The learning rate goes up and down once."""

import numpy as np
import pytest

from normpipe.training.pace import cycle


def test_the_learning_rate_rises_and_falls_to_nothing():
    rates = [cycle(step, 100, 0.1) for step in range(100)]
    assert max(rates) == pytest.approx(1, abs=0.03)
    assert np.argmax(rates) in {9, 10}
    assert rates[0] < 0.05
    assert 0 < rates[-1] < 0.001
