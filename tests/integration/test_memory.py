"""Memory stays bounded: big messages, and thousands of idle clients beside one that works."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.crash.soak_big import LIMIT_BYTES, cross
from tests.integration.conftest import StartGateway
from tests.peers.gateway import Gateway
from tests.peers.process import vm_rss_bytes
from tests.peers.raw import RawClient
from tests.peers.sink import Sink

MIB = 1 << 20
IDLE = 5000
SPARE = 20
CONTENT = b"From: <ann@source.example>\r\nSubject: live\r\n\r\n" + b"x" * 70 + b"\r\n"


@pytest.mark.timeout(300)
def test_big_messages_never_sit_in_memory(tmp_path: Path) -> None:
    """Twenty messages of 50 MB at once; `make soak` sends two hundred."""
    most, _ = cross(tmp_path, 20, 20, 50_000_000)
    assert most < LIMIT_BYTES, f"VmHWM {most / MIB:.0f} MiB"


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process, and the gateway it starts, hold thousands of sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 16_384)
    if wanted < IDLE + 1000:
        pytest.fail(f"the hard limit of open files is {hard}; {IDLE + 1000} are needed (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def live_cost(gateway: Gateway, messages: int = 500) -> tuple[float, float]:
    """Return what one client's message costs the gateway in CPU milliseconds, and how many a second it answers."""
    with RawClient(gateway.port) as client:
        client.message("ann@source.example", ["bob@target.example"], CONTENT)
        cpu, started = gateway.cpu_s(), time.monotonic()
        for _ in range(messages):
            assert client.message("ann@source.example", ["bob@target.example"], CONTENT).code == 250
        return (gateway.cpu_s() - cpu) / messages * 1000, messages / (time.monotonic() - started)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("many_files")
def test_thousands_of_idle_clients(sink: Sink, start_gateway: StartGateway) -> None:
    sink.keep(False)
    limit = IDLE + SPARE
    gateway = start_gateway(sink.port, connector=f"max_connections = {limit}")
    live_cost(gateway)
    alone, rate_alone = live_cost(gateway)
    with ExitStack() as stack:
        for _ in range(IDLE):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=30))
            assert idle.recv(512).startswith(b"220")
        beside, rate_beside = min(live_cost(gateway) for _ in range(3))
        held = vm_rss_bytes(gateway.pid)
        assert held < 250 * MIB, f"{held / MIB:.0f} MiB with {IDLE} idle clients"
        greetings = []
        for _ in range(SPARE + 10):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=30))
            greetings.append(idle.recv(512)[:3])
        assert greetings[:SPARE] == [b"220"] * SPARE
        assert greetings[SPARE:] == [b"421"] * 10
    print(
        f"{held / MIB:.0f} MiB with {IDLE} idle clients; alone {alone:.2f} ms of CPU a message, {rate_alone:.0f} msg/s;"
    )
    print(f"beside them {beside:.2f} ms, {rate_beside:.0f} msg/s")
    # By its cost, since a rate tells more of what else the machine does just now.
    assert beside < 2 * alone
    with RawClient(gateway.port) as client:
        assert client.greeting.code == 220, "there is room again"
