"""The webhook keeps the connector contract, both ways."""

from __future__ import annotations

from application import Application, Poster
from gatepost_webhook import Webhook

from gateway.contract import Address
from gateway.testing import Bench, DestinationDriver, DestinationSuite, Got, SourceDriver, SourceSuite, fixture_of
from mappings.network import network

TOKEN = "a-token-of-24-characters"


class Driver(SourceDriver, DestinationDriver):
    in_flight_bound = 8

    def __init__(self, bench: Bench) -> None:
        self.application = Application(bench.peer_port)
        self.application.answer = lambda asked: (404 if "nobody@" in asked.told["to"] else 204, {})
        self.poster = Poster(bench.port, TOKEN, "shop@app.example", "ann@target.example")

    # mail from the application

    def submit(self, number: int, octets: bytes) -> None:
        self.poster.submit(number, octets)

    def acknowledged(self) -> set[int]:
        return self.poster.taken()

    def refused(self) -> set[int]:
        return self.poster.refused()

    # mail to it

    def recipient(self, number: int) -> Address:
        return network("smtp").parse(f"user{number}@target.example")

    def utf8_recipient(self) -> Address:
        return network("smtp").parse("jürgen@target.example")

    def refused_recipient(self) -> Address:
        return network("smtp").parse("nobody@target.example")

    def received(self) -> list[Got]:
        return [Got(frozenset([asked.told["to"].removeprefix("smtp:")]), asked.raw) for asked in self.application.asked]

    def break_peer(self) -> None:
        self.application.close()

    def mend_peer(self) -> None:
        self.application.open_again()

    def close(self) -> None:
        self.poster.close()
        self.application.close()


class TestWebhook(SourceSuite, DestinationSuite):
    connector = fixture_of(
        Webhook,
        config={
            "url": "http://127.0.0.1:{peer_port}/mail",
            "secret": "a secret of the kit's, long enough",
            "listen": "127.0.0.1:{port}",
            "max_at_once": 8,
            "timeout_s": 5,
            "client": [{"name": "shop", "token": TOKEN, "from": ["smtp:*@app.example"]}],
        },
        driver=Driver,
    )
