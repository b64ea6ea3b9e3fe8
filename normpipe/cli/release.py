"""`normpipe release`: runs become releases, releases are verified and compared. A command is imported when it is called."""

from importlib import import_module

import click

_COMMANDS = {
    "build": "normpipe.cli.release_build:build",
    "rebuild": "normpipe.cli.release_build:rebuild",
    "verify": "normpipe.cli.release_check:verify",
    "diff": "normpipe.cli.release_check:diff",
    "push": "normpipe.cli.release_push:push",
    "pull": "normpipe.cli.release_pull:pull",
    "sign": "normpipe.cli.release_sign:sign",
}


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click dictates the signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        target = _COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, attribute = target.split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=_Group)
def release() -> None:
    """Releases: data sets that others load, verify and trust."""
