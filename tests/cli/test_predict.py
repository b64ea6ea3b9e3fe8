"""`normpipe classify predict` as a shell sees it."""

import json

import pytest

pytest.importorskip("torch", reason="the package torch is not installed")
pytest.importorskip("diffusers", reason="the package diffusers is not installed")

from click.testing import CliRunner
from fixtures.command import normpipe

from normpipe.cli import cli
from tests.classify.predicted import shards, write_files, write_finished
from tests.classify.trained import write_classifier


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("classifier") / "model")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_finished(tmp_path_factory.mktemp("run") / "out", shards())


@pytest.mark.slow
def test_predictions_their_scores_and_their_status(classifier, run, tmp_path, capsys):
    out = tmp_path / "out"
    code, printed, _ = normpipe(capsys, "classify", "predict", classifier, run, out, "--scores")
    assert code == 0
    assert printed.startswith("3/3 shards committed: 27 rows, 23 ok, 4 failed (no_face 4)\n")
    assert "\n23 labelled rows of 6 people\nf1: " in printed
    assert printed.splitlines()[-1] == str(out)
    assert json.loads((out / "scores.json").read_text())["evaluation"]["rows"] == 23
    code, printed, _ = normpipe(capsys, "status", out)
    assert code == 0
    assert "3/3 shards committed" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "test"], "--protocol, --fold, --split and --active-from say what is judged: add --scores"),
        (["--scores", "--active-from", "0"], "Invalid value for '--active-from'"),
        (["--scores", "--fold", "fold1"], "--fold is one of a --protocol, and takes the place of --split"),
        (["--scores", "--protocol", "disfa-au", "--active-from", "2"], "--active-from: the protocol says from which"),
        (["--scores", "--protocol", "disfa"], "disfa: there is no such protocol; name one of "),
        (["--scores", "--protocol", "disfa-au"], "--protocol disfa-au: judges AU02, which the classifier does not know"),
    ],
)
def test_what_it_cannot_do_is_said(classifier, run, tmp_path, capsys, arguments, message):
    code, _, errors = normpipe(capsys, "classify", "predict", classifier, run, tmp_path / "out", *arguments)
    assert code == 2
    assert message in errors


@pytest.mark.slow
def test_one_file_of_another_origin(classifier, tmp_path, capsys):
    release = write_files(tmp_path / "release", shards())
    out = tmp_path / "out"
    command = ("classify", "predict", classifier, f"file://{release}/data/train-00000.parquet", out)
    code, printed, _ = normpipe(capsys, *command)
    assert code == 0
    assert printed.startswith("1/1 shards committed: 11 rows, 10 ok, 1 failed (no_face 1)\n")
    code, printed, _ = normpipe(capsys, "status", out)
    assert code == 0
    assert "1/1 shards committed" in printed


@pytest.mark.slow
def test_without_a_gpu_that_is_one_line(classifier, run, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code, _, errors = normpipe(capsys, "classify", "predict", classifier, run, tmp_path / "out", "--device", "cuda")
    assert code == 2
    assert errors.splitlines()[-1] == "error: torch sees no CUDA device; choose --device cpu"


def test_no_classifier_and_no_run_are_one_line(classifier, run, tmp_path, capsys):
    code, _, errors = normpipe(capsys, "classify", "predict", tmp_path / "none", run, tmp_path / "out")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert errors.startswith("error: classifier none: no such folder; ")
    (tmp_path / "no-run").mkdir()
    code, _, errors = normpipe(capsys, "classify", "predict", classifier, tmp_path / "no-run", tmp_path / "out")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert errors.startswith("error: no-run: holds no Parquet files; ")
    assert not (tmp_path / "out").exists()


def test_help_has_an_example():
    shown = CliRunner().invoke(cli, ["classify", "predict", "--help"]).output
    assert "normpipe classify predict au/fold1/best/ out/ predicted/" in shown
