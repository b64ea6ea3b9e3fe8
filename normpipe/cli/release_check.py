"""`normpipe release verify` and `diff`."""

import sys
from functools import partial
from pathlib import Path

import click

_VERIFY_EPILOG = """\b
Examples:
  normpipe release verify faces-1.0.0/ --jobs 4
  normpipe release verify s3://bucket/faces-1.0.0 --public-key steward-public.pem
"""

_DIFF_EPILOG = """\b
Example:
  normpipe release diff faces-1.0.0/ faces-1.1.0/
"""


@click.command(epilog=_VERIFY_EPILOG)
@click.argument("url", metavar="RELEASE")
@click.option("--content", is_flag=True, help="Judge data files by their rows, not by their bytes (another Parquet library).")
@click.option("--public-key", metavar="FILE", type=click.Path(path_type=Path), help="Whose signature it must have.")
@click.option("--jobs", metavar="N", default=2, show_default=True, type=click.IntRange(1), help="Files read at once.")
def verify(*, url: str, content: bool, public_key: Path | None, jobs: int) -> None:
    """Read all of RELEASE, a folder or a URL, and hold it against what it says of itself; exit code 1 if it does not hold."""
    from normpipe.release.reader import open_release
    from normpipe.release.verify import verify

    folder = open_release(url)
    found = verify(folder, jobs=jobs, content=content, public_key=public_key, note=partial(click.echo, err=True))
    for problem in found.problems:
        click.echo(problem)
    if found.problems:
        click.echo(f"error: {found.conclusion}", err=True)
        sys.exit(1)
    click.echo(f"verified: {found.rows} rows, {found.files} files{', signature' if public_key is not None else ''}")


@click.command(epilog=_DIFF_EPILOG)
@click.argument("first", metavar="OLD")
@click.argument("second", metavar="NEW")
def diff(*, first: str, second: str) -> None:
    """Say what changed from one release to another.

    Exit code 1 where the version does not say so, or somebody who was withdrawn is back.
    """
    from normpipe.release.compare import compare
    from normpipe.release.reader import open_release

    found = compare(open_release(first), open_release(second))
    for line in found.lines:
        click.echo(line)
    if not found.keeps_rule:
        sys.exit(1)
