"""PostgreSQL is stopped and started under a running gateway: peers are put off, nothing is lost, no restart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.conftest import StartGateway
from tests.peers.postgres import PostgresServer
from tests.peers.process import wait_until
from tests.peers.raw import send
from tests.peers.sink import Sink

CONTENT = b"From: <ann@source.example>\r\nTo: <bob@target.example>\r\nMessage-Id: <%d@test>\r\n\r\nbody\r\n"
TO = ["bob@target.example"]


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.mark.timeout(300)
def test_the_database_goes_and_comes_back(postgres: PostgresServer, sink: Sink, start_gateway: StartGateway) -> None:
    url = postgres.new_database("gone")
    gateway = start_gateway(sink.port, spool=url, gateway='retry_min = "1s"\nretry_max = "2s"')
    sink.behave({"MAIL": "451 4.3.0 not yet"})
    accepted = []
    for n in range(10):
        assert send(gateway.port, "ann@source.example", TO, CONTENT % n).code == 250
        accepted.append(n)

    postgres.stop()
    for n in range(100, 105):
        reply = send(gateway.port, "ann@source.example", TO, CONTENT % n)
        assert reply.code in (451, 452), f"with the database away: {reply}"
    sink.behave()
    assert gateway.process is not None
    assert gateway.process.is_alive

    postgres.start()

    def takes_mail_again() -> bool:
        n = 200 + len(accepted)
        reply = send(gateway.port, "ann@source.example", TO, CONTENT % n)
        if reply.code == 250:
            accepted.append(n)
        return reply.code == 250

    wait_until(takes_mail_again, 60, "mail is taken again", 0.5)
    wanted = {f"{n}@test" for n in accepted}
    wait_until(lambda: wanted <= {t.id for t in sink.taken()}, 90, f"everything accepted came out: {wanted}", 0.3)
    assert not {f"{n}@test" for n in range(100, 105)} & {t.id for t in sink.taken()}
    assert gateway.process.is_alive
