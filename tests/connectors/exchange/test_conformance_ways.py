"""EWS keeps the contract of a destination in send mode too, and where the server makes MIME anew."""

from __future__ import annotations

from typing import Any

from connectors.exchange.ews import Ews
from gateway.contract import Address
from gateway.testing import Bench, DestinationSuite, Got, fixture_of
from mappings.network import network
from tests.connectors.exchange.driver import EwsDriver
from tests.connectors.exchange.mailboxes import says_the_same
from tests.connectors.exchange.test_conformance import config


class HonestDriver(EwsDriver):
    """What the mailboxes have is read as any client of the server reads it."""

    honest = True

    def received(self) -> list[Got]:
        return [
            Got(frozenset([self.company.address(name)]), item.shown)
            for name in sorted(self._made)
            for item in self.company.items(name)
        ]

    def made_anew(self, sent: bytes, got: bytes) -> bool:
        return says_the_same(sent, got)


class SendingDriver(EwsDriver):
    """Ann sends all mail, as whoever it is from. An unknown recipient is told by a report later, not by the server."""

    together = 60  # each is two requests

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.company.grant("ann", "*")

    def refused_recipient(self) -> Any:
        return None

    def recipient(self, number: int) -> Address:
        return network("smtp").parse(f"r{number}@out.example")

    def received(self) -> list[Got]:
        return [Got(frozenset([item.properties["to"]]), item.octets) for item in self.company.outside()]

    def made_anew(self, sent: bytes, got: bytes) -> bool:
        return says_the_same(sent, got)


class TestEwsHonest(DestinationSuite):
    connector = fixture_of(Ews, config=config(watch=[]), driver=HonestDriver)


class TestEwsSend(DestinationSuite):
    """Each mail that is sent is two requests at least."""

    connector = fixture_of(
        Ews, config=config(watch=[], mode="send", send_as="ann@kit{port}.example"), driver=SendingDriver
    )
