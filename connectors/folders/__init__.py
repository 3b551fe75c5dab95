"""Mailboxes in folders and files: Maildir, mbox and its dialects, MMDF, MH, Eudora's, Outlook's PST."""

from __future__ import annotations

from connectors.folders.connector import Folders

__all__ = ["Folders"]
