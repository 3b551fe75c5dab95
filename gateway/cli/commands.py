"""Commands that connectors bring: the entry points of the group `gatepost.commands`.

An entry point's name is the command, and what it names is a `typer.Typer`, which may have commands of its own. Its
context's object is the `Session`, by which it gets at configured connectors.

Promises: nothing of it is looked up or imported for the gateway's own commands; what cannot be imported is a sentence
where it is called, and keeps nothing else from working.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from gateway.cli.options import fail

GROUP: Final = "gatepost.commands"


class Commands(TyperGroup):
    """The gateway's own commands, and behind them those of the installed connectors."""

    def list_commands(self, ctx: Any) -> list[str]:
        own = super().list_commands(ctx)
        return [*own, *sorted(name for name in points() if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        point = points().get(cmd_name)
        return None if point is None else _loaded(point)


def points() -> dict[str, EntryPoint]:
    """Return the installed commands by name; none of them is imported yet."""
    return {point.name: point for point in entry_points(group=GROUP)}


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
