import hashlib
import json
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from fixtures.command import normpipe
from fixtures.normalizers import GreyComposite

from normpipe.cli import cli
from normpipe.engine.lock import locked
from normpipe.shards.reader import iter_rows

PORTRAITS = ("A000014", "A000022", "A000055")


@pytest.fixture(autouse=True)
def grey(monkeypatch):
    monkeypatch.setattr("normpipe.stages.pairs_task.build_normalizer", lambda pipeline: GreyComposite())


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
    assert "config.encode.quality: 92 -> 80" in err


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


@pytest.fixture(scope="module")
def many(shared, tmp_path_factory):
    """Forty portraits, and the digests of the shards of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "photos").mkdir()
    for path in sorted((shared / "data/congress-portraits").glob("*.jpg"))[:40]:
        (folder / "photos" / path.name).write_bytes(path.read_bytes())
    subprocess.run(_command(folder / "photos", folder / "whole"), check=True, capture_output=True)
    return folder / "photos", _digests(folder / "whole")


def _command(photos, out, *options):
    return [sys.executable, "-m", "normpipe", "run", str(photos), str(out), "--shard-size=4", *options]


def _digests(out):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (out / "shards").glob("*.parquet")}


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
    assert len(list((out / "journal").iterdir())) < len(whole)
    subprocess.run(_command(photos, out), check=True, capture_output=True)
    assert _digests(out) == whole


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


@pytest.mark.parametrize("arguments", [("", "out"), ("{photos}", ""), ("{photos}", "{photos}")])
def test_an_empty_argument_and_the_inputs_own_folder_are_refused(photos, tmp_path, capsys, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, _, err = normpipe(capsys, "run", *(argument.format(photos=photos) for argument in arguments))
    assert code == 2
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
    assert not (photos / "plan.json").exists()
