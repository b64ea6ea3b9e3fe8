"""Fixtures that several test modules share."""

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of large inputs beside the repository; the tests that need it skip where it is absent."""
    if not _SHARED.is_dir():
        pytest.skip("needs the folder ../shared (real photos, clips and reference models)")
    return _SHARED
