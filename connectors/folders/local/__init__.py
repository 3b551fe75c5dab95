"""Local delivery: into the mailboxes of this machine, or to a program, as each person's rules say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectors.folders.local.connector import Local

__all__ = ["Local"]


def __getattr__(name: str) -> Any:
    """Import the connector when it is asked for: its commands are named by the help of `gatepost`, and need less."""
    if name == "Local":
        from connectors.folders.local.connector import Local

        return Local
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
