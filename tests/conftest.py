"""Fixtures that several test modules share."""

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the tests that kill runs go on: ten moments take an hour."""
    parser.addoption("--moments", type=int, default=1, help="random moments at which each kind of run is killed")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of large inputs beside the repository; the tests that need it skip where it is absent."""
    if not _SHARED.is_dir():
        pytest.skip("needs the folder ../shared (real photos, clips and reference models)")
    return _SHARED
