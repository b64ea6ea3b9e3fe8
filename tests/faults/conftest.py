"""Photos, a manifest over them and the undisturbed run that every disturbed one is compared with."""

import csv
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from fixtures.photos import astronaut
from fixtures.runs import digests

from faults import command

PLUGINS = Path(__file__).parent / "plugins"
"""On PYTHONPATH, so that the run's processes find them: a file system that fails, decoders that die."""

PHOTOS, ROWS, SHARD_ROWS = 24, 240, 16


@dataclass(frozen=True)
class Case:
    """A run to disturb.

    Attributes:
        photos: ROOT.
        manifest: Rows that repeat the photos under new ids.
        options: Of the command, without OUT.
    """

    photos: Path
    manifest: Path
    options: tuple[str, ...]

    def start(self, out, *options, **surroundings):
        return command.start(self.manifest, out, *self.options, *options, **surroundings)

    def run(self, out, *options, **surroundings):
        return command.run(self.manifest, out, *self.options, *options, **surroundings)


def write_photos(folder):
    """Crops of one photo, each with another light, so that all differ."""
    photo, random = astronaut(), np.random.default_rng(0)
    for number in range(PHOTOS):
        left, top = (int(value) for value in random.integers((40, 0), (120, 40)))
        part = photo[top : top + 280, left : left + 280].astype(np.float32) * random.uniform(0.6, 1.2)
        picture = np.clip(part, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"photo{number:02d}.jpg"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


@pytest.fixture(scope="session")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    photos = folder / "photos"
    photos.mkdir()
    write_photos(photos)
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sample_id", "uri", "subject"])
        for row in range(ROWS):
            writer.writerow([f"row{row:04d}", f"photo{row * PHOTOS // ROWS:02d}.jpg", f"s{row % 7}"])
    return Case(photos, manifest, ("--root", str(photos), "--shard-size", str(SHARD_ROWS)))


@pytest.fixture(scope="session")
def undisturbed(case, tmp_path_factory):
    """Digests of both tables of a serial run that nothing happened to."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    code, text = case.run(out)
    assert code == 0, text
    return digests(out)


@pytest.fixture(scope="session")
def plugins():
    """Environment with which processes find the plugins."""
    return {"PYTHONPATH": str(PLUGINS)}


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system of a given size in memory; skips without the right to mount."""
    mounted = []

    def mount(size):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        asked = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
        )
        if asked.returncode != 0:
            pytest.skip("needs the right to mount a file system")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


def needs(program):
    if shutil.which(program) is None:
        pytest.skip(f"needs the program {program}")
