"""Mailboxes in folders and files keep the contract of mailbox stores."""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

from connectors.folders import Folders
from gateway.testing import Bench, MailboxDriver, MailboxStoreSuite, fixture_of

_NUMBERS = itertools.count(1)


class Mailboxes(MailboxDriver):
    """Mailboxes in a folder of the test's own."""

    def __init__(self, bench: Bench) -> None:
        self.folder = bench.tmp / "boxes"
        self.folder.mkdir()

    def mailbox(self) -> str:
        return f"box{next(_NUMBERS)}"

    def break_peer(self) -> None:
        self.folder.rename(self.folder.with_name("away"))

    def mend_peer(self) -> None:
        self.folder.with_name("away").rename(self.folder)


def _config(format: str, **more: Any) -> dict[str, Any]:
    return {"format": format, "path": "{tmp}/boxes/{mailbox}", "create": True, **more}


class TestMaildir(MailboxStoreSuite):
    connector: ClassVar[Any] = fixture_of(Folders, config=_config("maildir"), driver=Mailboxes)


class TestNestedMaildirs(MailboxStoreSuite):
    connector: ClassVar[Any] = fixture_of(
        Folders, config=_config("maildir", layout="nested", names="utf-8"), driver=Mailboxes
    )
