"""Dialogues with servers played again: the ones recorded, and ones written by what makers and users tell of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.connectors.imap.courses import day
from tests.connectors.imap.dialogues import played
from tests.connectors.imap.kit import message

FOLDERS: Final[dict[str, dict[str, tuple[str | None, int, bool]]]] = {
    "dovecot": {"INBOX": ("inbox", 0, False), "Süd": (None, 0, True)},
    "courier": {"INBOX": ("inbox", 0, True), "Süd": (None, 0, True)},
    "cyrus": {
        "INBOX": ("inbox", 0, True),
        "Sent": ("sent", 0, True),
        "Süd": (None, 0, True),
        "Trash": ("trash", 0, True),
    },
}


@pytest.mark.parametrize("name", FOLDERS)
async def test_a_day(name: str, tmp_path: Path) -> None:
    async with played(name) as server:
        seen = await day(tmp_path, server.port)
    assert seen == {
        "folders": FOLDERS[name],
        "appended": 3,
        "listed": [
            ("<1@x.example>", 66, ["seen"], [], 1_600_000_000.0),
            ("<2@x.example>", 66, [], ["Grün"], 1_600_000_001.0),
            ("<3@x.example>", 66, [], [], 1_600_000_002.0),
        ],
        "fetched": [message(3), message(1)],
        "since": [(0, ["flagged"])],
        "gone": [1, 2],
        "moved": ["<2@x.example>"],
    }
