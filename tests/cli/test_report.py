"""`normpipe report` from the command line."""

import sys

import pytest
from click.testing import CliRunner

from normpipe.cli import cli, main


@pytest.fixture
def out(tmp_path):
    for folder in ("shards", "faces", "journal"):
        (tmp_path / "out" / folder).mkdir(parents=True)
    (tmp_path / "out" / "plan.json").write_text("{}")
    return tmp_path / "out"


def test_the_last_line_is_the_pages_path(out):
    result = CliRunner().invoke(cli, ["report", str(out)])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == str(out / "report" / "index.html")
    assert (out / "report" / "index.html").is_file()


def test_a_folder_that_is_no_run_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["normpipe", "report", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "plan.json" in lines[0]
    assert str(tmp_path) not in lines[0]


def test_help_has_an_example():
    assert "Example: normpipe report" in CliRunner().invoke(cli, ["report", "--help"]).output
