"""What a server tells of a mailbox itself: how full it is, and who may do what in it.

Source: RFC 9208 (RFC 2087, QUOTA), RFC 4314 (ACL).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from connectors.imap.connection import Refused
from connectors.imap.session import Session
from connectors.imap.wire.commands import command, joined
from connectors.imap.wire.dialogue import Untagged
from connectors.imap.wire.responses import BYE, Data, Said, as_number, as_text
from gateway.contract import Facts

MOST_LINES: Final = 10_000
_UNIT: Final = 1024
"""Octets that STORAGE counts in."""


async def facts(session: Session, names: Sequence[tuple[bytes, str]]) -> Facts:
    """Return what is told. `names`: the folders as they are listed, and as they are to be shown.

    Raises: Closed.
    """
    used, limit = await _quota(session)
    rights = await _rights(session, names[:MOST_LINES]) if session.has("ACL") else []
    return Facts(used, limit, tuple(rights[:MOST_LINES]))


async def _quota(session: Session) -> tuple[int | None, int | None]:
    """Return the octets that are used and that may be, of the root that is the fullest."""
    roots: list[tuple[int, int]] = []

    def takes(what: Untagged) -> bool:
        if not isinstance(what, Data) or what.name not in ("QUOTA", "QUOTAROOT"):
            return False
        told = what.values[1] if what.name == "QUOTA" and len(what.values) > 1 else None
        if isinstance(told, list):
            for at in range(0, len(told) - 2, 3):
                now, most = as_number(told[at + 1]), as_number(told[at + 2])
                if as_text(told[at]).upper() == b"STORAGE" and now is not None and most is not None:
                    roots.append((now * _UNIT, most * _UNIT))
        return True

    if not any(each == "QUOTA" or each.startswith("QUOTA=") for each in session.connection.capabilities):
        return None, None
    try:
        await session.connection.ask(command(b"GETQUOTAROOT", b"INBOX"), takes)
    except Refused:
        return None, None
    return min(roots, key=lambda root: root[1] - root[0]) if roots else (None, None)


async def _rights(session: Session, names: Sequence[tuple[bytes, str]]) -> list[str]:
    """Return who has which rights, or, where the list is not ours to see, which rights we have. A line each.

    All folders are asked for at once.
    """
    told: dict[bytes, list[tuple[bytes, bytes]]] = {}
    mine: dict[bytes, bytes] = {}
    answers: list[Said] = []

    def takes(what: Untagged) -> bool:
        if not isinstance(what, Data) or what.name not in ("ACL", "MYRIGHTS") or not what.values:
            return False
        name, rest = as_text(what.values[0]), [as_text(each) for each in what.values[1:]]
        if what.name == "ACL":
            told[name] = list(zip(rest[::2], rest[1::2], strict=False))
        elif rest:
            mine[name] = rest[0]
        return True

    async def ask(verb: bytes, some: Sequence[bytes]) -> None:
        done: Callable[[Said], None] = answers.append
        for name in some:
            session.connection.put(joined(verb, session.name(name)), done, takes)
        await session.connection.ask(command(b"NOOP"), takes)

    await ask(b"GETACL ", [name for name, _ in names])
    await ask(b"MYRIGHTS ", [name for name, _ in names if name not in told])
    if any(each.word == BYE for each in answers):
        return []
    lines = []
    for name, shown in names:
        for who, what in told.get(name, [(b"(own)", mine[name])] if name in mine else []):
            lines.append(f"{_plain(shown.encode())}: {_plain(who)} {_plain(what)}")
    return lines


def _plain(octets: bytes) -> str:
    text = octets.decode("utf-8", "replace")
    return "".join(each if each.isprintable() else "?" for each in text)
