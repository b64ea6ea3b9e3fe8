"""`normpipe release`: runs become releases, releases are verified and compared. A command is imported when it is called."""

import click

from normpipe.cli.lazy import lazy_group

_COMMANDS = {
    "build": "normpipe.cli.release_build:build",
    "rebuild": "normpipe.cli.release_build:rebuild",
    "verify": "normpipe.cli.release_check:verify",
    "diff": "normpipe.cli.release_check:diff",
    "push": "normpipe.cli.release_push:push",
    "pull": "normpipe.cli.release_pull:pull",
    "sign": "normpipe.cli.release_sign:sign",
}


@click.group(cls=lazy_group(_COMMANDS))
def release() -> None:
    """Releases: data sets that others load, verify and trust."""
