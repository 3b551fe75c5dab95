"""`gatepost local`: what goes with local delivery.

What the commands do is imported where one of them is called: the help text of `gatepost` names this command, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Set up what goes with local delivery.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _group() -> None:
    """Have `dovecot` be a command of its own, though there is no other."""


@app.command()
def dovecot(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A configured connector of type local.")],
    passwords: Annotated[
        Path,
        typer.Option("--passwords", metavar="FILE", help="Users and their passwords, as Dovecot's passwd-file has it."),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write here; none: to standard output.")
    ] = None,
    listen: Annotated[
        list[str] | None, typer.Option("--listen", metavar="ADDRESS", help="Where it listens; may be repeated.")
    ] = None,
    imap: Annotated[int, typer.Option("--imap", metavar="PORT", min=0, max=65535, help="0: no IMAP.")] = 143,
    pop: Annotated[int, typer.Option("--pop", metavar="PORT", min=0, max=65535, help="0: no POP3.")] = 110,
    lmtp: Annotated[
        int, typer.Option("--lmtp", metavar="PORT", min=0, max=65535, help="0: no LMTP, as local delivery needs none.")
    ] = 0,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", metavar="PEM", help="TLS is required then, on every port.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="PEM", help="The certificate's key; none: it is in the same file.")
    ] = None,
    run_dir: Annotated[
        Path, typer.Option("--run-dir", metavar="FOLDER", help="Where Dovecot keeps its sockets.")
    ] = Path("/run/gatepost-dovecot"),
    rootless: Annotated[
        bool, typer.Option("--rootless", help="Have all of Dovecot run as the mailboxes' owner, started by that user.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", metavar="FILE", help="Configuration file; before or after the command."),
    ] = None,
) -> None:
    """Write the configuration of a Dovecot by which people read what is delivered, with IMAP and POP3."""
    from connectors.folders.local import setting_up

    setting_up.write_dovecot(
        ctx.obj.connector(name, config),
        name,
        output,
        passwords=passwords,
        listen=tuple(listen or ("127.0.0.1",)),
        ports=(imap, pop, lmtp),
        certificate=certificate,
        key=key,
        run_dir=run_dir,
        rootless=rootless,
    )
