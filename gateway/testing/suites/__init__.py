"""The suites: each test states a sentence of the contract, and fails with that sentence and what was found."""

from gateway.testing.suites.connector import ConnectorSuite, Suite
from gateway.testing.suites.destination import DestinationSuite
from gateway.testing.suites.mailbox import MailboxStoreSuite
from gateway.testing.suites.network import NetworkSuite
from gateway.testing.suites.source import SourceSuite, running

__all__ = [
    "ConnectorSuite",
    "DestinationSuite",
    "MailboxStoreSuite",
    "NetworkSuite",
    "SourceSuite",
    "Suite",
    "running",
]
