"""Contents: many by one command, and one by one where the server can't give one of them.

Promises: a message that a server refuses to give stops no other; what is large is in a file while it is read.
Source: RFC 9051 §6.4.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from connectors.imap.connection import Refused
from connectors.imap.faults import fault_of, status_of
from connectors.imap.session import Session
from connectors.imap.wire.commands import joined, numbers
from connectors.imap.wire.dialogue import Untagged
from connectors.imap.wire.responses import Fetched, body
from connectors.imap.wire.tokens import Spilled
from gateway.contract import Content, Scope, Status


async def contents(
    session: Session, uids: Sequence[int], content_of: Callable[[bytes | Spilled], Content]
) -> dict[int, Content | Status]:
    """Return messages of the selected folder by UID; those that are gone are left out.

    Raises: Refused, Closed.
    """
    found: dict[int, Content | Status] = {}
    wanted = set(uids)

    def takes(what: Untagged) -> bool:
        if not isinstance(what, Fetched):
            return False
        octets = body(what)
        if what.uid in wanted and octets is not None:
            found[what.uid] = content_of(octets)
        return True

    try:
        await session.connection.ask(joined(b"UID FETCH ", numbers(uids), b" (UID BODY.PEEK[])"), takes)
    except Refused as refused:
        if fault_of(refused, unknown=False).scope is not Scope.MESSAGE:
            raise
        rest = [uid for uid in uids if uid not in found]
        if len(uids) == 1:
            return found or {uids[0]: status_of(refused.said)}
        for uid in rest:
            found |= await contents(session, [uid], content_of)
    return found
