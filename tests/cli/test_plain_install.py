"""What an installation without extras can do: nothing else is imported on the way than what it depends on."""

import json
import subprocess
import sys
from importlib.metadata import packages_distributions, requires

import cv2
import pytest
from fixtures.photos import astronaut
from fixtures.released import write_key, write_terms
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_RUN = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv = ["normpipe", *ARGUMENTS]
from normpipe.cli import main
main()
"""


def needed() -> set[str]:
    """Distributions that come with normpipe without extras."""
    found: set[str] = set()
    waiting = ["normpipe"]
    while waiting:
        name = waiting.pop()
        for text in requires(name) or []:
            requirement = Requirement(text)
            word = canonicalize_name(requirement.name)
            if word not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
                found.add(word)
                waiting.append(word)
    return found | {"normpipe"}


@pytest.fixture(scope="module")
def absent() -> list[str]:
    """Packages that are installed here but not with normpipe alone."""
    ours = needed()
    return [
        package
        for package, distributions in packages_distributions().items()
        if not ours & {canonicalize_name(each) for each in distributions}
    ]


def test_a_plain_installation_lacks_what_only_extras_bring(absent):
    assert {"torch", "sklearn", "skimage", "mediapipe", "insightface"} & set(absent)
    assert not {"numpy", "cv2", "pyarrow", "scipy", "dask"} & set(absent)


def test_it_runs_reports_and_releases(absent, tmp_path):
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "Astronaut.png"), astronaut()[..., ::-1])
    key, terms = write_key(tmp_path / "key"), write_terms(tmp_path / "terms.yaml")

    def normpipe(*arguments: str) -> str:
        code = f"ABSENT = set({json.dumps(absent)})\nARGUMENTS = {json.dumps(arguments)}\n{_RUN}"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "1 rows, 1 ok" in normpipe("run", "photos", "out")
    assert "1 ok" in normpipe("status", "out")
    normpipe("report", "out")
    normpipe("export", "out", "pictures")
    release = ("release", "build", "out", "-o", "faces", "--name", "faces", "--version", "1.0.0")
    normpipe(*release, "--key-file", key.name, "--terms", terms.name, "--override-audit")
    assert "verified: 1 rows" in normpipe("release", "verify", "faces")
    normpipe("release", "push", "faces", str(tmp_path / "there"))
    normpipe("release", "pull", str(tmp_path / "there"), "back")
    normpipe("purge", "out", "--sample", "Astronaut.png")
