"""POP3 keeps the contract of mailbox stores, at a real server: as one that is read, and removed from."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

import pytest

from connectors.pop import Pop
from gateway.testing import Bench, MailboxDriver, MailboxStoreSuite, fixture_of
from tests.peers.dovecot import PASSWORD, Dovecot

CONFIG: Final = {"host": "127.0.0.1", "port": "{peer_port}", "tls": "none", "password": PASSWORD}
_NUMBERS: Final = itertools.count(1)


class PopMailboxes(MailboxDriver):
    """Mailboxes of a Dovecot, into which mail comes as a delivery agent puts it there."""

    server: ClassVar[Dovecot]

    def __init__(self, bench: Bench) -> None:
        bench.peer_port = self.server.pop_port

    def mailbox(self) -> str:
        return f"box{next(_NUMBERS)}"

    def put(self, mailbox: str, items: Sequence[bytes]) -> None:
        maildir = self.server.folder / "mail" / mailbox / "Maildir"
        for folder in ("cur", "new", "tmp"):
            (maildir / folder).mkdir(parents=True, exist_ok=True)
        for octets in items:
            path = maildir / "tmp" / f"{next(_NUMBERS)}.kit"
            path.write_bytes(octets)
            path.rename(maildir / "new" / path.name)
        if os.geteuid() == 0:
            for each in (maildir.parent, *maildir.parent.rglob("*")):
                shutil.chown(each, "nobody", "nogroup")

    def carried(self, sent: bytes, got: bytes) -> bool:
        """Dovecot ends every line by CRLF, the last one too."""
        lines = sent.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return got.removesuffix(b"\r\n") == lines.removesuffix(b"\r\n")

    def break_peer(self) -> None:
        self.server.kill()

    def mend_peer(self) -> None:
        self.server.start()


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with Dovecot() as server:
        PopMailboxes.server = server
        yield


class TestPop(MailboxStoreSuite):
    connector = fixture_of(Pop, config=CONFIG, driver=PopMailboxes)
