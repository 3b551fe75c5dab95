"""Local delivery: into the mailboxes of this machine, or to a program, as each person's rules say."""

from __future__ import annotations

from connectors.folders.local.connector import Local

__all__ = ["Local"]
