"""IMAP keeps the contract of mailbox stores, at a real Dovecot."""

from __future__ import annotations

import itertools
from typing import Final

from connectors.imap import Imap
from gateway.testing import Bench, MailboxDriver, MailboxStoreSuite, fixture_of
from tests.peers.dovecot import PASSWORD, Dovecot

_NUMBERS = itertools.count(1)
CONFIG: Final = {
    "host": "127.0.0.1",
    "port": "{peer_port}",
    "tls": "none",
    "password": PASSWORD,
}


class DovecotMailboxes(MailboxDriver):
    """Mailboxes of a Dovecot of its own."""

    settings = ""
    separator = "/"

    def __init__(self, bench: Bench) -> None:
        self.server = Dovecot(settings=self.settings, separator=self.separator)
        bench.peer_port = self.server.port
        self.server.start()
        self._last = ""

    def mailbox(self) -> str:
        self._last = f"box{next(_NUMBERS)}"
        return self._last

    def forget_tokens(self) -> None:
        self.server.adm("mailbox", "update", "-u", self._last, "--uid-validity", "77777", "INBOX")

    def break_peer(self) -> None:
        self.server.stop()

    def mend_peer(self) -> None:
        self.server.start()

    def close(self) -> None:
        self.server.__exit__()


class TestDovecot(MailboxStoreSuite):
    connector = fixture_of(Imap, config=CONFIG, driver=DovecotMailboxes)


class Plain(DovecotMailboxes):
    """Without all that makes it quick or sure."""

    settings = "imap_capability = IMAP4rev1 UIDPLUS SPECIAL-USE"


class TestPlain(MailboxStoreSuite):
    connector = fixture_of(Imap, config=CONFIG, driver=Plain)
