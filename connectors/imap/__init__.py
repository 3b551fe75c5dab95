"""Mailboxes on IMAP servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectors.imap.connector import Imap


def __getattr__(name: str) -> Any:
    """Return the connector: what looks at folders alone does without it, and without all that a connector needs."""
    if name != "Imap":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from connectors.imap.connector import Imap

    return Imap


__all__ = ["Imap"]
