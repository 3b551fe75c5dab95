"""Workers of one gateway: how many there are, and that they keep to limits together."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.config import MOST_WORKERS, processors
from tests.integration.conftest import StartGateway
from tests.peers.gateway import Gateway
from tests.peers.process import descendants, wait_until
from tests.peers.raw import RawClient
from tests.peers.sink import Sink

JUDGES = "[connector.internet.authentication]"


def health(gateway: Gateway) -> Any:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{gateway.admin}/healthz", timeout=5) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as told:
        return json.load(told)


def test_a_gateway_that_judges_mail_has_a_worker_a_processor(sink: Sink, start_gateway: StartGateway) -> None:
    gateway = start_gateway(sink.port, workers=None, connector=JUDGES)
    wanted = min(processors(), MOST_WORKERS)
    assert health(gateway)["expected"] == health(gateway)["workers"] == wanted


def test_a_gateway_that_only_relays_has_one_worker(sink: Sink, start_gateway: StartGateway) -> None:
    gateway = start_gateway(sink.port, workers=None)
    assert health(gateway)["expected"] == health(gateway)["workers"] == 1
    assert list(descendants(gateway.pid)) == [gateway.pid]


def test_a_worker_that_is_started_again_is_one_of_as_many_as_before(sink: Sink, start_gateway: StartGateway) -> None:
    gateway = start_gateway(sink.port, workers=2)
    gateway.config.write_text(gateway.config.read_text().replace("workers = 2", "workers = 1"))
    before = list(descendants(gateway.pid))[1:]
    os.kill(before[-1], signal.SIGKILL)
    wait_until(lambda: before[-1] not in descendants(gateway.pid), 30, "it is gone")
    wait_until(lambda: health(gateway) == {**health(gateway), "ok": True, "workers": 2, "expected": 2}, 60, "both are")


def strict(sink: Sink, folder: Path, **limits: int) -> Gateway:
    """Return a gateway of two workers to which this machine is a stranger."""
    lines = "\n".join(f"{name} = {value}" for name, value in limits.items())
    gateway = Gateway(folder, sink.port, workers=2, connector=lines)
    gateway.config.write_text(gateway.config.read_text().replace('["127.0.0.0/8"]', '["192.0.2.0/24"]'))
    return gateway


@pytest.mark.parametrize("limit", ["max_connections_per_client", "max_connections"])
def test_connections_are_limited_over_all_workers(sink: Sink, tmp_path: Path, limit: str) -> None:
    with strict(sink, tmp_path, **{limit: 6}) as gateway, ExitStack() as stack:
        wait_until(lambda: RawClient(gateway.port).greeting.code == 220, 10, "it greets")
        open_ones = [stack.enter_context(RawClient(gateway.port, ehlo=False)) for _ in range(30)]
        greeted = [each for each in open_ones if each.greeting.code == 220]
        assert {each.greeting.code for each in open_ones} == {220, 421}
        # One that was closed a moment ago may count yet, and two that come in the same moment see each other late.
        assert 5 <= len(greeted) <= 7
        for each in open_ones:
            each.close()
        wait_until(lambda: RawClient(gateway.port, ehlo=False).greeting.code == 220, 10, "there is room again")


def test_messages_are_limited_over_all_workers(sink: Sink, tmp_path: Path) -> None:
    with strict(sink, tmp_path, max_messages_per_minute=10) as gateway, ExitStack() as stack:
        clients = [stack.enter_context(RawClient(gateway.port)) for _ in range(16)]
        codes = []
        for _ in range(3):
            for client in clients:
                codes.append(client.say(b"MAIL FROM:<ann@source.example>").code)
                client.say(b"RSET")
        assert set(codes) == {250, 450}
        assert codes.count(250) in (10, 20), "twenty where a minute has passed meanwhile"
