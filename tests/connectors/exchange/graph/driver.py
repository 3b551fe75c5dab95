"""Graph's other side for the conformance kit: an organisation of the Graph peer, asked by its control."""

from __future__ import annotations

from typing import Any, Final

from gateway.contract import Address
from gateway.testing import Bench, DestinationDriver, Got, SourceDriver, body_of
from mappings.network import network
from tests.connectors.exchange.driver import NUMBER, EwsDriver
from tests.connectors.exchange.mailboxes import says_the_same_by_graph
from tests.peers.graph.process import GraphCompany, shared

CONFIG: Final[dict[str, Any]] = {}
"""The options of the organisation at hand; its secret is known only once it is made."""


class GraphDriver(SourceDriver, DestinationDriver):
    """Items are put into Ann's folder `Out`; mail goes to mailboxes that are made as they are asked for."""

    in_flight_bound = EwsDriver.in_flight_bound
    flood = EwsDriver.flood

    def __init__(self, bench: Bench) -> None:
        self.peer = shared()
        self.peer.refuse(False)
        self.peer.violations()
        self._made = {"ann"}
        self.company: GraphCompany = self.peer.organisation("ann")
        watch = {"mailbox": self.company.address("ann"), "folder": "Out", "recipients": ["ann@target.example"]}
        CONFIG.clear()
        CONFIG.update(self.company.access(poll_s=1, watch=[watch], **self._options()))

    def _options(self) -> dict[str, Any]:
        return {}

    def submit(self, number: int, octets: bytes) -> None:
        self.company.put("ann", octets, folder="Out", extended={NUMBER: str(number)})

    def acknowledged(self) -> set[int]:
        return self._numbers("Gatepost/Taken")

    def refused(self) -> set[int]:
        return self._numbers("Gatepost/Refused")

    def _numbers(self, folder: str) -> set[int]:
        return {int(item.properties[NUMBER]) for item in self.company.items("ann", folder, whole=False)}

    def body_carried(self, body: bytes) -> bytes:
        """Return the body as Graph gives it, which makes MIME anew."""
        for folder in ("Out", "Gatepost/Taken"):
            for item in self.company.items("ann", folder):
                if body_of(item.octets) == body:
                    return body_of(item.shown)
        return body

    def recipient(self, number: int) -> Address:
        name = f"r{number}"
        if name not in self._made:
            self._made.add(name)
            self.company.add(name)
        return network("smtp").parse(self.company.address(name))

    def utf8_recipient(self) -> Address:
        return network("smtp").parse(f"jürgen@{self.company.domain}")

    def refused_recipient(self) -> Address | None:
        return network("smtp").parse(self.company.address("nobody"))

    def received(self) -> list[Got]:
        return [
            Got(frozenset([self.company.address(name)]), item.shown)
            for name in sorted(self._made)
            for item in self.company.items(name)
        ]

    def made_anew(self, sent: bytes, got: bytes) -> bool:
        return says_the_same_by_graph(sent, got)

    def break_peer(self) -> None:
        self.peer.refuse(True)

    def mend_peer(self) -> None:
        self.peer.refuse(False)

    def close(self) -> None:
        self.peer.refuse(False)
        found = self.peer.violations()
        assert not found, "\n".join(found)


class SendingDriver(GraphDriver):
    """Ann sends all mail, as whoever it is from. An unknown recipient is told by a report later, not by Graph."""

    together = 60  # each is two requests, and thirty mails a minute are taken of a mailbox

    def _options(self) -> dict[str, Any]:
        self.company.grant("ann", "*")
        return {"mode": "send", "send_as": self.company.address("ann")}

    def refused_recipient(self) -> None:
        return None
