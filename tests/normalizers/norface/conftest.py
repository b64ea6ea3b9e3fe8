"""A tiny network, saved as a real one is."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> Path:
    """The folder of a tiny network with random weights; not to be changed."""
    from .tiny import tiny

    folder = tmp_path_factory.mktemp("norface") / "tiny"
    tiny().save_pretrained(folder)
    return folder


@pytest.fixture
def copied(saved, tmp_path) -> Path:
    """Its copy, to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))
