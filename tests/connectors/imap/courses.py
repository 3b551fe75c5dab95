"""What is done in the dialogues, and what comes of it: a day of a mailbox, in a few calls."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gateway.contract import Appended, Content
from tests.connectors.imap.dialogues import FOLDER, record, written
from tests.connectors.imap.kit import new, opened

DAY: Final = 1_600_000_000.0


async def day(folder: Path, port: int, **config: Any) -> dict[str, object]:
    """Have a day, on one connection, and return what was seen."""
    seen: dict[str, object] = {}
    async with opened(folder, port, "ann", max_connections=1, compress=False, **config) as mailbox:
        await mailbox.create_folder(("Süd",))
        folders = await mailbox.folders()
        seen["folders"] = {"/".join(each.path): (each.role, each.total, each.subscribed) for each in folders}
        ids = {each.path[-1]: each.id for each in folders}
        first = await mailbox.changes(ids["INBOX"], None)
        items = [
            new(1, flags=frozenset(("seen",)), received_at=DAY),
            new(2, keywords=frozenset(("Grün",)), received_at=DAY + 1),
            new(3, received_at=DAY + 2),
        ]
        made = await mailbox.append(ids["INBOX"], items)
        there = [each.id for each in made if isinstance(each, Appended)]
        seen["appended"] = len(there)
        listed = await mailbox.changes(ids["INBOX"], first.token)
        seen["listed"] = [
            (each.message_id, each.size, sorted(each.flags), sorted(each.keywords), each.received_at)
            for each in listed.items
        ]
        fetched = [pair async for pair in mailbox.fetch([there[2], there[0]])]
        seen["fetched"] = [each.octets() for _, each in fetched if isinstance(each, Content)]
        await mailbox.set_flags([there[0]], frozenset(("flagged",)), frozenset(("seen",)))
        moved = await mailbox.move([there[1]], ids["Süd"])
        await mailbox.remove([there[2]], purge=True)
        since = await mailbox.changes(ids["INBOX"], listed.token)
        seen["since"] = [(there.index(each.id), sorted(each.flags)) for each in since.items]
        seen["gone"] = sorted(there.index(id) for id in since.removed)
        there_now = await mailbox.changes(ids["Süd"], None)
        seen["moved"] = [each.message_id for each in there_now.items if each.id in moved]
    return seen


async def main(names: list[str]) -> None:
    """Write the dialogues of these servers anew."""
    from tests.connectors.imap.mailboxes import courier, cyrus, dovecot
    from tests.peers.courier import Courier
    from tests.peers.cyrus import Cyrus
    from tests.peers.dovecot import Dovecot

    known: dict[str, Callable[[], Dovecot | Cyrus | Courier]] = {"dovecot": dovecot, "cyrus": cyrus, "courier": courier}

    for name in names:
        server = known[name]()
        if not isinstance(server, Dovecot):
            server.user("ann")
        with tempfile.TemporaryDirectory() as folder:

            async def course(port: int, folder: str = folder) -> None:
                print(await day(Path(folder), port))

            turns = await record(server.port, course)
        FOLDER.mkdir(exist_ok=True)
        says = f"# Recorded from Debian 12's {name} by python -m tests.connectors.imap.courses {name}\n"
        (FOLDER / f"{name}.txt").write_text(says + written(turns), encoding="ascii")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
