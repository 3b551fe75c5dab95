"""The file drop keeps the connector contract, both ways."""

from connectors.filedrop import FileDrop
from gateway.testing import DestinationSuite, SourceSuite, fixture_of
from tests.connectors.filedrop.driver import FileDropDriver


class TestFileDrop(DestinationSuite, SourceSuite):
    connector = fixture_of(
        FileDrop,
        config={"network": "mhs", "inbox": "{tmp}/in", "outbox": "{tmp}/out", "poll_s": 0.5, "max_in_flight": 20},
        driver=FileDropDriver,
    )
