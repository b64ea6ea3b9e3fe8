import importlib.util
import sys

import cv2
import pytest
from click.testing import CliRunner

from normpipe.cli import cli, demo, main

needs_photos = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in ("insightface", "skimage")),
    reason="needs the sample photos of the packages insightface and scikit-image",
)


@needs_photos
def test_seven_faces_of_two_photos_are_normalized_and_drawn(tmp_path):
    result = CliRunner().invoke(cli, ["demo", "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    last = result.output.splitlines()[-1]
    assert last == f"7 faces; look at {tmp_path / 'out' / 'run' / 'report' / 'sample.png'}"
    assert cv2.imread(last.rpartition(" ")[2]).shape[1] > 1000


@needs_photos
def test_the_photos_are_found_without_importing_their_packages(tmp_path):
    before = set(sys.modules)
    demo._copy_photos(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["astronaut.png", "group.jpg"]
    assert not {"insightface", "skimage"} & (set(sys.modules) - before)


def test_a_missing_package_is_exit_code_2_and_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "_PHOTOS", (("no_such_package", "x.jpg", "x.jpg"),))
    monkeypatch.setattr(sys, "argv", ["normpipe", "demo", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as leave:
        main()
    assert leave.value.code == 2
    assert "pip install 'normpipe[demo]'" in capsys.readouterr().err
