"""EWS keeps the connector contract, both ways."""

from __future__ import annotations

from typing import Any

from connectors.exchange.ews import Ews
from gateway.testing import DestinationSuite, SourceSuite, fixture_of
from tests.connectors.exchange.driver import EwsDriver, HonestDriver
from tests.peers.ews.auth import PASSWORD, SERVICE


def config(**more: Any) -> dict[str, Any]:
    return {
        "url": "http://127.0.0.1:{peer_port}/EWS/Exchange.asmx",
        "auth": "basic",
        "username": f"{SERVICE}@kit{{port}}.example",
        "password": PASSWORD,
        "poll_s": 1,
        "watch": [{"mailbox": "ann@kit{port}.example", "folder": "Out", "recipients": ["ann@target.example"]}],
        **more,
    }


class TestEws(DestinationSuite, SourceSuite):
    connector = fixture_of(Ews, config=config(), driver=EwsDriver)


class TestEwsHonestSource(SourceSuite):
    """What the server makes anew is taken as it gives it."""

    connector = fixture_of(Ews, config=config(), driver=HonestDriver)
