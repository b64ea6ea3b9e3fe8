"""`normpipe release`: datasets that others load, verify and trust."""

import click

from normpipe.cli.release_pull import pull
from normpipe.cli.release_push import push
from normpipe.cli.release_sign import sign


@click.group()
def release() -> None:
    """Releases: finished runs as a dataset that anyone can load, verify and trust."""


for _command in (push, pull, sign):
    release.add_command(_command)
