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


class Files(Mailboxes):
    """Mailbox files, in which lines end as the file's do, and a `>` may stay."""

    quotes = False

    def carried(self, sent: bytes, got: bytes) -> bool:
        if self.quotes:
            sent, got = sent.replace(b"\n>From ", b"\nFrom "), got.replace(b"\n>From ", b"\nFrom ")
        return _lines(sent) == _lines(got)


class Quoting(Files):
    """Mailbox files that lose which lines were quoted."""

    quotes = True


def _lines(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").rstrip(b"\n")


def _config(format: str, **more: Any) -> dict[str, Any]:
    return {"format": format, "path": "{tmp}/boxes/{mailbox}", "create": True, **more}


class TestMaildir(MailboxStoreSuite):
    connector: ClassVar[Any] = fixture_of(Folders, config=_config("maildir"), driver=Mailboxes)


class TestNestedMaildirs(MailboxStoreSuite):
    connector: ClassVar[Any] = fixture_of(
        Folders, config=_config("maildir", layout="nested", names="utf-8"), driver=Mailboxes
    )


class TestMbox(MailboxStoreSuite):
    connector: ClassVar[Any] = fixture_of(Folders, config=_config("mbox"), driver=Files)


class TestMboxcl2(MailboxStoreSuite):
    connector: ClassVar[Any] = fixture_of(Folders, config=_config("mbox", dialect="mboxcl2"), driver=Files)


class TestMboxo(MailboxStoreSuite):
    connector: ClassVar[Any] = fixture_of(Folders, config=_config("mbox", dialect="mboxo"), driver=Quoting)


class TestMmdf(MailboxStoreSuite):
    connector: ClassVar[Any] = fixture_of(Folders, config=_config("mmdf"), driver=Files)


class TestMh(MailboxStoreSuite):
    connector: ClassVar[Any] = fixture_of(Folders, config=_config("mh"), driver=Files)
