"""A mail server's front: takes SMTP for the mailboxes of a private Dovecot, and puts each message into its Maildir.

It answers 250 once the message is there. The mailbox is the address's local part. An address with nobody's mailbox is
none of its concern: it makes one.
"""

from __future__ import annotations

import itertools
import os
import pwd
import threading
import time
from pathlib import Path
from typing import Any, Final

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.peers.dovecot import Dovecot
from tests.peers.process import free_port

_NUMBERS: Final = itertools.count(1)


class Maildrop:
    """One in front of `server`; use it as a context. `delay_s` is how long it thinks before it answers."""

    def __init__(self, server: Dovecot) -> None:
        self.server = server
        self.port = free_port()
        self.delay_s = 0.0
        self._lock = threading.Lock()
        self._taken: list[tuple[str, str]] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, ready_timeout=60)
        self._owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else None

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Deliver one message."""
        import asyncio

        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        content: Any = envelope.content
        octets = content if isinstance(content, bytes) else content.encode()
        for recipient in envelope.rcpt_tos:
            self._deliver(recipient.partition("@")[0], octets)
            with self._lock:
                self._taken.append((recipient, _id(octets)))
        return "250 2.0.0 delivered"

    def _deliver(self, user: str, octets: bytes) -> None:
        folder = self.server.folder / "mail" / user / "Maildir"
        for each in (folder.parent, folder, *(folder / name for name in ("tmp", "new", "cur"))):
            if not each.exists():
                each.mkdir(mode=0o700)
                self._give(each)
        name = f"{time.time():.6f}.N{next(_NUMBERS)}P{os.getpid()}.drop"
        path = folder / "tmp" / name
        path.write_bytes(octets)
        self._give(path)
        path.rename(folder / "new" / name)

    def _give(self, path: Path) -> None:
        if self._owner is not None:
            os.chown(path, self._owner.pw_uid, self._owner.pw_gid)

    def taken(self) -> list[tuple[str, str]]:
        """Return the recipient and Message-ID of each delivery, in order."""
        with self._lock:
            return list(self._taken)

    def __enter__(self) -> Maildrop:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


def _id(octets: bytes) -> str:
    for line in octets.split(b"\r\n\r\n", 1)[0].split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"message-id":
            return value.strip().decode("latin-1").strip("<>")
    return ""
