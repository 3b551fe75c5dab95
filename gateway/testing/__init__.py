"""The conformance kit: tests any connector against the sentences of `gateway.contract`.

A pytest plugin; put `pytest_plugins = ["gateway.testing"]` into `conftest.py`, and per connector

    class TestPigeon(SourceSuite, DestinationSuite):
        connector = fixture_of(Pigeon, config={"loft": "{tmp}/loft"}, driver=PigeonDriver)

where the driver stands for the connector's foreign peer (`SourceDriver`, `DestinationDriver`, `MailboxDriver`). The
suites kill the connector before each step of its event loop, and its peer before each answer; a failure names the
sentence that does not hold and what was found in its place. Needs the extra `gatepost[testing]`; the core never imports
it.
Known limit: the kill at every step needs `os.fork`, so the kit runs on Unix alone.
"""

from gateway.testing.bench import (
    Bench,
    Broken,
    DestinationDriver,
    Got,
    MailboxDriver,
    SourceDriver,
    fixture_of,
    promise,
)
from gateway.testing.feed import cuts, feed
from gateway.testing.needs import beyond, over_limits
from gateway.testing.peers import Journal, KitLog, ListBatch, RecordingIntake, parcel
from gateway.testing.plugin import pytest_configure, pytest_runtest_makereport
from gateway.testing.samples import names, numbered, sample
from gateway.testing.suites import ConnectorSuite, DestinationSuite, MailboxStoreSuite, SourceSuite

__all__ = [
    "Bench",
    "Broken",
    "ConnectorSuite",
    "DestinationDriver",
    "DestinationSuite",
    "Got",
    "Journal",
    "KitLog",
    "ListBatch",
    "MailboxDriver",
    "MailboxStoreSuite",
    "RecordingIntake",
    "SourceDriver",
    "SourceSuite",
    "beyond",
    "cuts",
    "feed",
    "fixture_of",
    "names",
    "numbered",
    "over_limits",
    "parcel",
    "promise",
    "pytest_configure",
    "pytest_runtest_makereport",
    "sample",
]
