"""Commands that are found by name: the gateway's own groups of them, and what connectors bring.

Connectors bring the entry points of the group `gatepost.commands`. An entry point's name is the command, and what it
names is a `typer.Typer`, which may have commands of its own. Its context's object is the `Session`, by which it gets
at configured connectors.

Promises: a group is imported when a command of it is called; nothing that connectors bring is looked up or imported
for the gateway's own commands; what cannot be imported is a sentence where it is called, and keeps nothing else from
working.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_command_name, get_group
from typer.models import CommandInfo

from gateway.cli.options import fail

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "gatepost.commands"

OWN_GROUPS: Final = {
    "queue": "Show what waits by destination and age; list, hold, release, requeue, drop and reroute deliveries.",
    "map": "Explain addresses; look at, change, import, export, check and plan who has which.",
    "db": "Upgrade, back up, restore and check the spool.",
    "sync": "Copy mailboxes to another system, keep them in step, compare them, cut them over.",
}
"""Their help texts by their names."""
_MODULES: Final = {
    "queue": "gateway.cli.queue",
    "map": "gateway.cli.mapping",
    "db": "gateway.cli.db",
    "sync": "gateway.cli.sync",
}


class _Light:
    """Of a command that can do without pydantic: typer loads it to make a truth of the None of a --help not given."""

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]  # of the class that this is mixed into
        if option is not None:
            option.default = False
        return option


class LightCommand(_Light, TyperCommand):
    """A command that needs no more than typer itself."""


class Commands(_Light, TyperGroup):
    """The gateway's own commands, and behind them those of the installed connectors."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for param in self.params:
            param.process_value = _where_given(param.process_value)  # type: ignore[assignment, method-assign]
        for name, text in OWN_GROUPS.items():
            self.add_command(Later(name, text, _MODULES[name]))

    def list_commands(self, ctx: Any) -> list[str]:
        own = super().list_commands(ctx)
        return [*own, *sorted(name for name in points() if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        point = points().get(cmd_name)
        return None if point is None else _loaded(point)


class Later(TyperGroup):
    """A group of commands that is imported when it is called."""

    def __init__(self, name: str, help: str, module: str) -> None:
        super().__init__(name=name, help=help)
        self._module = module

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        group = get_group(_with_one(import_module(self._module).app, args))
        group.name, group.help = self.name, self.help
        return group.make_context(info_name, args, parent, **extra)


def _with_one(app: typer.Typer, args: list[str]) -> typer.Typer:
    """Return a group without those of its commands that are not called: to look at all they take is half of the time
    that the one takes which is."""
    called = [each for each in app.registered_commands if args and _name_of(each) == args[0]]
    if not called:
        return app
    made = copy(app)
    made.registered_commands = called
    return made


def _name_of(info: CommandInfo) -> str | None:
    if info.name is not None or info.callback is None:
        return info.name
    return get_command_name(info.callback.__name__)


def _where_given(process: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Keep what was not given from typer, which loads pydantic for it, too."""
    return lambda ctx, value: None if value is None else process(ctx, value)


def points() -> dict[str, EntryPoint]:
    """Return the installed commands by name; none of them is imported yet."""
    from mappings.installed import installed  # what it reads metadata with is slow to import, and seldom needed

    return {point.name: point for point in installed(GROUP)}


def _loaded(point: EntryPoint) -> Any:
    try:
        made: Any = point.load()
    except Exception as e:  # noqa: BLE001  a plugin's import may raise anything
        made = _unusable(point, str(e))
    if not isinstance(made, typer.Typer):
        made = _unusable(point, f"{point.value} is no typer.Typer")
    command = get_command(made)
    command.name = point.name
    return command


def _unusable(point: EntryPoint, why: str) -> typer.Typer:
    """Return a command that says why there is none."""
    whose = point.dist.name if point.dist is not None else point.value
    app = typer.Typer(add_completion=False)

    @app.command(
        help=f"Cannot be used: {why}.", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
    )
    def tell() -> None:
        fail(f"the command {point.name} of {whose} cannot be used: {why}; install what it needs, or remove it")

    return app
