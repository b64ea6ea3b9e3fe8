import io
import time

import cv2
import pytest
from click.testing import CliRunner
from fixtures.command import normpipe
from rich.console import Console

from normpipe.cli import cli
from normpipe.engine.lock import locked
from normpipe.engine.progress import Progress, ProgressFile, read_progress
from normpipe.records import Reason


@pytest.fixture(scope="module")
def run_folder(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspected")
    (folder / "photos").mkdir()
    for name in ("A000014", "A000022"):
        (folder / "photos" / f"{name}.jpg").write_bytes((shared / "data/congress-portraits" / f"{name}.jpg").read_bytes())
    (folder / "photos" / "Empty.jpg").write_bytes(b"")
    result = CliRunner().invoke(cli, ["run", str(folder / "photos"), str(folder / "out")])
    assert result.exit_code == 0, result.output
    return folder


def test_status_tells_counts_reasons_and_whether_a_run_is_alive(run_folder, capsys):
    code, out, _ = normpipe(capsys, "status", run_folder / "out")
    assert code == 0
    assert "no run is writing here now" in out
    assert "1/1 shards committed: 3 rows, 2 ok, 1 failed (empty_file 1)" in out
    with locked(run_folder / "out"):
        assert "a run is writing here now" in normpipe(capsys, "status", run_folder / "out")[1]


def test_status_of_a_live_run_tells_rate_time_left_and_what_is_held(run_folder, capsys):
    out, clock = run_folder / "out", iter([0.0, 0.0, *[10.0] * 99])
    progress = Progress(100, Console(file=io.StringIO()), clock=lambda: next(clock))
    progress.begin(100, shards=10)
    progress.advance(40, 38, 2)
    progress.hold("part-00003", {Reason.VANISHED: 2})
    with locked(out), ProgressFile(out, progress):
        while read_progress(out) is None:
            time.sleep(0.01)
        text = normpipe(capsys, "status", out)[1]
    assert "40/100 rows" in text
    assert "left, ok 38, failed 2" in text
    assert "0/10 shards committed so far" in text
    assert "held so far: part-00003 vanished 2" in text


@pytest.mark.parametrize("command", [("status",), ("show", "x"), ("export", "target")])
def test_a_folder_that_is_no_run_is_exit_code_2(tmp_path, capsys, command):
    name, *rest = command
    code, _, err = normpipe(capsys, name, tmp_path, *[tmp_path / "new" if word == "target" else word for word in rest])
    assert code == 2
    assert "not a run's folder" in err


def test_show_prints_every_column_that_has_a_value(run_folder, capsys):
    code, out, _ = normpipe(capsys, "show", run_folder / "out", "A000014.jpg")
    assert code == 0
    names = [line.partition(":")[0] for line in out.splitlines()]
    assert {"sample_id", "status", "box", "yaw", "sharpness", "normalized_score", "content_sha256"} <= set(names)
    assert "emotion" not in names


def test_show_draws_source_crop_and_rendering_side_by_side(run_folder, tmp_path, capsys):
    arguments = ("show", run_folder / "out", "A000014.jpg", "-o", tmp_path / "x.png")
    assert normpipe(capsys, *arguments)[0] == 0
    assert cv2.imread(str(tmp_path / "x.png")).shape == (256, 512, 3)
    assert normpipe(capsys, *arguments, "--root", run_folder / "photos")[0] == 0
    assert cv2.imread(str(tmp_path / "x.png")).shape == (256, 768, 3)


def test_show_of_a_failed_sample_says_why_there_is_no_picture(run_folder, tmp_path, capsys):
    code, out, err = normpipe(capsys, "show", run_folder / "out", "Empty.jpg", "-o", tmp_path / "x.png")
    assert code == 2
    assert "reason: empty_file" in out
    assert "has no picture" in err
    assert not (tmp_path / "x.png").exists()


def test_show_of_an_unknown_sample_is_exit_code_2(run_folder, capsys):
    code, _, err = normpipe(capsys, "show", run_folder / "out", "nobody")
    assert code == 2
    assert "no sample 'nobody'" in err


@pytest.mark.parametrize(("layout", "files"), [("folder", 5), ("webdataset", 1)])
def test_export_writes_the_layout(run_folder, tmp_path, capsys, layout, files):
    code, out, _ = normpipe(capsys, "export", run_folder / "out", tmp_path / "x", "--as", layout)
    assert code == 0
    assert "exported" in out
    assert sum(path.is_file() for path in (tmp_path / "x").rglob("*")) == files


def test_show_takes_a_name_whose_bytes_are_no_text(run_folder, capsys):
    code, _, err = normpipe(capsys, "show", run_folder / "out", "bad\udcff.jpg")
    assert code == 2
    assert "no sample 'bad%FF.jpg'" in err
