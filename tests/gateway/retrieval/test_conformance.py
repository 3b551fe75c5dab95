"""Fetching from mailboxes keeps the contract of a source, by IMAP and by POP3, from a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.imap import Imap
from connectors.pop import Pop
from gateway.retrieval import source
from gateway.testing import SourceSuite, fixture_of
from tests.gateway.retrieval.driver import FetchedByPop, FetchedDriver
from tests.peers.dovecot import PASSWORD, Dovecot

BASE = {
    "host": "127.0.0.1",
    "port": "{port}",
    "tls": "none",
    "password": PASSWORD,
    "poll_s": 0.2,
    "fetch": [{"mailbox": "user{peer_port}", "recipients": ["ann@acme.example"]}],
}


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with Dovecot() as server:
        FetchedDriver.server = server
        yield


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "FIRST_PAUSE_S", 0.1)


class TestImap(SourceSuite):
    connector = fixture_of(Imap, config=BASE, driver=FetchedDriver)


class TestPop(SourceSuite):
    connector = fixture_of(Pop, config=BASE, driver=FetchedByPop)
