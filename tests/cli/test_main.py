"""The entry point: exit codes, one line per error, and nothing heavy before a command needs it."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from normpipe import __version__, errors
from normpipe.cli import _COMMANDS, cli, main
from normpipe.errors import IncompatibleRunError, ModelUnavailableError, NormpipeError, UsageError

HEAVY = ("numpy", "cv2", "pyarrow", "av", "dask", "torch", "PIL", "pydantic")


def outcomes():
    @click.command()
    @click.argument("name")
    @click.pass_context
    def outcome(context: click.Context, name: str) -> None:
        """Ends as it is told."""
        if name == "exit":
            context.exit(5)
        if name == "interrupt":
            raise KeyboardInterrupt
        if name == "abort":
            raise click.Abort
        if name != "fine":
            raise getattr(errors, name)("what: where; what to do")

    return outcome


outcome = outcomes()


@pytest.fixture
def run(monkeypatch, capsys):
    """Exit code and streams of `normpipe outcome NAME`."""
    monkeypatch.setitem(_COMMANDS, "outcome", f"{__name__}:outcome")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["normpipe", *arguments])
        code = 0
        try:
            main()
        except SystemExit as leave:
            code = leave.code or 0
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return call


@pytest.mark.parametrize(
    ("error", "code"), [(NormpipeError, 1), (UsageError, 2), (ModelUnavailableError, 2), (IncompatibleRunError, 3)]
)
def test_an_error_for_the_user_is_one_line_and_its_exit_code(run, error, code):
    assert run("outcome", error.__name__) == (code, "", "error: what: where; what to do\n")


@pytest.mark.parametrize("name", ["interrupt", "abort"])
def test_an_interrupt_is_130(run, name):
    code, _, err = run("outcome", name)
    assert code == 130
    assert err.strip() == "interrupted"


def test_success_is_0(run):
    assert run("outcome", "fine") == (0, "", "")


def test_the_code_of_a_command_is_that_of_the_process(run):
    assert run("outcome", "exit")[0] == 5


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("nothing",), "nothing"), (("outcome",), "NAME"), (("outcome", "fine", "--loud"), "--loud")],
    ids=["command", "argument", "option"],
)
def test_a_wrong_command_line_is_2_and_says_what_is_wrong(run, arguments, word):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert word in err.splitlines()[-1]
    assert "Traceback" not in err


def test_help_and_version_are_0(run):
    code, out, _ = run("--version")
    assert code == 0
    assert __version__ in out
    for flag in ("--help", "-h"):
        code, out, _ = run(flag)
        assert code == 0
        assert all(f"\n  {name} " in out for name in _COMMANDS if name != "outcome")


def leaves(name: str, command: click.Command):
    """Every command below one, as (words, command)."""
    if not isinstance(command, click.Group):
        return [((name,), command)]
    below = [leaf for word, child in command.commands.items() for leaf in leaves(word, child)]
    return [((name, *words), child) for words, child in below]


@pytest.mark.parametrize("name", list(_COMMANDS))
def test_every_command_in_the_table_has_help_with_an_example(name):
    for words, command in leaves(name, cli.get_command(click.Context(cli), name)):
        result = CliRunner().invoke(cli, [*words, "--help"])
        assert result.exit_code == 0
        assert command.help
        assert "Example" in result.output
        assert f"normpipe {' '.join(words)} " in result.output.replace("\n", " ").replace("  ", " ")


def fresh(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_entry_point_imports_nothing_heavy():
    loaded = fresh(f"import normpipe.cli, sys; print(*[name for name in {HEAVY!r} if name in sys.modules])")
    assert loaded.split() == []


def test_a_command_imports_itself_alone():
    code = "import sys; from normpipe.cli import cli; cli.get_command(None, 'status'); print(*sys.modules)"
    modules = fresh(code).split()
    assert "normpipe.cli.inspect" in modules
    assert not {f"normpipe.cli.{other}" for other in ("demo", "manifest", "run", "report", "models")} & set(modules)


def test_the_package_runs_as_a_module():
    result = subprocess.run([sys.executable, "-m", "normpipe", "--version"], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert __version__ in result.stdout
    wrong = subprocess.run([sys.executable, "-m", "normpipe", "nothing"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
