"""`normpipe release build` and `rebuild`."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from normpipe.engine.signals import Interrupted, interruptible
from normpipe.errors import UsageError

if TYPE_CHECKING:
    from normpipe.release.keys import Names

_EPILOG = """\b
Examples:
  openssl rand -hex 32 > release.key && chmod 600 release.key
  normpipe release build out/ -o faces-1.0.0/ --name faces --version 1.0.0 --terms my-photos.yaml --key-file release.key
  normpipe release build out/ more/ -o faces-1.1.0/ --name faces --version 1.1.0 --include normalized \\
    --terms my-photos.yaml --key-file release.key --min normalized_score=0.5 --exclude withdrawn.txt

The same command again takes up a build that was interrupted.
"""

_REBUILD_EPILOG = """\b
Example:
  normpipe release rebuild faces-1.0.0/ out/ --key-file release.key --check
"""

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog=_EPILOG)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=_FOLDER)
@click.option("-o", "--out", metavar="RELEASE", required=True, type=click.Path(path_type=Path), help="Folder to create.")
@click.option("--name", required=True, help="Of the release.")
@click.option(
    "--version", required=True, metavar="X.Y.Z", help="Of the release; docs/release.md says what raises which number."
)
@click.option(
    "--include",
    type=click.Choice(["pairs", "normalized", "labels"]),
    default="pairs",
    show_default=True,
    help="What of each row; the sources' terms must allow it.",
)
@click.option("--key-file", metavar="FILE", type=_FILE, help="Your key, by which names become pseudonyms.")
@click.option("--plain-ids", is_flag=True, help="Keep the source's names of subjects and samples.")
@click.option("--terms", metavar="FILE", multiple=True, type=_FILE, help="Terms of a source; repeatable.")
@click.option("--min", "minimum", metavar="COLUMN=VALUE", multiple=True, help="Leave out rows below; repeatable.")
@click.option("--max", "maximum", metavar="COLUMN=VALUE", multiple=True, help="Leave out rows above; repeatable.")
@click.option("--exclude", metavar="FILE", multiple=True, type=_FILE, help="Subjects or samples to leave out; repeatable.")
@click.option("--changes", metavar="FILE", type=_FILE, help="Change log for the card, in Markdown.")
@click.option(
    "--previous", metavar="RELEASE", help="The version before: its differences go to the card, and the rule is checked."
)
@click.option("--date", "given_date", metavar="YYYY-MM-DD", help="Date of the release. [SOURCE_DATE_EPOCH, or today]")
@click.option("--override-terms", is_flag=True, help="Release against the terms, or without knowing them; the card says so.")
@click.option("--override-audit", is_flag=True, help="Release without an audit that passed; the card says so.")
@click.option("--partial", is_flag=True, help="Release runs that are not finished; the card says so.")
@click.option("--jobs", metavar="N", default=2, show_default=True, type=click.IntRange(1), help="Files written at once.")
def build(
    *,
    runs: tuple[Path, ...],
    out: Path,
    name: str,
    version: str,
    include: str,
    key_file: Path | None,
    plain_ids: bool,
    terms: tuple[Path, ...],
    minimum: tuple[str, ...],
    maximum: tuple[str, ...],
    exclude: tuple[Path, ...],
    changes: Path | None,
    previous: str | None,
    given_date: str | None,
    override_terms: bool,
    override_audit: bool,
    partial: bool,
    jobs: int,
) -> None:
    """Make a release of one or several finished and audited runs."""
    from normpipe.release.build import build, check_request, check_target, release_date
    from normpipe.release.document import Options
    from normpipe.release.files import FILE_BYTES
    from normpipe.release.previous import earlier_datasets
    from normpipe.release.reader import open_release
    from normpipe.release.request import Request
    from normpipe.release.runs import read_runs
    from normpipe.release.selection import datasets_of
    from normpipe.release.terms import Include, terms_of
    from normpipe.release.withdrawals import pseudonyms, read_withdrawals
    from normpipe.release.words import counted

    check_request(name, version)
    names = _names(key_file, plain_ids, (*runs, out))
    flags = {"--override-terms": override_terms, "--override-audit": override_audit, "--partial": partial}
    options = Options(
        include=Include(include),
        ids="plain" if plain_ids else "keyed",
        minimum=_limits("--min", minimum),
        maximum=_limits("--max", maximum),
        allowed=tuple(flag for flag, given in flags.items() if given),
        file_bytes=FILE_BYTES,
        changes=None if changes is None else _text("--changes", changes),
    )
    found = read_runs(runs)
    check_target(out, found)
    before = None if previous is None else open_release(previous)
    listed = read_withdrawals(exclude)
    datasets = datasets_of(found)
    places = datasets.keys() | earlier_datasets(before)
    request = Request(
        name=name,
        version=version,
        date=release_date(given_date),
        options=options,
        names=names,
        terms=terms_of([name for name, released in datasets.items() if released], terms),
        withdrawals=pseudonyms(listed, places, names),
        previous=before,
        listed=listed,
    )
    try:
        with interruptible():
            made = build(found, out, request, jobs=jobs, note=lambda line: click.echo(line, err=True))
    except Interrupted as stop:
        click.echo("interrupted; the same command goes on from there", err=True)
        sys.exit(stop.exit_code)
    click.echo(f"{click.format_filename(out)}: {counted(made.rows, 'row')} in {counted(len(made.files), 'file')}")


def _names(key_file: Path | None, plain_ids: bool, places: tuple[Path, ...]) -> "Names":
    """What makes pseudonyms, or leaves names as they are."""
    from normpipe.release.keys import Names, read_key

    if plain_ids and key_file is not None:
        raise UsageError("--plain-ids and --key-file: names are kept or made into pseudonyms; give one of the two")
    if plain_ids:
        return Names(None)
    if key_file is None:
        raise UsageError(
            "--key-file: missing; names of people become pseudonyms by a key of yours (openssl rand -hex 32 > release.key && "
            "chmod 600 release.key), or stay as they are with --plain-ids"
        )
    for place in places:
        if key_file.resolve().is_relative_to(place.resolve()):
            raise UsageError(
                f"--key-file {key_file.name}: lies in {place.resolve().name}, which others may get; keep it elsewhere"
            )
    found = read_key(key_file)
    if found.exposed:
        click.echo(f"warning: others may read {key_file.name}; chmod 600 {key_file.name}", err=True)
    return Names(found.key)


def _limits(flag: str, given: tuple[str, ...]) -> dict[str, float]:
    limits = {}
    for each in given:
        name, equals, value = each.partition("=")
        try:
            limits[name] = round(float(value), 6)  # as release.json writes it
        except ValueError:
            equals = ""
        if not equals:
            raise UsageError(f"{flag} {each}: write COLUMN=VALUE, such as normalized_score=0.5")
        if not math.isfinite(limits[name]):
            raise UsageError(f"{flag} {each}: not a number")
    return limits


def _text(flag: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(f"{flag} {path.name}: not there") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{flag} {path.name}: cannot be read as text") from error


@click.command(epilog=_REBUILD_EPILOG)
@click.argument("released", metavar="RELEASE", type=_FOLDER)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=_FOLDER)
@click.option("-o", "--out", metavar="FOLDER", type=click.Path(path_type=Path), help="Keep what was built here.")
@click.option("--key-file", metavar="FILE", type=_FILE, help="The key that RELEASE was made with.")
@click.option("--plain-ids", is_flag=True, help="RELEASE has the source's names.")
@click.option("--check", is_flag=True, help="Compare with RELEASE, byte by byte.")
@click.option("--jobs", metavar="N", default=2, show_default=True, type=click.IntRange(1), help="Files written at once.")
def rebuild(
    *, released: Path, runs: tuple[Path, ...], out: Path | None, key_file: Path | None, plain_ids: bool, check: bool, jobs: int
) -> None:
    """Make RELEASE again from its runs, with what its release.json says. Exit code 1 where --check finds a difference."""
    from tempfile import TemporaryDirectory

    from normpipe.release.document import read_release
    from normpipe.release.rebuild import differing_files, rebuild
    from normpipe.release.runs import read_runs

    if out is None and not check:
        raise UsageError("rebuild: -o FOLDER keeps what is built, --check compares it; give one or both")
    document = read_release(released)
    names = _names(key_file, plain_ids, (*runs, released))
    found = read_runs(runs)
    try:
        with interruptible(), TemporaryDirectory(dir=released.resolve().parent, prefix=f".{released.name}.") as temporary:
            target = out or Path(temporary) / released.name
            rebuild(document, found, names, target, jobs=jobs, note=lambda line: click.echo(line, err=True))
            differing = differing_files(released, target) if check else []
    except Interrupted as stop:
        click.echo("interrupted", err=True)
        sys.exit(stop.exit_code)
    if differing:
        for path in differing:
            click.echo(f"{path}: other bytes")
        click.echo(
            "error: not the same release; another version of a library writes other bytes, see `verify --content`", err=True
        )
        sys.exit(1)
    click.echo("the same bytes" if check else click.format_filename(target))
