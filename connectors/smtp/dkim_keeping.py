"""What the commands of `dkim_cli` do."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

import typer

from connectors.smtp.client_config import host_port
from connectors.smtp.connector import Smtp
from connectors.smtp.dns_resolver import DnsResolver
from connectors.smtp.mx import Absent, LookupFault
from connectors.smtp.signing_keys import Entry, KeyStore, Kind, plain, state, zone_lines

T = TypeVar("T")

_ANSWER_S = 10.0
_KINDS: dict[str, tuple[Kind, ...]] = {"rsa": ("rsa",), "ed25519": ("ed25519",), "both": ("rsa", "ed25519")}
_SAYS = {
    "published": "to be published now; signs from {since}",
    "signing": "signs",
    "kept": "stays published until {until}",
    "over": "over since {until}: take it out of DNS, then `gatepost dkim remove {domain} {selector}`",
}


class Session(Protocol):
    """What the gateway's command line lends this one."""

    def connector(self, name: str, after: Path | None = None) -> Any: ...


def fail(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(1)


def store(session: Session | None, keys: Path | None, connector: str | None, config: Path | None) -> KeyStore:
    """Return the keys that are meant; their folder is made where there is none."""
    if keys is not None and connector is not None:
        fail("--keys or --connector, not both")
    folder = keys or Path("dkim")
    if connector is not None:
        made = session.connector(connector, config) if session is not None else None
        if not isinstance(made, Smtp) or made.config.dkim is None:
            fail(f"{connector!r} is no configured connector of type smtp with a table dkim")
        folder = made.context.base_dir / made.config.dkim.keys
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as fault:
        fail(f"{folder}: {fault.strerror}")
    return KeyStore(folder)


def new(keys: KeyStore, domain: str, kind: str, *, selector: str, after_h: float, bits: int, as_json: bool) -> None:
    """Make keys and print their records."""
    kinds = _KINDS.get(kind)
    if kinds is None:
        fail(f"{kind!r} is no kind of key: rsa, ed25519 or both")
    if selector and len(kinds) > 1:
        fail("--selector names one key: take --kind rsa or --kind ed25519, too")
    now = time.time()
    known = _do(keys.entries, domain)
    has = {each.kind for each in known if state(each, known, now) in ("published", "signing")} & set(kinds)
    if has:
        fail(f"{domain} has a key of kind {' and '.join(sorted(has))} already: `gatepost dkim rotate {domain}`")
    since = now + after_h * 3600
    made = [_do(keys.make, domain, each, now, since, selector=selector, bits=bits) for each in kinds]
    _print(keys, domain, made, as_json=as_json)


def rotate(keys: KeyStore, domain: str, *, after_h: float, keep_days: float, bits: int, as_json: bool) -> None:
    """Make the next keys and print their records."""
    made = _do(keys.rotate, domain, time.time(), publish_s=after_h * 3600, keep_s=keep_days * 86400, bits=bits)
    _print(keys, domain, made, as_json=as_json)


def records(keys: KeyStore, domain: str, *, as_json: bool) -> None:
    """Print the records of all keys that are not over."""
    now = time.time()
    known = _do(keys.entries, domain)
    if not known:
        fail(f"{domain} has no key in {keys.folder}: make one with `gatepost dkim new {domain}`")
    _print(keys, domain, [each for each in known if state(each, known, now) != "over"], as_json=as_json)


def servers(
    session: Session | None, named: Sequence[str], connector: str | None, config: Path | None
) -> tuple[list[str], int]:
    """Return the name servers to ask, with their port; none for those of the system."""
    if named:
        hosts = [host_port(each, 53) for each in named]
        return [host for host, _ in hosts], hosts[0][1]
    if connector is not None and session is not None:
        made: Smtp = session.connector(connector, config)
        return list(made.config.nameservers), made.config.nameserver_port
    return [], 53


def check(keys: KeyStore, domain: str, servers: tuple[list[str], int], *, as_json: bool) -> None:
    """Compare what DNS holds with what it should; end with status 1 where it does not."""
    now = time.time()
    known = [each for each in _do(keys.entries, domain) if state(each, _do(keys.entries, domain), now) != "over"]
    if not known:
        fail(f"{domain} has no key in {keys.folder}: make one with `gatepost dkim new {domain}`")
    wanted = {f"{each.selector}._domainkey.{domain}": _do(keys.record, domain, each.selector) for each in known}
    found = asyncio.run(_asked(wanted, *servers))
    if as_json:
        typer.echo(
            json.dumps([{"name": name, "found": text, "ok": not text} for name, text in found.items()], indent=2)
        )
    else:
        for name, text in found.items():
            typer.secho(f"{'NO' if text else 'ok'}  {name}{': ' if text else ''}{text}", fg="red" if text else None)
    if any(found.values()):
        raise typer.Exit(1)


async def _asked(wanted: dict[str, str], nameservers: list[str], port: int) -> dict[str, str]:
    """Return what is wrong with each record in DNS, nothing where it is right."""
    resolver = DnsResolver(nameservers, port, timeout_s=_ANSWER_S)
    found = {}
    for name, text in wanted.items():
        try:
            records = await resolver.txt(name)
            same = any(_key_in(record) == _key_in(text.encode()) for record in records)
            found[name] = "" if same else "another key stands there: publish what `gatepost dkim record` prints"
        except Absent:
            found[name] = "nothing stands there: publish what `gatepost dkim record` prints"
        except LookupFault as fault:
            found[name] = f"no answer: {fault}"
    return found


def _key_in(record: bytes) -> bytes | None:
    """Return the public key in a record, without blanks; None where it is none, or revoked."""
    found = re.search(rb"(?:^|;)[ \t]*p[ \t]*=([^;]*)", record)
    return b"".join(found[1].split()) or None if found is not None else None


def show(keys: KeyStore, *, as_json: bool) -> None:
    """Print all keys."""
    now = time.time()
    rows = []
    for domain in keys.domains():
        known = _do(keys.entries, domain)
        rows += [plain(domain, each, known, now) for each in known]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        typer.echo(f"no keys in {keys.folder}: make some with `gatepost dkim new DOMAIN`")
    for row in rows:
        typer.echo(f"{row['domain']}  {row['selector']}  {row['kind']}  {_said(row)}")


def remove(keys: KeyStore, domain: str, selector: str) -> None:
    """Remove a key."""
    _do(keys.remove, domain, selector, time.time())
    typer.echo(f"removed {selector}._domainkey.{domain}")


def _said(row: dict[str, Any]) -> str:
    when = {name: _when(row[name]) if row[name] is not None else "" for name in ("since", "until")}
    text = _SAYS[row["state"]].format(**{**row, **when})
    return f"{text} until {when['until']}" if row["state"] == "signing" and when["until"] else text


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


def _print(keys: KeyStore, domain: str, made: Sequence[Entry], *, as_json: bool) -> None:
    now = time.time()
    known = _do(keys.entries, domain)
    rows = []
    for each in made:
        text = _do(keys.record, domain, each.selector)
        name = f"{each.selector}._domainkey.{domain}"
        rows.append({**plain(domain, each, known, now), "name": name, "record": text})
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        typer.echo(f"; {row['kind']}: {_said(row)}")
        typer.echo(zone_lines(domain, row["selector"], row["record"]))


def _do(work: Callable[..., T], *args: Any, **options: Any) -> T:
    try:
        return work(*args, **options)
    except (OSError, ValueError) as fault:
        fail(str(fault))
