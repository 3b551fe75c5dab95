"""Exchange's other side for the suite of mailbox stores, and what both of its connectors may make of a message."""

from __future__ import annotations

import itertools
import re

from gateway.contract import Content, memo
from gateway.testing import Bench, MailboxDriver
from tests.peers.ews.process import EwsCompany, shared

_NUMBERS = itertools.count(1)
_LONG = re.compile(rb"(?m)^X-Long:.*\r\n(?:[ \t].*\r\n)*")
"""A field over the bounds within which we look into messages."""


class EwsMailboxes(MailboxDriver):
    """Mailboxes of an organisation in the EWS peer, which makes MIME anew from what it keeps."""

    honest = True

    def __init__(self, bench: Bench) -> None:
        self.peer = shared()
        self.peer.refuse(False)
        self.peer.violations()
        bench.peer_port, bench.port = self.peer.port, next(_NUMBERS)
        self.company: EwsCompany = self.peer.organisation(domain=f"store{bench.port}.example", honest=self.honest)

    def mailbox(self) -> str:
        name = f"box{next(_NUMBERS)}"
        self.company.add(name)
        return self.company.address(name)

    def forget_tokens(self) -> None:
        self.company.expire_sync()

    def carried(self, sent: bytes, got: bytes) -> bool:
        return says_the_same(sent, got) if self.honest else sent == got

    def break_peer(self) -> None:
        self.peer.refuse(True)

    def mend_peer(self) -> None:
        self.peer.refuse(False)

    def close(self) -> None:
        self.peer.refuse(False)
        found = self.peer.violations()
        assert not found, "\n".join(found)


def says_the_same(sent: bytes, got: bytes) -> bool:
    """Tell whether a person finds the same in two messages."""
    (subject, words, files), found = said(sent), said(got)
    # A line of the header that is none is the first of the text, for whoever makes the message anew.
    return (subject, words, files) == (found[0], found[1][-len(words) :] if words else found[1], found[2])


def says_the_same_by_graph(sent: bytes, got: bytes) -> bool:
    """The same of what Graph makes of a message: there a long text is a file."""
    _, words, _ = said(sent)
    _, _, files = said(got)
    as_file = any(octets.decode("utf-8", "replace").split() == words for _, octets in files)
    return as_file or says_the_same(sent, got)


def said(octets: bytes) -> tuple[str, list[str], list[tuple[str, bytes]]]:
    """Return what a person finds in a message: subject, words, files; with what Exchange never keeps left out."""
    found = memo(Content(_LONG.sub(b"", octets.replace(b"\0", b"").replace("\ufffd".encode(), b""))))
    files = [(each.name, b"".join(each.octets())) for each in found.attachments if each is not found.page]
    return found.subject, found.text.split(), files
