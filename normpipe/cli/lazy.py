"""A group of commands that are imported when they are called: importing all of them takes seconds."""

from collections.abc import Mapping
from importlib import import_module

import click


def lazy_group(commands: Mapping[str, str]) -> type[click.Group]:
    """A class for `click.group(cls=...)` whose commands are "module:attribute" by name, in this order."""

    class LazyGroup(click.Group):
        def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click dictates the signature
            return list(commands)

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
            target = commands.get(cmd_name)
            if target is None:
                return None
            module, attribute = target.split(":")
            command: click.Command = getattr(import_module(module), attribute)
            return command

    return LazyGroup
