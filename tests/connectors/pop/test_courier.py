"""POP3 at a real Courier: read whole, copied into a Dovecot once."""

from __future__ import annotations

import imaplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.pop import Pop
from tests.connectors.folders.into_dovecot import copied, imap, made, shown
from tests.peers.courier import PASSWORD, Courier
from tests.peers.dovecot import Dovecot


@pytest.fixture(scope="module")
def courier() -> Iterator[Courier]:
    with Courier() as running:
        yield running


def test_it_is_copied_into_dovecot(courier: Courier, tmp_path: Path) -> None:
    courier.user("anna")
    mails = [
        b"Message-ID: <%d@example.org>\r\nSubject: %d\r\n\r\n.dot\r\n..two\r\n%s\r\n" % (n, n, b"x" * n)
        for n in range(60)
    ]
    session = imaplib.IMAP4("127.0.0.1", courier.port)
    session.login("anna", PASSWORD)
    for octets in mails:
        assert session.append("INBOX", "", imaplib.Time2Internaldate(1.5e9), octets)[0] == "OK"
    session.logout()
    config = {"host": "127.0.0.1", "port": courier.pop_port, "tls": "none", "password": PASSWORD}
    with Dovecot() as dovecot:
        for _ in range(2):
            report = copied(made(Pop, config, tmp_path), "anna", imap(dovecot, tmp_path), "anna", tmp_path).report
            assert sorted(each.octets for each in shown(dovecot, "anna")) == sorted(mails)
        assert (report.copied, report.read) == (0, 0)
