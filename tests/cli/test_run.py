import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from fixtures.command import normpipe
from fixtures.runs import digests

from normpipe.cli import cli
from normpipe.engine.lock import locked
from normpipe.shards.reader import iter_rows

PORTRAITS = ("A000014", "A000022", "A000055")


@pytest.fixture
def photos(shared, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in PORTRAITS:
        (folder / f"{name}.jpg").write_bytes((shared / "data/congress-portraits" / f"{name}.jpg").read_bytes())
    (folder / "Empty.jpg").write_bytes(b"")
    return folder


def test_a_folder_becomes_a_run(photos, tmp_path, capsys):
    code, out, _ = normpipe(capsys, "run", photos, tmp_path / "out")
    assert code == 0
    assert "1/1 shards committed: 4 rows, 3 ok, 1 failed (empty_file 1)" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name != ".lock") == [
        "faces",
        "journal",
        "manifest.parquet",
        "plan.json",
        "run.json",
        "run.log",
        "shards",
    ]


def test_the_same_command_again_does_nothing_and_succeeds(photos, tmp_path, capsys):
    normpipe(capsys, "run", photos, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "shards").iterdir()}
    assert normpipe(capsys, "run", photos, tmp_path / "out")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "shards").iterdir()} == before


def test_the_command_line_wins_over_the_file(photos, tmp_path, capsys):
    file = tmp_path / "pipeline.yaml"
    file.write_text("limit: 1\nencode: {format: png}\nsize: 64\n")
    flags = ("--limit", 2, "--set", "encode.format=webp", "--policy", "all")
    code, _, err = normpipe(capsys, "run", photos, tmp_path / "out", "--pipeline", file, *flags)
    assert code == 0, err
    rows = list(iter_rows(tmp_path / "out"))
    assert len(rows) == 2
    assert rows[0]["normalized"]["bytes"].startswith(b"RIFF")
    parts = json.loads((tmp_path / "out" / "plan.json").read_text())["fingerprint_parts"]
    assert (parts["config.limit"], parts["config.size"], parts["config.detect.policy"]) == ("2", "64", '"all"')


def test_a_manifest_needs_its_root(photos, tmp_path, capsys):
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("sample_id,uri,emotion\none,A000014.jpg,happiness\n")
    code, _, _ = normpipe(capsys, "run", manifest, tmp_path / "out", "--root", photos)
    assert code == 0
    assert [row["emotion"] for row in iter_rows(tmp_path / "out")] == ["happiness"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none", "out"), "INPUT 'none': no such file or folder"),
        (("{photos}", "out", "--set", "encode.quality=101"), "--set encode.quality: "),
        (("{photos}", "out", "--set", "encode.qualty=90"), "--set encode.qualty: "),
        (("{photos}", "out", "--identity", "none.jpg"), "--identity: cannot read the photo none.jpg"),
        (("{photos}", "out", "--pipeline", "none.yaml"), "cannot read the pipeline file"),
        (("{photos}", "out", "--policy", "some"), "--policy"),
        (("{photos}", "out", "--workers", "0"), "--workers"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(photos, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = normpipe(capsys, "run", *(argument.format(photos=photos) for argument in arguments))
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_another_configuration_is_exit_code_3_and_named(photos, tmp_path, capsys):
    normpipe(capsys, "run", photos, tmp_path / "out")
    code, _, err = normpipe(capsys, "run", photos, tmp_path / "out", "--set", "encode.quality=80")
    assert code == 3
    assert "(encode.quality: 92 -> 80)" in err


def test_a_second_live_run_is_exit_code_3(photos, tmp_path, capsys):
    with locked(tmp_path / "out"):
        code, _, err = normpipe(capsys, "run", photos, tmp_path / "out")
    assert code == 3
    assert "another run is writing there" in err


def test_a_shard_that_cannot_be_committed_is_exit_code_1(photos, tmp_path, capsys):
    (tmp_path / "out" / "shards").mkdir(parents=True)
    (tmp_path / "out" / "shards" / "part-00000.parquet").mkdir()
    code, out, err = normpipe(capsys, "run", photos, tmp_path / "out", "--shard-size", "2")
    assert code == 1
    assert "part-00000: not committed: Is a directory" in err
    assert "1/2 shards committed" in out
    assert "takes up what is pending" in out


def test_a_dry_run_estimates_and_writes_nothing(photos, tmp_path, capsys):
    code, out, _ = normpipe(capsys, "run", photos, tmp_path / "out", "--dry-run")
    assert code == 0
    assert "4 rows in 1 shards, 1 of them pending" in out
    assert "nothing was written" in out
    assert not (tmp_path / "out").exists()


def free(monkeypatch, size):
    """A disk with so much room."""
    monkeypatch.setattr("normpipe.stages.space.shutil.disk_usage", lambda folder: SimpleNamespace(free=size))


def test_a_disk_without_room_is_told_before_the_work_and_by_the_estimate(photos, tmp_path, capsys, monkeypatch):
    free(monkeypatch, 10_000)
    code, out, err = normpipe(capsys, "run", photos, tmp_path / "out", "--dry-run")
    assert code == 0
    assert "of 0.0 MB free" in out
    assert "warning: the disk of OUT has too little room" in err
    code, _, err = normpipe(capsys, "run", photos, tmp_path / "out")
    assert code == 0
    assert "warning: 4 rows take at least 0 MB and the disk of OUT has 0 MB free" in err
    assert "warning" not in normpipe(capsys, "run", photos, tmp_path / "out")[2]  # nothing is left to do
    free(monkeypatch, 10_000_000)
    assert "warning" not in normpipe(capsys, "run", photos, tmp_path / "new", "--limit", 1)[2]


@pytest.fixture
def incomplete(photos, tmp_path):
    """A manifest that names a photo which is not there, and the options of a run on it."""
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("sample_id,uri\none,A000014.jpg\ngone,Gone.jpg\nthree,A000022.jpg\n")
    return (manifest, tmp_path / "out", "--root", photos, "--shard-size", "1", "--set", "execution.retry_pause=0")


def test_a_photo_that_is_away_holds_its_shard_until_it_is_back(incomplete, photos, tmp_path, capsys):
    code, out, err = normpipe(capsys, "run", *incomplete)
    assert code == 1
    assert "part-00001: not committed: held for vanished 1" in err
    assert "2/3 shards committed: 2 rows, 2 ok\n" in out
    assert "pending: part-00001: held for vanished 1; tried once" in out
    assert "--accept-failures" in out
    code, out, _ = normpipe(capsys, "status", tmp_path / "out")
    assert code == 0
    assert "pending: part-00001: held for vanished 1; tried once" in out
    (photos / "Gone.jpg").write_bytes((photos / "A000055.jpg").read_bytes())
    code, out, _ = normpipe(capsys, "run", *incomplete)
    assert code == 0
    assert "3/3 shards committed: 3 rows, 3 ok\n" in out
    log = (tmp_path / "out" / "run.log").read_text()
    assert all(
        word in log for word in (" started: ", " shard held: part-00001: vanished 1", " resumed: 1 of 3 ", " finished: ")
    )
    assert not any(private in log for private in ("gone", "Gone", str(tmp_path)))


def test_failures_that_are_accepted_are_committed_and_may_be_retried(incomplete, photos, capsys):
    code, out, _ = normpipe(capsys, "run", *incomplete, "--accept-failures")
    assert code == 0
    assert "3/3 shards committed: 3 rows, 2 ok, 1 failed (vanished 1)" in out
    (photos / "Gone.jpg").write_bytes((photos / "A000055.jpg").read_bytes())
    assert "1 failed" in normpipe(capsys, "run", *incomplete)[1]
    code, out, _ = normpipe(capsys, "run", *incomplete, "--retry-failed")
    assert code == 0
    assert "3/3 shards committed: 3 rows, 3 ok\n" in out


def test_a_replaced_photo_is_exit_code_3_and_its_id_can_be_hidden(photos, tmp_path, capsys):
    normpipe(capsys, "run", photos, tmp_path / "out")
    (photos / "A000014.jpg").write_bytes((photos / "A000022.jpg").read_bytes())
    for options, shown in (((), True), (("--hash-ids",), False)):
        code, _, err = normpipe(capsys, "run", photos, tmp_path / "out", *options)
        assert code == 3
        assert ("A000014" in err) == shown


def test_the_faces_of_a_run_are_rendered_again(photos, tmp_path, capsys):
    normpipe(capsys, "run", photos, tmp_path / "first")
    options = ("--set", "normalize.detail=0")
    code, _, err = normpipe(capsys, "run", photos, tmp_path / "again", "--faces", tmp_path / "first", *options)
    assert code == 0, err
    assert normpipe(capsys, "run", photos, tmp_path / "whole", *options)[0] == 0
    assert digests(tmp_path / "again") == digests(tmp_path / "whole") != digests(tmp_path / "first")


@pytest.fixture(scope="module")
def many(shared, tmp_path_factory):
    """Forty portraits, and the digests of the shards of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "photos").mkdir()
    for path in sorted((shared / "data/congress-portraits").glob("*.jpg"))[:40]:
        (folder / "photos" / path.name).write_bytes(path.read_bytes())
    subprocess.run(_command(folder / "photos", folder / "whole"), check=True, capture_output=True)
    return folder / "photos", digests(folder / "whole")


def _command(photos, out, *options):
    return [sys.executable, "-m", "normpipe", "run", str(photos), str(out), "--shard-size=4", *options]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_run_that_is_ended_by_a_signal_goes_on_to_the_same_bytes(many, tmp_path, number, exit_code, workers):
    photos, whole = many
    out = tmp_path / "out"
    process = subprocess.Popen(_command(photos, out, f"--workers={workers}"), stderr=subprocess.PIPE, text=True)
    while not list((out / "journal").glob("part-*.json")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == exit_code
    assert "Traceback" not in err
    time.sleep(1)  # workers of a killed run notice that they are alone
    assert len(list((out / "journal").glob("part-*.json"))) < len(whole)
    subprocess.run(_command(photos, out), check=True, capture_output=True)
    assert digests(out) == whole


def test_a_reader_who_goes_away_does_not_end_the_run(photos, tmp_path):
    command = [sys.executable, "-m", "normpipe", "run", photos, tmp_path / "out", "--shard-size", "1"]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        ended = subprocess.run(command, stdout=nobody, stderr=subprocess.STDOUT, check=False)
    assert ended.returncode == 0
    assert "finished: 4/4 shards committed" in (tmp_path / "out" / "run.log").read_text()


def test_closed_streams_and_meddling_variables_change_nothing(photos, tmp_path):
    found = []
    for name, surroundings in (("plain", {}), ("odd", {"OPENCV_IO_MAX_IMAGE_PIXELS": "100", "OPENCV_CPU_DISABLE": "AVX2"})):
        command = [sys.executable, "-m", "normpipe", "run", str(photos), str(tmp_path / name)]
        closed = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
        subprocess.run(closed if surroundings else command, env={**os.environ, **surroundings}, check=True, capture_output=True)
        found.append(digests(tmp_path / name))
    assert found[0] == found[1]


def test_a_folder_whose_plan_is_gone_is_refused(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert normpipe(capsys, "run", photos, out)[0] == 0
    (out / "plan.json").unlink()
    code, _, err = normpipe(capsys, "run", photos, out)
    assert code == 3
    assert "plan.json is gone" in err


@pytest.mark.parametrize("command", ["run", "status", "show", "export", "demo"])
def test_help_has_an_example(command):
    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"normpipe {command} " in result.output


def test_more_failed_rows_than_the_gate_allows_is_exit_code_1(photos, tmp_path, capsys):
    assert normpipe(capsys, "run", photos, tmp_path / "out", "--set", "gates.max_failed_fraction=0.25")[0] == 0
    code, out, err = normpipe(capsys, "run", photos, tmp_path / "out", "--set", "gates.max_failed_fraction=0.2")
    assert code == 1
    assert "1/1 shards committed" in out
    assert "error: 1 of 4 rows failed" in err


@pytest.mark.parametrize(
    "arguments", [("", "out"), ("{photos}", ""), ("{photos}", "{photos}"), ("{photos}", "s3://bucket/out")]
)
def test_an_empty_argument_the_inputs_own_folder_and_a_url_for_out_are_refused(
    photos, tmp_path, capsys, monkeypatch, arguments
):
    monkeypatch.chdir(tmp_path)
    code, _, err = normpipe(capsys, "run", *(argument.format(photos=photos) for argument in arguments))
    assert code == 2
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
    assert not (photos / "plan.json").exists()
