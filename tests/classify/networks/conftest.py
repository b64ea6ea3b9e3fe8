"""Tests of networks skip without torch, and take one thread: two of them wait for each other longer than tiny networks compute."""

import pytest

torch = pytest.importorskip("torch", reason="the package torch is not installed")

torch.set_num_threads(1)
