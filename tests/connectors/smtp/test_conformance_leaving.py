"""SMTP keeps the connector contract while it signs and rewrites what leaves: killed at every step, too."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.smtp import Smtp
from connectors.smtp.signing_keys import KeyStore
from gateway.testing import DestinationSuite, fixture_of
from tests.connectors.smtp.driver import SmtpDriver
from tests.peers.sink import Sink

KEYS = Path(tempfile.mkdtemp(prefix="gatepost-keys-"))
atexit.register(shutil.rmtree, KEYS, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    KeyStore(KEYS).make("gw.example", "rsa", 0, 0)
    with Sink(tmp_path_factory.mktemp("sink"), keep=True) as SmtpDriver.sink:
        yield


class TestLeaving(DestinationSuite):
    connector = fixture_of(
        Smtp,
        config={
            "smart_host": "127.0.0.1:{peer_port}",
            "dkim": {"keys": str(KEYS), "default_domain": "gw.example"},
            "srs": {"domain": "srs.example", "secrets": ["x"]},
        },
        driver=SmtpDriver,
    )
