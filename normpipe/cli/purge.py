"""`normpipe purge`: people leave a run."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from normpipe.engine.signals import Interrupted
from normpipe.engine.threads import limit_environment
from normpipe.errors import UsageError

if TYPE_CHECKING:
    from normpipe.purge.request import Request, StandingList, WithdrawnRow

_EPILOG = """
\b
Examples:
  normpipe purge out/ --subject anna --subject ben --dry-run
  normpipe purge out/ --subjects names.txt --dataset clinic --date 2026-11-23
  normpipe purge out/ --sample walk-017.png
  normpipe purge out/ --exclude withdrawn.txt
  normpipe purge out/

The same command again goes on after an interruption, and so does the last one.
"""

_NOT_REACHED = (
    "not reached: runs made from this one with --faces, exports, predictions, trainings and releases elsewhere, "
    "the source files, copies and backups"
)

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


def _date(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _DATE.fullmatch(value):
        raise UsageError("--date: give it as YYYY-MM-DD")
    return value


@click.command(epilog=_EPILOG)
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--subject", "subjects", metavar="NAME", multiple=True, help="Person, as the manifest names it; repeatable.")
@click.option("--subjects", "subjects_file", metavar="FILE", type=_FILE, help="People, one name a line.")
@click.option("--sample", "samples", metavar="ID", multiple=True, help="Sample id of a single still or frame; repeatable.")
@click.option("--samples", "samples_file", metavar="FILE", type=_FILE, help="Sample ids, one a line.")
@click.option("--exclude", metavar="FILE", type=_FILE, help="List as `release build --exclude` takes it, kept for all runs.")
@click.option("--dataset", metavar="NAME", help="Only rows of this dataset.")
@click.option("--date", metavar="YYYY-MM-DD", callback=_date, help="Day that is kept in OUT/purged.json.")
@click.option("--takeover", is_flag=True, help="Take OUT over from a run that gives no sign of life (no locks there).")
@click.option("--dry-run", is_flag=True, help="Count what would go; write nothing.")
def purge(
    *,
    out: Path,
    subjects: tuple[str, ...],
    subjects_file: Path | None,
    samples: tuple[str, ...],
    samples_file: Path | None,
    exclude: Path | None,
    dataset: str | None,
    date: str | None,
    takeover: bool,
    dry_run: bool,
) -> None:
    """Withdraw people from the run in OUT: their rows keep their places and nothing else, and the folder is searched for them.

    Audit, report and predictions in OUT go with them, and are made again by their commands.
    """
    limit_environment()  # before numpy, so the heavy imports stand below
    from normpipe.purge.request import Request, read_list, read_names
    from normpipe.purge.run import purge as withdraw
    from normpipe.purge.run import survey
    from normpipe.release.keys import spelled

    listed = [[] if file is None else read_names(file) for file in (subjects_file, samples_file)]
    people, stills = (frozenset(map(spelled, names)) for names in ((*subjects, *listed[0]), (*samples, *listed[1])))
    request = Request(people, stills, dataset)
    standing = None if exclude is None else read_list(exclude)
    if standing is not None:
        if not request.empty:
            raise UsageError("--exclude: names in no other way beside it; add them to the list")
        request = standing.request(dataset)
    if dry_run:
        if request.empty:
            raise UsageError("--dry-run: nobody is named; add --subject, --sample or --exclude")
        told = survey(out, request)
        click.echo(f"would withdraw {told.line}; nothing was written")
        _tell_of_others(standing, request.without(told.rows))
        return
    rows: list[WithdrawnRow] = []
    try:
        for done in withdraw(out, request, date=date, takeover=takeover):
            click.echo(f"withdrew {done.withdrawal.line}")
            rows += done.withdrawal.rows
            if done.withdrawal.derived:
                click.echo("the commands that made these folders make them again")
            click.echo(done.proof.line)
            if done.proof.equal:
                click.echo(
                    f"warning: {done.proof.equal} pictures of rows that remain are equal to withdrawn ones; if they show the "
                    "same person under another name, withdraw these rows too",
                    err=True,
                )
        click.echo(_NOT_REACHED if rows else "nobody on the list is in this run's manifest; nothing was changed")
        _tell_of_others(standing, request.without(rows))
    except Interrupted as stop:
        click.echo("interrupted; the same command goes on", err=True)
        sys.exit(stop.exit_code)


def _tell_of_others(standing: "StandingList | None", left: "Request") -> None:
    """Who stands on the list and not in the run; a name that was misspelt is among them, so it is said each time."""
    lines = "" if standing is None else standing.lines(left)
    if lines:
        click.echo(
            f"not in this run's manifest: line {lines} of the list (withdrawn before, of another run, or misspelt)", err=True
        )
