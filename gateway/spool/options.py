"""How a spool is to behave: its limits and spans, each with its unit in its name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpoolOptions:
    """Settings of a spool, with the defaults that the configuration shows."""

    accept_gap_s: float = 0.001
    """Accepts wait for others to share their commit, where others are under way, until none has come for so long, …"""
    accept_delay_s: float = 0.01
    """… and no longer than this."""
    settle_delay_s: float = 0.04
    """How long outcomes wait for others to share their commit; an accept takes them along at once."""
    settle_group: int = 256
    """How many outcomes do not wait any longer."""
    inline_limit_bytes: int = 256 * 1024
    """Content up to this lies in the message's row, more in a content file or in chunk rows."""
    min_free_bytes: int = 64 * 1024 * 1024
    """With less free on the spool's file system new mail is refused for now."""
    max_waiting: int = 10_000
    """Accepts that may wait for the writer; one more is refused for now."""
    max_waiting_bytes: int = 64 * 1024 * 1024
    """Contents that may wait for the writer."""
    keep_delivered_s: float = 0.0
    """How long delivered messages are kept with their content for a replay."""
    keep_delivered_bytes: int = 1024 * 1024 * 1024
    """How many octets of kept contents there may be."""
    trace_days: float = 30.0
    dedupe_days: float = 35.0
    """How long a message that was taken is known again; over a month, since that is how often a notice is sent."""
    lease_s: float = 20.0
    """A node that has not been heard of for this long is taken for dead."""
    wal_pages: int = 2000
    """SQLite: the log grows to this many pages before it is written back."""
    open_timeout_s: float = 5.0
    """How long another process may keep the spool's file, or the database may not answer, at the start."""
