"""LDAP: a live directory imported, and later what has changed in it.

The URL names the server and where to begin: `ldaps://dc1.acme.example/dc=acme,dc=example`. Options: `user`,
`password_file`, `filter`, `start_tls`, `ca_file`, `phones`; an option by the name of an attribute gives it a meaning,
as `mappings.live_ldap` tells. What the last import saw is kept in the state folder, with the revision that it belongs
to, so that a restored mapping begins anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from gateway.mapping_desk.desk import Desk, DeskError
from mappings.ldap_server import DirectoryError, Server
from mappings.live_ldap import Fetched
from mappings.live_ldap import fetch as fetch_from
from mappings.merge import Existing, Merge
from mappings.merged import REF, SOURCE, sources_of
from mappings.store import Head, Remove

__all__ = ["Fetched", "fetch", "forget", "gone", "remember", "source_of"]

_OPTIONS: Final = ("user", "password_file", "filter", "start_tls", "ca_file", "phones")
_YES: Final = {"yes": True, "no": False}


def source_of(url: str) -> str:
    """Return a name for a directory: its server and where it begins."""
    parts = urlsplit(url)
    return f"{parts.hostname or ''}/{unquote(parts.path.strip('/'))}"


def fetch(desk: Desk, url: str, options: Mapping[str, str], *, removes: bool) -> Fetched:
    """Read all of a directory, or what has changed since the last import of it.

    With `removes`, all of it where an import since has left those in place who were gone.
    """
    server = _server(desk, url, options)
    state = _remembered(desk, url, removes=removes)
    try:
        return fetch_from(server, desk.networks, state)
    except DirectoryError as e:
        raise DeskError(f"{url}: {e}") from None


def _server(desk: Desk, url: str, options: Mapping[str, str]) -> Server:
    parts = urlsplit(url)
    base = unquote(parts.path.strip("/"))
    if not base or parts.query:
        raise DeskError(f"{url} names no entry to begin at; write ldaps://host/dc=acme,dc=example")
    attributes = {name: value for name, value in options.items() if name not in _OPTIONS}
    password = ""
    if "password_file" in options:
        file = desk.config.base_dir / options["password_file"]
        try:
            password = file.read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError) as e:
            raise DeskError(f"the password in {file} cannot be read: {e}") from None
    return Server(
        f"{parts.scheme}://{parts.netloc}",
        base,
        filter=options.get("filter", ""),
        user=options.get("user", ""),
        password=password,
        start_tls=_yes(options, "start_tls", False),
        ca_file=options.get("ca_file"),
        attributes=attributes,
        phones=_yes(options, "phones", True),
    )


def _yes(options: Mapping[str, str], name: str, default: bool) -> bool:
    word = options.get(name, "yes" if default else "no")
    if word not in _YES:
        raise DeskError(f"the option {name} is yes or no, not {word!r}")
    return _YES[word]


# -- what the last import saw


def remember(desk: Desk, url: str, state: str, at: Head, *, removes: bool) -> None:
    """Keep what the next import is to begin from. Called after the commit: what is lost is read once more.

    Not called where an entry was refused, so that it is read again when its mistake may have been mended.
    """
    path = _path(desk, url)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump({"state": state, "revision": at.number, "mark": at.mark, "removes": removes}, file)
    part.replace(path)


def _remembered(desk: Desk, url: str, *, removes: bool) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(_path(desk, url).read_text(encoding="utf-8"))
        seen = Head(int(kept["revision"]), str(kept["mark"]))
        if desk.has_seen(seen) and (kept["removes"] or not removes):
            return str(kept["state"])
    return ""


def forget(desk: Desk) -> None:
    """Let the next imports read everything: what was taken from directories has been undone."""
    for path in (desk.config.state_dir / "mapping").glob("ldap-*.json"):
        path.unlink(missing_ok=True)


def _path(desk: Desk, url: str) -> Path:
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    return desk.config.state_dir / "mapping" / f"ldap-{digest}.json"


def gone(fetched: Fetched, made: Merge, existing: Existing, source: str) -> list[Remove]:
    """Return the removal of whoever is no longer in the directory; who is in another source too stays, with a note."""
    kept = {was.id for was, _ in made.changed}
    found = {
        ref: who
        for who in existing.of_source(source)
        # The reference is that of the source whose the identity is, and says nothing to the others.
        if who.attribute(SOURCE) == source and who.id not in kept and (ref := who.attribute(REF)) is not None
    }
    removed = []
    for ref in fetched.gone(found):
        others = sources_of(found[ref]) - {source}
        if others:
            made.notes.append(f"{found[ref].name!r} is gone from {source}, and stays for {', '.join(sorted(others))}")
        else:
            removed.append(Remove(found[ref].id))
    return removed
