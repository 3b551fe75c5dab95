"""Mailboxes on POP3 servers."""

from __future__ import annotations

from connectors.pop.connector import Pop

__all__ = ["Pop"]
