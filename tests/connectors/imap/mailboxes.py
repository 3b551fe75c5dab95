"""Mailboxes of real servers for the tests of the contract: one server of a kind for a run of the tests."""

from __future__ import annotations

import atexit
import itertools
from collections.abc import Callable, Collection
from functools import cache
from typing import Final

from gateway.testing import Bench, MailboxDriver
from tests.connectors.imap.without import Without
from tests.peers.courier import Courier
from tests.peers.cyrus import PASSWORD, Cyrus
from tests.peers.dovecot import Dovecot
from tests.peers.liar_imap import Liar

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


@cache
def courier() -> Courier:
    """Return a Courier that runs until the tests end."""
    made = Courier()
    atexit.register(made.__exit__)
    made.start()
    return made


class DovecotMailboxes(MailboxDriver):
    """Mailboxes of a Dovecot. `lacks`: what it seems not to have."""

    def __init__(self, bench: Bench, server: Dovecot | None = None, lacks: Collection[str] = ()) -> None:
        self.server = server or dovecot()
        self.front = Without(self.server.port, lacks) if lacks else None
        if self.front is not None:
            self.front.__enter__()
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

    def carried(self, sent: bytes, got: bytes) -> bool:
        """Cyrus ends every line by CRLF; a NUL it refuses."""
        return got == sent.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def break_peer(self) -> None:
        self.server.kill()

    def mend_peer(self) -> None:
        self.server.start()


class CourierMailboxes(MailboxDriver):
    """Mailboxes of a Courier, whose folders are below `INBOX.`."""

    def __init__(self, bench: Bench) -> None:
        self.server = courier()
        bench.peer_port = self.server.port
        self._last = ""

    def mailbox(self) -> str:
        self._last = self.server.user(f"box{next(_NUMBERS)}")
        return self._last

    def carried(self, sent: bytes, got: bytes) -> bool:
        """Courier ends every line by CRLF, the last one too, and leaves out every other CR."""
        lines = sent.replace(b"\r", b"").removesuffix(b"\n") + b"\n"
        return got == lines.replace(b"\n", b"\r\n")

    def forget_tokens(self) -> None:
        self.server.renumber(self._last, 77777)

    def break_peer(self) -> None:
        self.server.stop()

    def mend_peer(self) -> None:
        self.server.start()


class CyrusRenumbered(CyrusMailboxes):
    """A Cyrus whose folders get another UIDVALIDITY, which it gives them by no command: what is in front says so."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.front = Liar(self.server.port)
        self.front.__enter__()
        bench.peer_port = self.front.port

    def forget_tokens(self) -> None:
        self.front.uidvalidity_off = 1000

    def close(self) -> None:
        self.front.__exit__()


class CyrusPrefixed(CyrusMailboxes):
    own_prefix = True
