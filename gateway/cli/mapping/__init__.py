"""`gatepost map`: who is meant by an address, changed, looked at and asked why."""

from __future__ import annotations

import typer

from gateway.cli.mapping import change, checks, look, transfer

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(look.explain)
app.command()(look.find)
app.command()(change.add)
app.command("set", cls=change.ChangesCommand)(change.set_)
app.command("rm")(change.remove)
app.command("import")(transfer.import_)
app.command()(transfer.export)
app.command()(checks.check)
app.command()(checks.conflicts)
app.command()(checks.plan)
app.command()(look.log)
app.command()(look.diff)
app.command()(change.rollback)
