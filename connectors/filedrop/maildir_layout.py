"""A Maildir as the outbox: what `gateway.mailbox_maildir` promises, as a layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.formats.maildir import MARK
from gateway.mailbox_files import REAL, Operations
from gateway.mailbox_maildir import MaildirFolder
from gateway.mailbox_post import Post

if TYPE_CHECKING:
    from connectors.filedrop.layouts import Sheet


class MaildirLayout:
    """One folder of a Maildir. `root` is the Maildir, `folder` the one in it that messages go to; used by threads."""

    def __init__(
        self, root: Path, folder: Path, host: str, *, sizes: bool = True, mark: str = MARK, ops: Operations = REAL
    ) -> None:
        self._maildir = MaildirFolder(root, folder, host, sizes=sizes, mark=mark, ops=ops)

    def groups(self, sheets: Sequence[Sheet]) -> list[list[int]]:
        return [[index] for index in range(len(sheets))]

    def put(self, sheets: Sequence[Sheet]) -> None:
        """Put messages. Raises: OSError, with EDQUOT where the Maildir's quota has no room."""
        self._maildir.put([Post(sheet.stem, sheet.encoded.octets) for sheet in sheets])

    def sync(self) -> None:
        self._maildir.sync()

    def count(self, limit: int) -> int:
        """Return how many messages no program has seen yet."""
        return self._maildir.count(limit)
