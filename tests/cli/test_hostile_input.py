"""One folder of broken and unusual files through the real command: every file becomes a row, none ends the run."""

import io
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from fixtures.clips import write_video
from fixtures.hostile import ORIENTATIONS, encoded, write_accepted, write_frameless_video, write_refused
from fixtures.photos import astronaut
from fixtures.runs import digests
from PIL import Image as PillowImage

from normpipe.shards.reader import iter_rows

_COLOURED = 8.0  # grey levels by which a crop may differ from the plain one where the file holds the face's colours
_WITHOUT_COLOUR = 12.0


# A process inherits the peak of the one that starts it, and the tests' own may be large: a small one stands between.
_MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def _run(folder, out, *options):
    """The command as a shell starts it, its streams as one text, and its peak memory in kilobytes."""
    command = [sys.executable, "-m", "normpipe", "run", str(folder), str(out), *options]
    if os.geteuid() == 0 and shutil.which("setpriv"):  # root reads everything unless it gives that up
        without = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={without}", f"--inh-caps={without}", *command]
    peak = out.with_suffix(".peak")
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(peak), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, int(peak.read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "ok").mkdir()
    (folder / "bad").mkdir()
    return folder


@pytest.fixture(scope="module")
def accepted(folder):
    """Frames by sample id's file."""
    return write_accepted(folder / "ok", astronaut()[:320, 60:380])


@pytest.fixture(scope="module")
def refused(folder):
    """Reason by file."""
    face = astronaut()[:320, 60:380]
    reasons = write_refused(folder / "bad", face)
    write_frameless_video(folder / "bad" / "frameless.mkv")
    locked = folder / "bad" / "locked.jpg"
    locked.write_bytes(encoded(face, "JPEG"))
    locked.chmod(0)
    (folder / "bad" / "half.png").write_bytes(encoded(astronaut()[40:240, 230:400], "PNG"))
    return {**reasons, "frameless.mkv": "no_frames", "locked.jpg": "permission", "half.png": "no_face"}


@pytest.fixture(scope="module")
def tail(folder):
    """A clip without its second half: the frames that are there are rows."""
    whole = write_video(folder / "whole.mkv", count=60)
    content = whole.read_bytes()
    whole.unlink()
    (folder / "bad" / "tail.mkv").write_bytes(content[: len(content) // 2])
    return "bad/tail.mkv"


@pytest.fixture(scope="module")
def outcome(folder, accepted, refused, tail, tmp_path_factory):
    """Exit code, text, peak memory and rows of a run of one process."""
    out = tmp_path_factory.mktemp("runs") / "serial"
    code, text, peak = _run(folder, out)
    return code, text, peak, list(iter_rows(out)) if code == 0 else [], out


def _file(row):
    return row["sample_id"].rpartition("#")[0] or row["sample_id"]


def _crop(row):
    return np.asarray(PillowImage.open(io.BytesIO(row["original"]["bytes"]))).astype(float)


def test_the_run_ends_well_and_tells_no_path(outcome, folder):
    code, text, _, _, _ = outcome
    assert code == 0, text
    assert "Traceback" not in text
    assert str(folder) not in text


def test_every_unusable_file_is_a_row_with_its_reason(outcome, refused):
    rows = {_file(row): row for row in outcome[3]}
    assert {name: rows[f"bad/{name}"]["reason"] for name in refused} == refused
    assert all(rows[f"bad/{name}"]["original"] is None for name in refused)


def test_the_frames_before_a_broken_tail_are_rows(outcome, tail):
    rows = [row for row in outcome[3] if _file(row) == tail]
    assert 10 < len(rows) < 60
    assert [row["frame"] for row in rows] == list(range(len(rows)))


def test_every_usable_file_gives_its_frames(outcome, accepted):
    rows = [row for row in outcome[3] if row["sample_id"].startswith("ok/")]
    found = {}
    for row in rows:
        assert row["status"] == "ok", (row["sample_id"], row["reason"])
        found[_file(row)] = found.get(_file(row), 0) + 1
    # A % that would read as an escape is escaped itself.
    assert found == {f"ok/{name.replace('%25', '%2525')}": count for name, count in accepted.items()}


def test_every_crop_is_upright_and_the_same_face(outcome):
    rows = {row["sample_id"]: row for row in outcome[3] if row["sample_id"].startswith("ok/")}
    plain = rows["ok/plain.png"]
    for name, row in rows.items():
        if name.endswith("#000001"):
            continue  # the darker second frame
        assert abs(row["roll"] - plain["roll"]) < 1, name
        assert abs(row["normalized_roll"]) < 2, name
        most = _WITHOUT_COLOUR if "grey" in name else _COLOURED
        assert np.abs(_crop(row).mean(2) - _crop(plain).mean(2)).mean() < most, name


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_boxes_are_those_of_the_upright_image_whatever_the_exif_orientation(outcome, orientation):
    rows = {row["sample_id"]: row for row in outcome[3]}
    np.testing.assert_allclose(rows[f"ok/exif{orientation}.jpg"]["box"], rows["ok/plain.jpg"]["box"], atol=3)


def test_a_huge_picture_takes_no_memory(outcome):
    assert outcome[2] < 900_000  # its pixels alone would be 2.7 million kilobytes


@pytest.mark.slow
def test_two_workers_write_the_same_bytes(outcome, folder, tmp_path):
    code, text, _ = _run(folder, tmp_path / "out", "--workers", "2")
    assert code == 0, text
    assert "Traceback" not in text
    assert "Warning" not in text
    assert digests(tmp_path / "out") == digests(outcome[4])
