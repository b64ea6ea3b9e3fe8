"""The command line: one file per command group, imported only when its command is called, and no logic of its own.

Importing everything would cost seconds before the first line of `--help`; hence the table of names.
"""

import os
import sys
from pathlib import PurePath

import click

from normpipe import __version__
from normpipe.cli.lazy import lazy_group
from normpipe.errors import NormpipeError

_COMMANDS = {
    "demo": "normpipe.cli.demo:demo",
    "manifest": "normpipe.cli.manifest:manifest",
    "run": "normpipe.cli.run:run",
    "status": "normpipe.cli.inspect:status",
    "show": "normpipe.cli.inspect:show",
    "export": "normpipe.cli.inspect:export",
    "report": "normpipe.cli.report:report",
    "audit": "normpipe.cli.audit:audit",
    "purge": "normpipe.cli.purge:purge",
    "normalizer": "normpipe.cli.normalizer:normalizer",
    "classify": "normpipe.cli.classify:classify",
    "release": "normpipe.cli.release:release",
    "models": "normpipe.cli.models:models",
}


@click.group(cls=lazy_group(_COMMANDS), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="normpipe")
def cli() -> None:
    """Render every face of a dataset again: same expression, one identity, one pose, one background."""


def _open_closed_streams() -> None:
    """Daemons close standard output and error; what is said there then goes nowhere, and into no file opened later."""
    for number in (1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def main() -> None:
    """Entry point: errors meant for the user become one line on stderr and their exit code."""
    _open_closed_streams()
    try:
        code = cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except NormpipeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        # A disk that is full, a folder that may not be written: what no command could foresee. Only the file's name is told.
        name = f"{PurePath(error.filename).name}: " if isinstance(error.filename, str) else ""
        click.echo(f"error: {name}{error.strerror or 'reading or writing failed'}", err=True)
        sys.exit(1)
    # Outside its standalone mode click returns what a command gave to Context.exit.
    sys.exit(code)
