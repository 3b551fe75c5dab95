"""What the commands of `gatepost map` share: the desk they ask, and how its refusals are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import print_json

if TYPE_CHECKING:
    from gateway.mapping_desk.desk import Desk
    from gateway.mapping_desk.edit import Author

Who = Annotated[str | None, typer.Option("--who", help="Who changes it, for the log. Absent: your user name.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the log.")]


@contextmanager
def desk_of(ctx: typer.Context, config: Path | None, *, as_json: bool) -> Iterator[Desk]:
    """Lend the desk of the configuration; where it refuses, tell every reason and exit with 1."""
    from gateway.cli.options import load_config
    from gateway.mapping_desk.desk import Desk, DeskError

    try:
        yield Desk(load_config(ctx, config, as_json=as_json, mapping=True, identities=False))
    except DeskError as e:
        if as_json:
            print_json({"ok": False, "error": str(e), "reasons": list(e.reasons)})
        else:
            for reason in e.reasons:
                typer.echo(reason, err=True)
        raise typer.Exit(1) from None


def author(who: str | None, why: str) -> Author:
    from gateway.mapping_desk.desk import whoami
    from gateway.mapping_desk.edit import Author

    return Author(who or whoami(), why)
