"""What a listing tells of a message's header, read from its file's beginning."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from connectors.folders.reading import opened

_HEAD: Final = 64 * 1024
_MESSAGE_ID: Final = re.compile(rb"(?:^|\n)message-id[ \t]{0,64}:\s{0,2000}(<[^<>\r\n]{1,990}>)", re.IGNORECASE)
_END: Final = re.compile(rb"(?:^|\n)\r?\n")


def message_id(path: Path) -> str | None:
    """Return a file's Message-ID with its brackets; None where it has none. Raises: OSError."""
    handle = opened(path)
    try:
        head = os.pread(handle, _HEAD, 0)
    finally:
        os.close(handle)
    end = _END.search(head)
    match = _MESSAGE_ID.search(head, 0, len(head) if end is None else end.start() + 1)
    return None if match is None else match[1].decode("utf-8", "replace")
