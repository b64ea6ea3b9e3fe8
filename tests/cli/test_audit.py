"""`normpipe audit` as a shell sees it."""

import json

import pytest
from click.testing import CliRunner
from fixtures.audited import finished, write_embedding
from fixtures.command import normpipe

from normpipe.cli import cli


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("audit"), "shard_size=8", people=4)


def test_the_last_line_is_the_page(out, capsys):
    code, printed, _ = normpipe(capsys, "audit", out, "--repetitions", "1", "--hash-ids")
    assert code == 0
    assert printed.splitlines()[-1] == str(out / "audit" / "index.html")
    document = json.loads((out / "audit" / "audit.json").read_text())
    assert document["options"]["repetitions"] == 1
    assert "p000" not in (out / "audit" / "audit.json").read_text()


def test_the_page_is_named_as_the_folder_was_given(out, capsys, monkeypatch):
    monkeypatch.chdir(out.parent)
    code, printed, _ = normpipe(capsys, "audit", out.name, "--repetitions", "1", "--hash-ids")
    assert (code, printed.splitlines()[-1]) == (0, f"{out.name}/audit/index.html")


def test_a_missed_gate_is_a_line_and_exit_code_1(out, tmp_path, capsys):
    pipeline = tmp_path / "gates.yaml"
    pipeline.write_text("gates:\n  max_identity_auc: 0.5\nnormalize:\n  detail: 1.0\n")
    code, printed, _ = normpipe(capsys, "audit", out, "--repetitions", "1", "--hash-ids", "--pipeline", pipeline)
    assert code == 1
    assert printed.startswith("gates.max_identity_auc=0.5 missed: not measurable, ")
    assert json.loads((out / "audit" / "audit.json").read_text())["passed"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "normalize.detail=1"], "an audit takes keys of gates and execution"),
        (["--set", "gates.max_identity_auc=2"], "--set gates.max_identity_auc:"),
        (["--set", "gates.nothing=1"], "--set gates.nothing: there is no such key"),
        (["--columns", "yaw"], "--columns yaw: rows cannot be grouped by it"),
    ],
)
def test_what_it_cannot_do_is_one_line(out, capsys, arguments, message):
    code, _, errors = normpipe(capsys, "audit", out, "--repetitions", "1", *arguments)
    assert code == 2
    last = errors.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last


def test_a_file_that_is_no_embedding_is_one_line(out, tmp_path, capsys):
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    code, _, errors = normpipe(capsys, "audit", out, "--identity", tmp_path / "noise.onnx")
    assert code == 2
    assert errors == "error: --identity noise.onnx: not a readable ONNX file\n"


def test_a_missing_package_is_one_line(out, capsys, monkeypatch):
    import normpipe.cli.audit as command

    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "sklearn" else object())
    code, _, errors = normpipe(capsys, "audit", out)
    assert code == 2
    assert errors == "error: audit needs scikit-learn: pip install 'normpipe[audit]'\n"


def test_a_folder_that_is_no_run_and_an_unfinished_run_are_one_line(out, tmp_path, capsys):
    (tmp_path / "no-run").mkdir()
    code, _, errors = normpipe(capsys, "audit", tmp_path / "no-run")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "plan.json" in errors
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "plan.json").write_bytes((out / "plan.json").read_bytes())
    code, _, errors = normpipe(capsys, "audit", unfinished)
    assert code == 2
    assert "not finished (0 of 3 shards)" in errors


def test_two_workers_of_the_command_line(out, tmp_path, capsys):
    pytest.importorskip("onnx")
    embedding = write_embedding(tmp_path / "fields.onnx")
    arguments = ("audit", out, "--repetitions", "1", "--identity", embedding, "--workers", "2", "--keep-features")
    assert normpipe(capsys, *arguments)[0] == 0
    assert (out / "audit" / "identity.png").is_file()
    assert len(list((out / "audit" / "features").glob("part-*.parquet"))) == 3


def test_help_has_an_example():
    assert "normpipe audit out/ --identity arcface.onnx" in CliRunner().invoke(cli, ["audit", "--help"]).output
