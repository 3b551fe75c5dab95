"""`gatepost new-connector`: write the package of a connector of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import AsJson, fail, print_json


def new_connector(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The connector's type, such as pager: a-z and digits.")],
    network: Annotated[bool, typer.Option("--network", help="Bring addresses of its own, NAME:ann@sales.")] = False,
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="Make the package's folder here.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Write a package with a connector that works and passes the conformance kit, to build yours from."""
    from gateway.scaffold import ScaffoldError, plan, write

    try:
        what = plan(name, network=network)
        target = write(what, into)
    except ScaffoldError as e:
        fail(str(e), as_json=as_json)
    except OSError as e:
        fail(f"the package cannot be written: {e}", as_json=as_json)
    if as_json:
        made = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
        print_json({"folder": str(target), "files": made})
        return
    typer.echo(f"{target}: a connector of the type {name}, which works")
    typer.echo(f"next: cd {target}; pip install -e '.[test]'; pytest; then src/{what.module}/connector.py")
