"""Fixtures that several test modules share."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from normpipe.batches import Image

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


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int, int], Image]:
    """Takes a screenshot of a URL in a window of so many pixels, with Debian's chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's chromium")
    folder = tmp_path_factory.mktemp("browser")
    shot = folder / "shot.png"
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *quiet, f"--user-data-dir={folder}/profile"]

    def screenshot(url: str, width: int, height: int) -> Image:
        command = [chromium, *flags, f"--window-size={width},{height}", f"--screenshot={shot}", url]
        subprocess.run(command, capture_output=True, timeout=120, check=True)
        return np.asarray(PillowImage.open(shot).convert("RGB"))

    return screenshot
