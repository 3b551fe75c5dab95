"""SIGHUP: a new configuration comes into force without losing a connection, and a wrong one changes nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.integration.conftest import StartGateway
from tests.peers.gateway import Gateway
from tests.peers.process import wait_until
from tests.peers.raw import RawClient, send, stuffed
from tests.peers.sink import Sink

CONTENT = b"Subject: x\r\n\r\ntext\r\n"
TO = ["bob@target.example"]


def reload(gateway: Gateway, edit: Callable[[str], str]) -> None:
    """Change the configuration and have it read; returns once the log says so."""
    said = gateway.said().count("reload")
    gateway.config.write_text(edit(gateway.config.read_text()))
    os.kill(gateway.pid, signal.SIGHUP)
    wait_until(lambda: gateway.said().count("reload") > said, 60, "the configuration was read")


def test_a_message_under_way_survives_changed_options(gateway: Gateway, sink: Sink) -> None:
    with RawClient(gateway.port) as client:
        client.envelope("ann@source.example", TO)
        assert client.say(b"DATA").code == 354
        reload(gateway, lambda text: text.replace("smart_host", "max_message_bytes = 70000\nsmart_host"))
        client.send(stuffed(CONTENT))
        assert client.reply().code == 250
        assert client.message("ann@source.example", TO, CONTENT).code == 250, "the old session goes on"
    with RawClient(gateway.port, ehlo=False) as client:
        assert "SIZE 70000" in client.say(b"EHLO new.example").text, "a new one has the new options"
    sink.wait_for(2)


def test_domains_and_routes_change_without_touching_a_session(gateway: Gateway, sink: Sink) -> None:
    mapping = '[mapping]\ndomains = ["target.example"]\n[connector.internet]'
    with RawClient(gateway.port) as client:
        client.say(b"MAIL FROM:<ann@source.example>")
        assert client.say(b"RCPT TO:<bob@target.example>").code == 250
        reload(gateway, lambda text: text.replace("[connector.internet]", mapping))
        client.say(b"RSET")
        client.say(b"MAIL FROM:<ann@source.example>")
        refused = client.say(b"RCPT TO:<bob@target.example>")
        assert refused.code == 550
        assert "5.1.1" in refused.text
    reload(gateway, lambda text: text.replace(mapping, "[connector.internet]"))
    assert send(gateway.port, "ann@source.example", TO, CONTENT).code == 250
    sink.wait_for(1)


def test_mail_goes_to_the_new_smart_host(start_gateway: StartGateway, sink: Sink) -> None:
    nowhere = 9  # the discard port: nobody listens on a test machine
    gateway = start_gateway(nowhere, gateway='retry_min = "1s"\nretry_max = "1s"')
    reload(gateway, lambda text: text.replace(f"127.0.0.1:{nowhere}", f"127.0.0.1:{sink.port}"))
    assert send(gateway.port, "ann@source.example", TO, CONTENT).code == 250
    sink.wait_for(1)


@pytest.mark.parametrize("wrong", ["max_hosp = 3\n", "tls_cert = 'absent.pem'\n"])
def test_a_wrong_file_changes_nothing(wrong: str, gateway: Gateway, sink: Sink) -> None:
    reload(gateway, lambda text: text.replace("smart_host", wrong + "smart_host"))
    assert "reload_refused" in gateway.said()
    assert send(gateway.port, "ann@source.example", TO, CONTENT).code == 250
    sink.wait_for(1)
