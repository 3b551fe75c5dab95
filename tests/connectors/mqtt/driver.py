"""MQTT's other side for the conformance kit: publishers and subscribers at a broker in a thread."""

from __future__ import annotations

import re
from typing import ClassVar

from gateway.contract import Address
from gateway.testing import Bench, DestinationDriver, Got, SourceDriver
from mappings.network import network
from tests.connectors.mqtt.broker import Broker, Sent

_PLACE = re.compile(r"kit/in/(\d+)")


class MqttDriver(SourceDriver, DestinationDriver):
    """Each message is published to a topic of its number: `kit/in/7`, by which the quarantine names it too."""

    in_flight_bound = 20
    flood = 100
    qos: ClassVar[int] = 1

    def __init__(self, bench: Bench) -> None:
        self.broker = Broker(bench.peer_port)
        self._quarantine = bench.tmp / "bad"

    def submit(self, number: int, octets: bytes) -> None:
        self.broker.put(Sent(number, f"kit/in/{number}", octets, self.qos))

    def acknowledged(self) -> set[int]:
        told = set(self.broker.acknowledged)
        return told - self.refused()

    def refused(self) -> set[int]:
        """Return those that an operator finds in the quarantine, with the reason."""
        found = set()
        for path in self._quarantine.glob("**/*.reason.txt"):
            named = _PLACE.search(path.read_text(encoding="utf-8"))
            if named is not None:
                found.add(int(named[1]))
        return found & set(self.broker.acknowledged)

    def recipient(self, number: int) -> Address:
        return network("mqtt").parse(f"kit/out/{number}")

    def utf8_recipient(self) -> Address:
        return network("mqtt").parse("kit/out/jürgen")

    def refused_recipient(self) -> Address:
        self.broker.refuse["kit/out/nobody"] = 0x87
        return network("mqtt").parse("kit/out/nobody")

    def received(self) -> list[Got]:
        return [Got(frozenset([one.topic]), one.payload) for one in list(self.broker.published)]

    def break_peer(self) -> None:
        self.broker.stop()

    def mend_peer(self) -> None:
        self.broker.start()

    def close(self) -> None:
        self.broker.close()


class ExactlyOnceDriver(MqttDriver):
    qos = 2
