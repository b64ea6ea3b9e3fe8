"""`normpipe release push`: a release's folder to where others find it."""

import sys
from pathlib import Path

import click

from normpipe.engine.signals import Interrupted, interruptible
from normpipe.errors import NormpipeError

_EPILOG = """
\b
Examples:
  normpipe release push my-faces-1.0.0/ s3://bucket/my-faces/1.0.0
  normpipe release push my-faces-1.0.0/ /mnt/archive/my-faces-1.0.0 --check
  normpipe release push my-faces-1.0.0/ hf://datasets/owner/my-faces
  normpipe release push my-faces-1.1.0/ hf://datasets/owner/my-faces@1.1.0 --public

The same command again goes on with a push that was interrupted. Keys and tokens are those that the library of the place finds
in its environment variables and files (AWS_*, HF_TOKEN, ...); better there than in URL.
"""


@click.command(epilog=_EPILOG)
@click.argument("folder", metavar="RELEASE", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.argument("url", metavar="URL")
@click.option("--revision", metavar="NAME", help="Branch of a Hugging Face repository; made if absent. [main]")
@click.option("--public", is_flag=True, help="Let the Hugging Face repository be public. [new ones are private]")
@click.option("--check", is_flag=True, help="Read back and hash what the place keeps no checksum of.")
@click.option("--jobs", metavar="N", type=click.IntRange(1, 64), default=4, show_default=True, help="Files at a time.")
def push(*, folder: Path, url: str, revision: str | None, public: bool, check: bool, jobs: int) -> None:
    """Send a release to URL: a folder, any fsspec URL, or hf://datasets/owner/name; verified, SHA256SUMS last.

    URL must be empty or hold the same release; what is there and right is not sent again, and nothing else is touched.
    """
    from normpipe.address import shown
    from normpipe.release.push import push as push_release
    from normpipe.release.remote import open_target

    try:
        with interruptible():
            target = open_target(url, revision, public=public)
            pushed = push_release(folder, target, jobs, check=check, say=lambda line: click.echo(line, err=True))
    except Interrupted as stop:
        click.echo("interrupted; the same command goes on with the push", err=True)
        sys.exit(stop.exit_code)
    except OSError as error:
        if error.filename is not None:
            raise
        raise NormpipeError(
            f"{shown(url)}: cannot be reached or written ({error.strerror}); check it and its keys; the same command goes on"
        ) from error
    how = f"{pushed.sized} of them by size only (--check reads them back)" if pushed.sized else "by checksum"
    click.echo(
        f"{click.format_filename(shown(url))}: {pushed.files} files, {pushed.sent} of them sent ({pushed.sent_bytes} bytes); "
        f"all verified, {how}"
    )
