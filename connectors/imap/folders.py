"""Folders as LIST tells them: names to paths and back, roles, and what a look at all of them costs.

Promises: a name is asked for by the octets that it was listed with; what a server cannot have in a name is refused in
words before it is asked.
Source: RFC 9051 §6.3.9, RFC 6154 (SPECIAL-USE), RFC 5819 (LIST-STATUS), RFC 5258 (LIST-EXTENDED), RFC 2342.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from connectors.imap.connection import Refused
from connectors.imap.session import Session
from connectors.imap.wire.commands import command, joined
from connectors.imap.wire.dialogue import Untagged
from connectors.imap.wire.names import from_wire, to_wire
from connectors.imap.wire.responses import Data, as_number, as_text
from gateway.contract import FolderRole

ROLES: Final[Mapping[bytes, FolderRole]] = {
    b"\\sent": "sent",
    b"\\drafts": "drafts",
    b"\\trash": "trash",
    b"\\junk": "junk",
    b"\\archive": "archive",
}
_ITEMS: Final = b"(MESSAGES UNSEEN UIDNEXT UIDVALIDITY)"
_ITEMS_MODSEQ: Final = b"(MESSAGES UNSEEN UIDNEXT UIDVALIDITY HIGHESTMODSEQ)"
_INBOX: Final = b"INBOX"


@dataclass(slots=True)
class Listed:
    """A folder of a LIST answer. `name`: as it was listed. `status`: MESSAGES and so on, where they were told."""

    name: bytes
    separator: str
    attributes: frozenset[bytes]
    status: dict[str, int] = field(default_factory=dict)
    is_subscribed: bool = True

    @property
    def role(self) -> FolderRole | None:
        if self.name.upper() == _INBOX:
            return "inbox"
        return next((ROLES[each] for each in sorted(self.attributes) if each in ROLES), None)

    @property
    def can_hold(self) -> bool:
        """Whether it can be selected."""
        return not self.attributes & {b"\\noselect", b"\\nonexistent"}


@dataclass(frozen=True, slots=True)
class Namespace:
    """Where a user's own folders begin: a prefix such as `INBOX.`, and the separator."""

    prefix: str = ""
    separator: str = ""


async def namespace(session: Session) -> Namespace:
    """Return the first personal namespace. Raises: Closed."""
    if not session.has("NAMESPACE"):
        return Namespace()
    found: list[Namespace] = []

    def takes(what: Untagged) -> bool:
        if not isinstance(what, Data) or what.name != "NAMESPACE":
            return False
        own = what.values[0] if what.values else None
        if isinstance(own, list) and own and isinstance(own[0], list) and len(own[0]) >= 2:
            prefix, separator = own[0][0], own[0][1]
            found.append(
                Namespace(
                    from_wire(as_text(prefix), utf8=session.utf8),
                    as_text(separator).decode("latin-1") if separator is not None else "",
                )
            )
        return True

    try:
        await session.connection.ask(command(b"NAMESPACE"), takes)
    except Refused:
        return Namespace()
    return found[0] if found else Namespace()


async def listed(session: Session) -> dict[bytes, Listed]:
    """Return all folders with their status, by name, in the server's order. Raises: Refused, Closed.

    One command where the server has LIST-STATUS; else one a folder, all in the pipe at once.
    """
    found: dict[bytes, Listed] = {}
    statuses: dict[bytes, dict[str, int]] = {}
    subscribed: set[bytes] = set()
    is_extended = session.has("LIST-EXTENDED") or session.has("IMAP4REV2")
    with_status = session.has("LIST-STATUS") or session.has("IMAP4REV2")

    def takes(what: Untagged) -> bool:
        if not isinstance(what, Data):
            return False
        if what.name == "STATUS" and len(what.values) >= 2:
            statuses[_folded(as_text(what.values[0]))] = _status(what)
        elif what.name in ("LIST", "LSUB") and len(what.values) >= 3:
            one = _one(what)
            if what.name == "LSUB":
                subscribed.add(_folded(one.name))
            else:
                found[_folded(one.name)] = one
        else:
            return False
        return True

    ask = session.connection.ask
    items = _ITEMS_MODSEQ if session.has("CONDSTORE") or session.has("QRESYNC") else _ITEMS
    if is_extended:
        wanted = [b"SUBSCRIBED", b"CHILDREN"]
        if session.has("SPECIAL-USE"):
            wanted.append(b"SPECIAL-USE")
        if with_status:
            wanted.append(b"STATUS " + items)
        await ask(joined(b'LIST "" "*" RETURN (', b" ".join(wanted), b")"), takes)
        subscribed = {name for name, each in found.items() if b"\\subscribed" in each.attributes}
    else:
        await ask(command(b"LIST", b'""', b'"*"'), takes)
        await ask(command(b"LSUB", b'""', b'"*"'), takes)
    asked = [each for name, each in found.items() if each.can_hold and name not in statuses]
    for one in asked:
        session.connection.put(joined(b"STATUS ", session.name(one.name), b" ", items), lambda said: None, takes)
    if asked:
        await ask(command(b"NOOP"), takes)
    for name, each in found.items():
        each.status = statuses.get(name, {})
        each.is_subscribed = name in subscribed
    return {each.name: each for each in found.values()}


def _folded(name: bytes) -> bytes:
    return _INBOX if name.upper() == _INBOX else name


def _one(what: Data) -> Listed:
    attributes, separator, name = what.values[:3]
    return Listed(
        as_text(name),
        as_text(separator).decode("latin-1") if separator is not None else "",
        frozenset(each.lower() for each in attributes if isinstance(each, bytes))
        if isinstance(attributes, list)
        else frozenset(),
    )


def _status(what: Data) -> dict[str, int]:
    told = what.values[1]
    if not isinstance(told, list):
        return {}
    names = [as_text(each).decode("ascii", "replace").upper() for each in told[::2]]
    numbers = [as_number(each) for each in told[1::2]]
    return {name: number for name, number in zip(names, numbers, strict=False) if number is not None}


def path_of(name: bytes, separator: str, own: Namespace, *, utf8: bool) -> tuple[str, ...]:
    """Return a folder's path. The prefix of the user's own namespace is no part of it; the inbox is `INBOX`."""
    if name.upper() == _INBOX:
        return ("INBOX",)
    text = from_wire(name, utf8=utf8)
    if own.prefix and text.startswith(own.prefix):
        text = text[len(own.prefix) :]
    return tuple(text.split(separator)) if separator else (text,)


def name_of(path: tuple[str, ...], own: Namespace, *, utf8: bool) -> bytes:
    """Return the name of a folder that is to be made. Raises: ValueError where the server can't have it."""
    if path == ("INBOX",):
        return _INBOX
    if not path or not all(path):
        raise ValueError("a folder has a name")
    separator = own.separator
    if separator and any(separator in part for part in path):
        raise ValueError(f"a name with {separator!r}, which parts folders from each other at this server")
    if not separator and len(path) > 1:
        raise ValueError("folders in folders, which this server has not")
    text = separator.join(path)
    first = path[0].upper()
    if any(ord(each) < 0x20 or each == "\x7f" for each in text):
        raise ValueError("a name with a control character")
    if first == "INBOX" and path[0] != "INBOX":
        raise ValueError("a name that the inbox has in other letters")
    return to_wire(
        own.prefix + text if not (path[0] == "INBOX" and own.prefix.upper().startswith("INBOX")) else text, utf8=utf8
    )
