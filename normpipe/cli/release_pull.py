"""`normpipe release pull`: a release from where it was pushed to, every byte verified."""

import sys
from pathlib import Path

import click

from normpipe.engine.signals import Interrupted, interruptible
from normpipe.errors import NormpipeError

_EPILOG = """
\b
Examples:
  normpipe release pull s3://bucket/my-faces/1.0.0 my-faces-1.0.0/
  normpipe release pull hf://datasets/owner/my-faces my-faces/ --revision 1.1.0 --public-key steward.pem

The same command again goes on with a pull that was interrupted.
"""


@click.command(epilog=_EPILOG)
@click.argument("url", metavar="URL")
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@click.option("--revision", metavar="NAME", help="Branch, tag or commit of a Hugging Face repository. [main]")
@click.option(
    "--public-key", metavar="FILE", type=click.Path(path_type=Path), help="Ed25519 key that must have signed it (PEM)."
)
@click.option("--jobs", metavar="N", type=click.IntRange(1, 64), default=4, show_default=True, help="Files at a time.")
def pull(*, url: str, folder: Path, revision: str | None, public_key: Path | None, jobs: int) -> None:
    """Fetch a release from URL into FOLDER; only files that SHA256SUMS names, each after its hash was checked.

    FOLDER must be absent, empty, or hold the same release; files there that are right are not fetched again.
    """
    from normpipe.address import shown
    from normpipe.release.pull import pull as pull_release
    from normpipe.release.remote import open_remote

    try:
        with interruptible():
            source = open_remote(url, revision)
            pulled = pull_release(source, folder, jobs, public_key=public_key, say=lambda line: click.echo(line, err=True))
    except Interrupted as stop:
        click.echo("interrupted; the same command goes on with the pull", err=True)
        sys.exit(stop.exit_code)
    except OSError as error:
        if error.filename is not None:
            raise
        raise NormpipeError(
            f"{shown(url)}: cannot be read ({error.strerror}); check it and its keys; the same command goes on"
        ) from error
    if public_key is not None:
        signed = "signature verified"
    else:
        signed = "signed, but not held against a key (--public-key)" if pulled.signed else "not signed"
    click.echo(
        f"{click.format_filename(shown(str(folder)))}: {pulled.files} files, {pulled.fetched} of them fetched "
        f"({pulled.fetched_bytes} bytes); all verified; {signed}"
    )
