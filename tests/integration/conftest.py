"""The peers that most tests of a whole way need: a recording sink, and a gateway that relays to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.peers.gateway import Gateway
from tests.peers.sink import Sink

StartGateway = Callable[..., Gateway]


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    """A recording sink that keeps octets."""
    with Sink(tmp_path, keep=True) as sink:
        yield sink


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    """Start gateways: `start_gateway(next_hop, **options of Gateway)`; all end with the test.

    A test that fails shows the last of each one's log.
    """
    with ExitStack() as stack:

        def start(next_hop: int, *, folder: Path | None = None, **options: Any) -> Gateway:
            home = folder or tmp_path / f"gateway-{next_hop}"
            home.mkdir(exist_ok=True)
            gateway = Gateway(home, next_hop, **options)
            stack.callback(lambda: print(f"--- log of {gateway.port}\n{gateway.said()[-4000:]}"))
            return stack.enter_context(gateway)

        yield start


@pytest.fixture
def gateway(sink: Sink, start_gateway: StartGateway) -> Gateway:
    """A gateway as shipped, whose smart host is the sink; it retries within seconds."""
    return start_gateway(sink.port, gateway='retry_min = "1s"\nretry_max = "2s"')
