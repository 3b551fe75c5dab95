"""A mailbox file in the outbox: what `gateway.mailbox_append` promises, as a layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.mailbox_append import REMEMBERED, MailboxFile
from gateway.mailbox_files import REAL, Operations
from gateway.mailbox_lock import Locking
from gateway.mailbox_post import Post

if TYPE_CHECKING:
    from connectors.filedrop.layouts import Sheet

__all__ = ["REMEMBERED", "AppendLayout"]


class AppendLayout:
    """One mailbox. `joint` tells what stands between a file that ends in some octets and a message."""

    def __init__(
        self,
        folder: Path,
        file: str,
        locks: Sequence[Locking],
        wait_s: float,
        joint: Callable[[bytes], bytes],
        ops: Operations = REAL,
    ) -> None:
        self._mailbox = MailboxFile(folder, file, locks, wait_s, joint, ops)

    def groups(self, sheets: Sequence[Sheet]) -> list[list[int]]:
        return [list(range(len(sheets)))] if sheets else []

    def put(self, sheets: Sequence[Sheet]) -> None:
        """Append messages in order. Raises: BlockingIOError where others hold the lock; OSError."""
        self._mailbox.put([Post(sheet.stem, sheet.encoded.octets) for sheet in sheets])

    def sync(self) -> None:
        self._mailbox.sync()

    def count(self, limit: int) -> int:
        """Return 1 where the mailbox holds anything."""
        return self._mailbox.count(limit)
