"""Exchange's other side for the conformance kit: an organisation of the EWS peer, asked by its control."""

from __future__ import annotations

import itertools
from typing import ClassVar, Final

from gateway.contract import Address
from gateway.testing import Bench, DestinationDriver, Got, SourceDriver, body_of
from mappings.network import network
from tests.peers.ews.process import EwsCompany, EwsPeer, shared

NUMBER = "{c1a6a2f4-6c3b-4b41-8a53-51c6f4c6b6de}/kit-number"
"""The property by which a submitted item is known, whatever a server makes of its octets."""

_NUMBERS: Final = itertools.count(1)


class EwsDriver(SourceDriver, DestinationDriver):
    """Items are put into Ann's folder `Out`; mail goes to mailboxes that are made as they are asked for."""

    in_flight_bound = 40
    flood = 100
    honest: ClassVar[bool] = False

    def __init__(self, bench: Bench) -> None:
        self.peer: EwsPeer = shared()
        self.peer.refuse(False)
        self.peer.violations()
        # The configuration's texts know of two numbers: the peer's port, and one that names this organisation.
        bench.peer_port, bench.port = self.peer.port, next(_NUMBERS)
        self._made = {"ann"}
        self.company: EwsCompany = self.peer.organisation("ann", domain=f"kit{bench.port}.example", honest=self.honest)

    def submit(self, number: int, octets: bytes) -> None:
        self.company.put("ann", octets, folder="Out", extended={NUMBER: str(number)})

    def acknowledged(self) -> set[int]:
        return self._numbers("Gatepost/Taken")

    def refused(self) -> set[int]:
        return self._numbers("Gatepost/Refused")

    def _numbers(self, folder: str) -> set[int]:
        return {int(item.properties[NUMBER]) for item in self.company.items("ann", folder, whole=False)}

    def recipient(self, number: int) -> Address:
        name = f"r{number}"
        if name not in self._made:
            self._made.add(name)
            self.company.add(name)
        return network("smtp").parse(self.company.address(name))

    def utf8_recipient(self) -> Address:
        return network("smtp").parse(f"jürgen@{self.company.domain}")

    def refused_recipient(self) -> Address:
        return network("smtp").parse(self.company.address("nobody"))

    def received(self) -> list[Got]:
        return [
            Got(frozenset([self.company.address(name)]), item.octets)
            for name in sorted(self._made)
            for item in self.company.items(name)
        ]

    def break_peer(self) -> None:
        self.peer.refuse(True)

    def mend_peer(self) -> None:
        self.peer.refuse(False)

    def close(self) -> None:
        self.peer.refuse(False)
        found = self.peer.violations()
        assert not found, "\n".join(found)


class HonestDriver(EwsDriver):
    """The same where messages are made anew from what Exchange keeps of them."""

    honest = True

    def body_carried(self, body: bytes) -> bytes:
        """Return the body as the server gives it."""
        for folder in ("Out", "Gatepost/Taken"):
            for item in self.company.items("ann", folder):
                if body_of(item.octets) == body:
                    return body_of(item.shown)
        return body
