"""`gatepost dkim`: make, list, publish and rotate the keys that mail is signed by.

What the commands do is imported where one of them is called: the help text of `gatepost` names this command, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Make, list, publish and rotate the keys that mail is signed by (DKIM, ARC).",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Domain = Annotated[str, typer.Argument(metavar="DOMAIN", help="The domain that signs, in lower-case ASCII.")]
Keys = Annotated[
    Path | None,
    typer.Option("--keys", metavar="FOLDER", help="Folder of the keys; none: that of --connector, or ./dkim."),
]
ConnectorName = Annotated[
    str | None,
    typer.Option("--connector", metavar="NAME", help="A configured connector of type smtp, whose folder is meant."),
]
ConfigFile = Annotated[
    Path | None, typer.Option("-c", "--config", metavar="FILE", help="Configuration file; before or after the command.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text for people.")]
Bits = Annotated[int, typer.Option("--bits", min=1024, max=4096, help="Length of RSA keys.")]


@app.command()
def new(
    ctx: typer.Context,
    domain: Domain,
    kind: Annotated[str, typer.Option("--kind", help="rsa, ed25519, or both.")] = "both",
    selector: Annotated[
        str, typer.Option("--selector", help="Name of the key in DNS; none: by the date. For one kind alone.")
    ] = "",
    after: Annotated[
        float, typer.Option("--after", min=0, metavar="HOURS", help="Hours until it signs; publish it meanwhile.")
    ] = 1.0,
    bits: Bits = 2048,
    keys: Keys = None,
    connector: ConnectorName = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a domain's first keys, and print the records to publish."""
    from connectors.smtp import dkim_keeping

    store = dkim_keeping.store(ctx.obj, keys, connector, config)
    dkim_keeping.new(store, domain, kind, selector=selector, after_h=after, bits=bits, as_json=as_json)


@app.command("list")
def list_(
    ctx: typer.Context,
    keys: Keys = None,
    connector: ConnectorName = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List the keys: which sign, which are only published yet, which are kept, and until when."""
    from connectors.smtp import dkim_keeping

    dkim_keeping.show(dkim_keeping.store(ctx.obj, keys, connector, config), as_json=as_json)


@app.command()
def record(
    ctx: typer.Context,
    domain: Domain,
    keys: Keys = None,
    connector: ConnectorName = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Print the records that are to stand in DNS now, as lines of a zone file."""
    from connectors.smtp import dkim_keeping

    dkim_keeping.records(dkim_keeping.store(ctx.obj, keys, connector, config), domain, as_json=as_json)


@app.command()
def check(
    ctx: typer.Context,
    domain: Domain,
    nameserver: Annotated[
        list[str] | None,
        typer.Option(
            "--nameserver", metavar="IP[:PORT]", help="Ask this server; none: those of --connector or system."
        ),
    ] = None,
    keys: Keys = None,
    connector: ConnectorName = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask DNS whether every key that signs, is to sign, or is kept stands there as it must.

    Exit status 0 where all do, 1 where one does not: for a look after publishing, and for monitoring.
    """
    from connectors.smtp import dkim_keeping

    store = dkim_keeping.store(ctx.obj, keys, connector, config)
    servers = dkim_keeping.servers(ctx.obj, nameserver or [], connector, config)
    dkim_keeping.check(store, domain, servers, as_json=as_json)


@app.command()
def rotate(
    ctx: typer.Context,
    domain: Domain,
    after: Annotated[
        float,
        typer.Option("--after", min=0, metavar="HOURS", help="Hours until the new keys sign; publish them meanwhile."),
    ] = 24.0,
    keep: Annotated[
        float, typer.Option("--keep", min=0, metavar="DAYS", help="Days that the old ones stay published from then on.")
    ] = 7.0,
    bits: Bits = 2048,
    keys: Keys = None,
    connector: ConnectorName = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make the next key of each kind, and print the records to publish; the gateway goes over to them by itself."""
    from connectors.smtp import dkim_keeping

    store = dkim_keeping.store(ctx.obj, keys, connector, config)
    dkim_keeping.rotate(store, domain, after_h=after, keep_days=keep, bits=bits, as_json=as_json)


@app.command()
def remove(
    ctx: typer.Context,
    domain: Domain,
    selector: Annotated[str, typer.Argument(metavar="SELECTOR", help="The key, as `gatepost dkim list` names it.")],
    keys: Keys = None,
    connector: ConnectorName = None,
    config: ConfigFile = None,
) -> None:
    """Remove a key whose time is over, or that does not sign yet."""
    from connectors.smtp import dkim_keeping

    dkim_keeping.remove(dkim_keeping.store(ctx.obj, keys, connector, config), domain, selector)
