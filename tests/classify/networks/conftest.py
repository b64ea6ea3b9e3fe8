"""Tests of networks skip without torch, and take one thread: two wait for each other longer than tiny networks compute."""

import pytest

torch = pytest.importorskip("torch", reason="the package torch is not installed")

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed():
    """The same random weights in every test, in whatever order they run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
