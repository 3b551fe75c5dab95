"""Reading back: what a mail has become in its mailbox, compared with what was put there.

Notes of what Exchange may change are replaced by what it has changed of this one. It costs a second request for each
that creates, so it is for the time in which a new server is being got to know, or for mail whose exact fate matters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing

from connectors.exchange.desk import Desk
from connectors.exchange.losses import differences
from connectors.exchange.organisation import Fault, Ref, Seen
from gateway.contract import Content, Note


async def changed(desk: Desk, mailbox: str, made: Mapping[Ref, Content]) -> dict[Ref, tuple[Note, ...]]:
    """Return what is not the same in items that were just made; those that can't be read, or are large, are left out.

    They are in the mailbox in any case, so that no fault of this is one of the delivery.
    """
    asked = [Seen(ref, sent.size, "", None, None) for ref, sent in made.items() if sent.is_inline]
    found: dict[Ref, tuple[Note, ...]] = {}
    if not asked or desk.held(mailbox) is not None:
        return found
    try:
        async with aclosing(desk.organisation.mime(asked)) as pieces:  # type: ignore[type-var]  # a generator, always
            async for ref, back in pieces:
                if isinstance(back, Content) and ref in made:
                    found[ref] = await asyncio.to_thread(differences, made[ref], back)
    except Fault as e:
        desk.log.info("what was delivered could not be read back", mailbox=mailbox, cause=str(e))
    return found
