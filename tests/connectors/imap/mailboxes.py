"""Mailboxes of real servers for the tests of the contract: one server of a kind for a run of the tests."""

from __future__ import annotations

import atexit
import itertools
from collections.abc import Callable, Collection
from functools import cache
from typing import Final

from gateway.testing import Bench, MailboxDriver
from tests.connectors.imap.without import Without
from tests.peers.cyrus import PASSWORD, Cyrus
from tests.peers.dovecot import Dovecot

CONFIG: Final = {"host": "127.0.0.1", "port": "{peer_port}", "tls": "none", "password": PASSWORD}
_NUMBERS = itertools.count(1)


@cache
def dovecot(separator: str = "/", location: str = "maildir:~/Maildir", settings: str = "") -> Dovecot:
    """Return a Dovecot that runs until the tests end."""
    made = Dovecot(separator=separator, location=location, settings=settings)
    atexit.register(made.__exit__)
    made.start()
    return made


@cache
def cyrus(*, own_prefix: bool = False) -> Cyrus:
    """Return a Cyrus that runs until the tests end."""
    made = Cyrus(own_prefix=own_prefix)
    atexit.register(made.__exit__)
    made.start()
    return made


class DovecotMailboxes(MailboxDriver):
    """Mailboxes of a Dovecot. `lacks`: what it seems not to have."""

    def __init__(self, bench: Bench, server: Dovecot | None = None, lacks: Collection[str] = ()) -> None:
        self.server = server or dovecot()
        self.front = Without(self.server.port, lacks).__enter__() if lacks else None
        bench.peer_port = self.front.port if self.front is not None else self.server.port
        self._last = ""

    def mailbox(self) -> str:
        self._last = f"box{next(_NUMBERS)}"
        return self._last

    def forget_tokens(self) -> None:
        self.server.adm("mailbox", "update", "-u", self._last, "--uid-validity", "77777", "INBOX")

    def carried(self, sent: bytes, got: bytes) -> bool:
        """Dovecot ends every line by CRLF, and has 0x80 for NUL."""
        return got == sent.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").replace(b"\0", b"\x80")

    def break_peer(self) -> None:
        self.server.kill()

    def mend_peer(self) -> None:
        self.server.start()

    def close(self) -> None:
        if self.front is not None:
            self.front.__exit__()
            assert not self.front.used, self.front.used


def lacking(*lacks: str) -> Callable[[Bench], DovecotMailboxes]:
    """Return what makes a driver of a server that lacks these."""
    return lambda bench: DovecotMailboxes(bench, lacks=lacks)


class CyrusMailboxes(MailboxDriver):
    """Mailboxes of a Cyrus, whose users' folders are named as most have it, or below `INBOX.`."""

    own_prefix = False

    def __init__(self, bench: Bench) -> None:
        self.server = cyrus(own_prefix=self.own_prefix)
        bench.peer_port = self.server.port
        self._last = ""

    def mailbox(self) -> str:
        self._last = self.server.user(f"box{next(_NUMBERS)}")
        return self._last

    def forget_tokens(self) -> None:
        raise NotImplementedError

    def break_peer(self) -> None:
        self.server.kill()

    def mend_peer(self) -> None:
        self.server.start()


class CyrusPrefixed(CyrusMailboxes):
    own_prefix = True
