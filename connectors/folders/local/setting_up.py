"""What `gatepost local` does, with its words for an operator."""

from __future__ import annotations

import grp
import os
import pwd
import sys
from pathlib import Path
from typing import NoReturn, cast

import typer

from connectors.folders.local.config import LocalConfig
from connectors.folders.local.connector import Local
from connectors.folders.local.dovecot import Serving, Unfit, configuration
from connectors.folders.local.places import root_of
from gateway.contract import Connector


def write_dovecot(
    connector: Connector | None,
    name: str,
    output: Path | None,
    *,
    passwords: Path,
    listen: tuple[str, ...],
    ports: tuple[int, int, int],
    certificate: Path | None,
    key: Path | None,
    run_dir: Path,
    rootless: bool,
) -> None:
    """Write the configuration, durable enough for one that is made again by the same command. Exits where it cannot."""
    if not isinstance(connector, Local):
        _fail(f"{name!r} is no configured connector of type local")
    config, base = cast(LocalConfig, connector.config), connector.context.base_dir.absolute()
    root = root_of(config.path, base)
    try:
        owner = os.stat(root)
    except OSError as fault:
        _fail(f"the folder of the mailboxes, {root}, cannot be looked at ({fault.strerror}); make it first")
    if owner.st_uid == 0:
        _fail(
            f"{root} is root's; give it to the user that Gatepost runs as, as in `chown vmail:vmail {root}`: Dovecot "
            "serves no mailboxes of root's"
        )
    imap, pop, lmtp = ports
    serving = Serving(
        passwords.absolute(),
        run_dir.absolute(),
        _user(owner.st_uid),
        _group(owner.st_gid),
        listen,
        imap,
        pop,
        lmtp,
        None if certificate is None else certificate.absolute(),
        None if key is None else key.absolute(),
        rootless,
    )
    try:
        text = configuration(name, config, base, serving)
        if output is None:
            sys.stdout.write(text)
        else:
            output.write_text(text, encoding="utf-8")
    except Unfit as unfit:
        _fail(str(unfit))
    except OSError as fault:
        _fail(f"{output} cannot be written: {fault.strerror}")


def _fail(text: str) -> NoReturn:
    typer.echo(f"gatepost: {text}", err=True)
    raise typer.Exit(1)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
