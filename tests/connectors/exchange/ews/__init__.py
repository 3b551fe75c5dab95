"""Tests of connectors.exchange.ews."""
