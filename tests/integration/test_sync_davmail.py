"""Mailboxes of an Exchange server by DavMail's IMAP, as people move them who have nothing else, into Dovecot and back.

DavMail offers little: no MULTIAPPEND, no CONDSTORE, no LIST-STATUS; a message's octets are what Exchange makes of it.
"""

from __future__ import annotations

import asyncio
import imaplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.imap import Imap
from gateway.sync.engine import Result, run_pass
from gateway.sync.state import State
from gateway.sync.values import Policy
from tests.integration.sync_pair import context
from tests.peers import dovecot
from tests.peers.davmail import DavMail
from tests.peers.dovecot import Dovecot
from tests.peers.ews.auth import PASSWORD
from tests.peers.ews.process import EwsCompany, EwsPeer

pytestmark = pytest.mark.xdist_group("davmail")
COUNT = 12


@pytest.fixture(scope="module")
def front(ews_process: EwsPeer) -> Iterator[DavMail]:
    with DavMail(ews_process.url) as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot() as running:
        yield running


@pytest.fixture
def here(ews_peer: EwsPeer) -> EwsCompany:
    made = ews_peer.organisation("ann")
    for number in range(COUNT):
        put(made, number, "inbox" if number % 3 else "Work")
    return made


def put(company: EwsCompany, number: int, folder: str) -> None:
    octets = (
        f"From: <bob@x.example>\r\nTo: <{company.address('ann')}>\r\nSubject: Hello {number}\r\n"
        f"Message-ID: <{number}@x.example>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\nBody {number}\r\n"
    ).encode()
    company.put("ann", octets, folder=folder, received_at=1_795_428_000 + number)


def step(left: tuple[int, str, str], right: tuple[int, str, str], folder: Path, policy: Policy) -> Result:
    """Do one pass between two mailboxes, each by port, user and password."""

    async def body() -> Result:
        stores = []
        for port, _, password in (left, right):
            config = Imap.Config(host="127.0.0.1", port=port, tls="none", password=password)  # type: ignore[call-arg]
            stores.append(Imap("peer", config, context(folder)))
            await stores[-1].start()
        state = State(folder / "sync.sqlite")
        try:
            async with stores[0].open(left[1]) as one, stores[1].open(right[1]) as two:
                return await run_pass("pair", one, two, state, policy)
        finally:
            state.close()
            for store in stores:
                await store.stop()

    return asyncio.run(body())


def shown(port: int, user: str, password: str, folder: str) -> list[tuple[bytes, bytes, bool]]:
    """Return octets, date and whether it is flagged, of all messages, as an independent client reads them."""
    client = imaplib.IMAP4("127.0.0.1", port, timeout=60)
    client.login(user, password)
    found: list[tuple[bytes, bytes, bool]] = []
    if client.select(folder, readonly=True)[1] != [b"0"]:
        for part in client.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")[1]:
            if isinstance(part, tuple):
                date = part[0].partition(b'INTERNALDATE "')[2].partition(b'"')[0]
                found.append((part[1], date, b"\\Flagged" in part[0]))
    client.logout()
    return sorted(found)


@pytest.mark.timeout(300)
def test_a_mailbox_behind_davmail_is_copied_and_followed(
    front: DavMail, server: Dovecot, here: EwsCompany, tmp_path: Path
) -> None:
    left = front.imap_port, here.address("ann"), PASSWORD
    right = server.port, "ann", dovecot.PASSWORD
    policy = Policy(mode="mirror", folders=("INBOX", "Work"))
    report = step(left, right, tmp_path, policy).report
    assert (report.copied, report.problems) == (COUNT, 0)
    for folder in ("INBOX", "Work"):
        assert shown(*right, folder) == shown(*left, folder)

    again = step(left, right, tmp_path, policy).report
    assert (again.copied, again.read, again.flagged, again.removed) == (0, 0, 0, 0)

    put(here, 100, "inbox")
    client = imaplib.IMAP4("127.0.0.1", front.imap_port, timeout=60)
    client.login(here.address("ann"), PASSWORD)
    client.select("INBOX")
    client.store("1", "+FLAGS", "(\\Flagged)")
    client.logout()
    report = step(left, right, tmp_path, policy).report
    assert (report.copied, report.flagged, report.removed) == (1, 1, 0)
    assert shown(*right, "INBOX") == shown(*left, "INBOX")


@pytest.mark.timeout(300)
def test_a_mailbox_goes_behind_davmail(front: DavMail, server: Dovecot, ews_peer: EwsPeer, tmp_path: Path) -> None:
    company = ews_peer.organisation("ann")
    client = imaplib.IMAP4("127.0.0.1", server.port, timeout=60)
    client.login("bert", dovecot.PASSWORD)
    for number in range(5):
        octets = f"From: <bob@x.example>\r\nSubject: {number}\r\nMessage-ID: <{number}@x.example>\r\n\r\nBody\r\n"
        date = imaplib.Time2Internaldate(1_500_000_000 + number)
        client.append("INBOX", "\\Flagged" if number else "", date, octets.encode())
    client.logout()
    left = server.port, "bert", dovecot.PASSWORD
    right = front.imap_port, company.address("ann"), PASSWORD
    policy = Policy(folders=("INBOX",))
    report = step(left, right, tmp_path, policy).report
    assert (report.copied, report.problems) == (5, 0)
    items = company.items("ann")
    assert sorted(each.subject for each in items) == [str(number) for number in range(5)]
    assert {each.received_at for each in items} == {1_500_000_000 + number for number in range(5)}
    assert [flagged for _, _, flagged in shown(*right, "INBOX")].count(True) == 4
    again = step(left, right, tmp_path, policy).report
    assert (again.copied, again.read) == (0, 0)
