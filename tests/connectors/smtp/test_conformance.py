"""SMTP keeps the connector contract, both ways."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.smtp import Smtp
from gateway.testing import DestinationSuite, SourceSuite, fixture_of
from tests.connectors.smtp.driver import SmtpDriver
from tests.peers.sink import Sink


@pytest.fixture(scope="module", autouse=True)
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with Sink(tmp_path_factory.mktemp("sink"), keep=True) as SmtpDriver.sink:
        yield


class TestSmtp(DestinationSuite, SourceSuite):
    connector = fixture_of(
        Smtp,
        config={
            "listen": ["127.0.0.1:{port}"],
            "smart_host": "127.0.0.1:{peer_port}",
            "max_connections": 20,
        },
        driver=SmtpDriver,
    )
