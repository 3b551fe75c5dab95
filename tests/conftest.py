"""Fixtures and plugins for all tests."""

pytest_plugins = ["gateway.testing"]
