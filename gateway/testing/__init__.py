"""The conformance kit: tests any connector against the sentences of `gateway.contract`.

A pytest plugin, which pytest finds where gatepost is installed. Per connector

    class TestPigeon(SourceSuite, DestinationSuite):
        connector = fixture_of(Pigeon, config={"loft": "{tmp}/loft"}, driver=PigeonDriver)

where the driver stands for the connector's foreign peer (`SourceDriver`, `DestinationDriver`, `MailboxDriver`), and per
network of addresses a `NetworkSuite`. The suites kill the connector before each step of its event loop, and its peer
before each answer; a failure names the sentence that does not hold, what was found in its place, and the calls that led
there. `pytest --gatepost-connector=NAME` runs what there is for one installed connector. Needs the extra
`gatepost[testing]`; the core never imports it.
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
from gateway.testing.calls import Calls
from gateway.testing.feed import cuts, feed
from gateway.testing.needs import beyond, over_limits
from gateway.testing.peers import (
    Accepted,
    Journal,
    KitLog,
    ListBatch,
    MemoryWriter,
    RecordingIntake,
    parcel,
    refitted,
    reported,
)
from gateway.testing.plugin import (
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_generate_tests,
    pytest_runtest_makereport,
)
from gateway.testing.samples import body_of, names, numbered, sample
from gateway.testing.suites import (
    ConnectorSuite,
    DestinationSuite,
    MailboxStoreSuite,
    NetworkSuite,
    SourceSuite,
    Suite,
    running,
)

__all__ = [
    "Accepted",
    "Bench",
    "Broken",
    "Calls",
    "ConnectorSuite",
    "DestinationDriver",
    "DestinationSuite",
    "Got",
    "Journal",
    "KitLog",
    "ListBatch",
    "MailboxDriver",
    "MailboxStoreSuite",
    "MemoryWriter",
    "NetworkSuite",
    "RecordingIntake",
    "SourceDriver",
    "SourceSuite",
    "Suite",
    "beyond",
    "body_of",
    "cuts",
    "feed",
    "fixture_of",
    "names",
    "numbered",
    "over_limits",
    "parcel",
    "promise",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_generate_tests",
    "pytest_runtest_makereport",
    "refitted",
    "reported",
    "running",
    "sample",
]
