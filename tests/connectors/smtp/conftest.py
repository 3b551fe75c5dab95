"""Under which event loops the tests of this folder run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

Factory = Callable[[], asyncio.AbstractEventLoop]

_BOTH = {"test_destination", "test_client_tls", "test_source", "test_server_tls"}
"""Modules whose subject is a transport, which the two loops' transports treat differently."""


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Factory]:
    loops: dict[str, Factory] = {"uvloop": uvloop.new_event_loop}
    if item.path.stem in _BOTH:
        loops["asyncio"] = asyncio.new_event_loop
    return loops
