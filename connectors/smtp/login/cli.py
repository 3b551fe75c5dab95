"""`gatepost accounts`: the password file of a submission service, and what to keep of a password elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from connectors.smtp.login.passwords import Form

app = typer.Typer(
    help="Accounts that submit mail: write the password file of a connector's `login`.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The password file, made where it is not there.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The name that the client logs in by.")]
Stored = Annotated[
    str, typer.Option("--form", help="How the password is stored: scram (serves SCRAM too), argon2id or scrypt.")
]


def _fail(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(1)


def _password() -> str:
    """Ask for a password twice, or read a line of standard input where that is no terminal."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    from getpass import getpass

    password = getpass("Password: ")
    if getpass("The same again: ") != password:
        _fail("these were two passwords; nothing was changed")
    return password


@app.command("set")
def set_(
    file: File,
    name: Name,
    address: Annotated[
        list[str] | None,
        typer.Option("--address", help="An address it may send as, '*@domain' or '*'; may be given several times."),
    ] = None,
    form: Stored = "scram",
    keep_password: Annotated[
        bool, typer.Option("--keep-password", help="Change the addresses alone; no password is asked for.")
    ] = False,
) -> None:
    """Make an account, or change its password; the password is asked for, or read of standard input."""
    from connectors.smtp.login.account_file import AccountFault, set_account

    password = None if keep_password else _password()
    try:
        is_new = set_account(file, name, password, None if address is None else tuple(address), _form(form))
    except (AccountFault, OSError) as e:
        _fail(str(e))
    typer.echo(f"{name}: {'added' if is_new else 'changed'}")


@app.command()
def remove(file: File, name: Name) -> None:
    """Remove an account."""
    from connectors.smtp.login.account_file import AccountFault, remove_account

    try:
        remove_account(file, name)
    except (AccountFault, OSError) as e:
        _fail(str(e))
    typer.echo(f"{name}: removed")


@app.command("list")
def list_(file: File) -> None:
    """List the accounts and the addresses that were given to them."""
    from connectors.smtp.login.accounts import read_accounts

    try:
        found = read_accounts(file)
    except (OSError, ValueError) as e:
        _fail(str(e))
    for entry in found.values():
        typer.echo("  ".join([entry.account.name, ", ".join(entry.account.addresses)]).rstrip())


@app.command()
def store(form: Stored = "scram") -> None:
    """Print what to keep of a password, for the attribute `login_password` of an identity, say."""
    from connectors.smtp.login.passwords import store as stored
    from connectors.smtp.login.saslprep import saslprep

    password = saslprep(_password())
    if password is None:
        _fail("the password is empty, too long, or holds what cannot be typed everywhere")
    typer.echo(stored(password, _form(form)))


def _form(text: str) -> Form:
    from connectors.smtp.login.passwords import FORMS

    for form in FORMS:
        if form == text:
            return form
    _fail(f"{text!r} is no form: {', '.join(FORMS)}")
