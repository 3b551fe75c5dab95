"""Mailboxes on IMAP servers."""

from __future__ import annotations

from connectors.imap.connector import Imap

__all__ = ["Imap"]
