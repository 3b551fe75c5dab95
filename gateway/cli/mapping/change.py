"""`gatepost map add`, `set`, `rm` and `rollback`: what changes identities one by one, each as a revision."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand

from gateway.cli.mapping.shared import Who, Why, author, desk_of, tell_made
from gateway.cli.options import AsJson, ConfigFile, print_json

if TYPE_CHECKING:
    from gateway.mapping_desk.edit import Done

_LESS: Final = re.compile(r"-[A-Za-z][A-Za-z0-9]+[ :].*", re.DOTALL)
_KEPT: Final = "\0"


class ChangesCommand(TyperCommand):
    """Takes `-smtp:ann@acme.example` for an address less, though it begins as options do."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [_KEPT + arg if _LESS.fullmatch(arg) else arg for arg in args])


def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The name, for people.")],
    addresses: Annotated[
        list[str],
        typer.Argument(
            metavar="ADDRESS...", help="Such as smtp:ann@acme.example; the first on each network is the one shown."
        ),
    ],
    home: Annotated[str | None, typer.Option("--home", metavar="CONNECTOR", help="Where the mailbox is.")] = None,
    kind: Annotated[str, typer.Option("--kind", help="person, group, room, device or contact.")] = "person",
    stage: Annotated[
        str | None,
        typer.Option("--stage", help="Where it stands in a merger: before, coexisting, cutting, moved or external."),
    ] = None,
    copy_home: Annotated[
        str | None, typer.Option("--copy-home", metavar="CONNECTOR", help="Where a second mailbox gets copies.")
    ] = None,
    members: Annotated[
        list[str] | None, typer.Option("--member", metavar="ADDRESS", help="A member of the group; may be repeated.")
    ] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", metavar="ADDRESS", help="Who gets reports about the group's members.")
    ] = None,
    expand: Annotated[
        bool, typer.Option("--expand/--no-expand", help="Whether the group is expanded here, or by its home.")
    ] = True,
    attributes: Annotated[
        list[str] | None,
        typer.Option("--attribute", metavar="NAME=VALUE", help="A fact about it; may be repeated."),
    ] = None,
    who: Who = None,
    why: Why = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Add an identity: somebody, a group, a room or a device, with its addresses."""
    from gateway.mapping_desk import edit

    changes = [f"name={name}", f"kind={kind}"]
    fields = {"home": home, "stage": stage, "copy_home": copy_home, "owner": owner}
    changes += [f"{field}={value}" for field, value in fields.items() if value is not None]
    changes += [] if expand else ["expand=no"]
    changes += [f"attribute.{pair}" for pair in attributes or ()]
    changes += [f"+{address}" for address in addresses]
    changes += [f"+member:{member}" for member in members or ()]
    with desk_of(ctx, config, as_json=as_json) as desk:
        done = edit.add(desk, author(who, why), changes)
    _tell([done], as_json)


def set_(
    ctx: typer.Context,
    which: Annotated[str, typer.Argument(metavar="ID or ADDRESS", help="The identity's number, or an address of it.")],
    changes: Annotated[
        list[str],
        typer.Argument(
            metavar="CHANGE...",
            help="field=value (name, home, kind, stage, copy_home, owner, expand, attribute.NAME; nothing after the = "
            "takes it away), +ADDRESS, -ADDRESS, +member:ADDRESS or -member:ADDRESS. A role may stand before an "
            "address, as in +former:smtp:al@acme.example.",
        ),
    ],
    who: Who = None,
    why: Why = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Change an identity: its fields, its addresses, its members."""
    from gateway.mapping_desk import edit

    with desk_of(ctx, config, as_json=as_json) as desk:
        done = edit.change(desk, author(who, why), which, [text.removeprefix(_KEPT) for text in changes])
    _tell([done], as_json)


def remove(
    ctx: typer.Context,
    which: Annotated[
        list[str], typer.Argument(metavar="ID or ADDRESS...", help="Identities, by their numbers or by addresses.")
    ],
    who: Who = None,
    why: Why = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove identities; `gatepost map rollback` brings them back."""
    from gateway.mapping_desk import edit

    with desk_of(ctx, config, as_json=as_json) as desk:
        done = edit.remove(desk, author(who, why), which)
    _tell(done, as_json)


def rollback(
    ctx: typer.Context,
    revision: Annotated[int | None, typer.Argument(metavar="[REVISION]", min=1, help="The one to undo.")] = None,
    to: Annotated[
        int | None,
        typer.Option("--to", metavar="REVISION", min=0, help="Undo all that came after this one instead."),
    ] = None,
    who: Who = None,
    why: Why = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Undo a revision, as a new one."""
    from gateway.mapping_desk import history

    with desk_of(ctx, config, as_json=as_json) as desk:
        made = history.rollback(desk, author(who, why), revision, to)
    tell_made(made, as_json)


def _tell(done: list[Done], as_json: bool) -> None:
    from gateway.mapping_desk import words

    if as_json:
        changes: list[dict[str, Any]] = [words.change_as_json(one.before, one.after) for one in done]
        print_json({"ok": True, "revision": done[-1].revision, "changes": changes})
        return
    for one in done:
        if one.is_change:
            for line in words.change_lines(one.before, one.after):
                typer.echo(line)
    typer.echo(f"revision {done[-1].revision}" if any(one.is_change for one in done) else "nothing was changed")
