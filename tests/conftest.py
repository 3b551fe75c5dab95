"""Fixtures and plugins for all tests."""

from tests import scratch

pytest_plugins = ["gateway.testing"]

scratch.use()
