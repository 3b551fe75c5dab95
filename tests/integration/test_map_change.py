"""A change of the mapping beside a running gateway: in force within a second, in every session and worker."""

from __future__ import annotations

import time

import pytest

from tests.integration.conftest import StartGateway
from tests.peers.gateway import Gateway
from tests.peers.process import wait_until
from tests.peers.raw import RawClient
from tests.peers.sink import Sink

CONTENT = b"Subject: x\r\n\r\ntext\r\n"
NEW = "zoe@acme.example"
MAPPING = '[mapping]\ndomains = ["acme.example"]\n'
WITHIN_S = 1.0


def code_of(client: RawClient, recipient: str) -> int:
    client.say(b"RSET")
    client.say(b"MAIL FROM:<ann@source.example>")
    return client.say(f"RCPT TO:<{recipient}>".encode()).code


def waited_s(client: RawClient, recipient: str, code: int) -> float:
    """Return how long it took until a recipient is answered so."""
    start = time.monotonic()
    wait_until(lambda: code_of(client, recipient) == code, 60, f"{recipient} is answered with {code}")
    return time.monotonic() - start


@pytest.mark.parametrize("workers", [1, 2])
def test_mail_to_a_new_address_is_taken_within_a_second(workers: int, start_gateway: StartGateway, sink: Sink) -> None:
    gateway: Gateway = start_gateway(sink.port, workers=workers, more=MAPPING)
    clients = [RawClient(gateway.port) for _ in range(4 * workers)]
    assert {code_of(client, NEW) for client in clients} == {550}
    assert gateway.cli("map", "add", "Zoe Poe", f"smtp:{NEW}", "--why", "new here")["revision"] == 1
    assert max(waited_s(client, NEW, 250) for client in clients) < WITHIN_S
    clients[0].say(b"RSET")
    assert clients[0].message("ann@source.example", [NEW], CONTENT).code == 250
    sink.wait_for(1)
    assert sink.taken()[0].recipients == [NEW]
    gateway.cli("map", "rm", f"smtp:{NEW}")
    assert max(waited_s(client, NEW, 550) for client in clients) < WITHIN_S
    gateway.cli("map", "rollback", "2")
    assert max(waited_s(client, NEW, 250) for client in clients) < WITHIN_S
    for client in clients:
        client.close()


def test_a_change_that_does_not_fit_the_configuration_is_refused(start_gateway: StartGateway, sink: Sink) -> None:
    gateway = start_gateway(sink.port, more=MAPPING)
    with pytest.raises(RuntimeError, match="no configured connector; there are: internet"):
        gateway.cli("map", "add", "Zoe", f"smtp:{NEW}", "--home", "intranet")
    assert gateway.cli("map", "log")["revisions"] == []
    assert "mapping_refused" not in gateway.said()
