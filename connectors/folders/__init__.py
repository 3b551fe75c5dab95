"""Mailboxes in folders and files: Maildir, mbox and its dialects, MMDF, MH, Eudora's, Outlook's PST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectors.folders.connector import Folders

__all__ = ["Folders"]


def __getattr__(name: str) -> Any:
    """Import the connector when it is asked for: the commands of local delivery live here too, and need less."""
    if name == "Folders":
        from connectors.folders.connector import Folders

        return Folders
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
