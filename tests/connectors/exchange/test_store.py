"""EWS keeps the contract of mailbox stores, on a peer that makes MIME anew and on one that keeps octets."""

from __future__ import annotations

from connectors.exchange.ews import Ews
from gateway.testing import MailboxStoreSuite, fixture_of
from tests.connectors.exchange.mailboxes import EwsMailboxes
from tests.peers.ews.auth import PASSWORD, SERVICE

CONFIG = {
    "url": "http://127.0.0.1:{peer_port}/EWS/Exchange.asmx",
    "auth": "basic",
    "username": f"{SERVICE}@store{{port}}.example",
    "password": PASSWORD,
}


class OctetsKept(EwsMailboxes):
    honest = False


class TestEws(MailboxStoreSuite):
    connector = fixture_of(Ews, config=CONFIG, driver=EwsMailboxes)


class TestEwsOctets(MailboxStoreSuite):
    connector = fixture_of(Ews, config=CONFIG, driver=OctetsKept)
