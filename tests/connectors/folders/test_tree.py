"""Mailbox files as programs lay them out: Thunderbird, Dovecot and mutt, Apple Mail, one file, an inbox apart."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest

from connectors.folders import Folders
from connectors.folders.opened import fault_of
from gateway.contract import Content, Folder, NewItem, Scope, StoreFault
from tests.connectors.folders.into_dovecot import made

BOX = b"From a@b.example Fri Jul 14 02:40:00 2017\nSubject: s\n\nbody\n\n"


def folders(tmp_path: Path, **more: Any) -> list[Folder]:
    (tmp_path / "state").mkdir(exist_ok=True)
    config = {"format": "mbox", "path": str(tmp_path / "{mailbox}")} | more

    async def body() -> list[Folder]:
        async with made(Folders, config, tmp_path / "state").open("box") as opened:
            found = await opened.folders()
            for folder in found:
                await opened.changes(folder.id, None)
            return await opened.folders()

    return asyncio.run(body())


LAYOUTS: list[tuple[str, dict[str, bytes], list[tuple[str, ...]]]] = [
    ("thunderbird",
     {"Inbox": BOX, "Inbox.msf": b"// <!-- <mdb:mork", "Sent": BOX, "Trash": b"", "Templates": b"", "Work": b"",
      "Work.sbd/2026": BOX, "Work.sbd/2026.msf": b"x", "msgFilterRules.dat": b"version", "popstate.dat": b"#"},
     [("INBOX",), ("Sent",), ("Templates",), ("Trash",), ("Work",), ("Work", "2026")]),
    ("dovecot", {"inbox": BOX, "lists/mutt": BOX, "lists/.imap/mutt/dovecot.index": b"x", "saved": b"\n" + BOX},
     [("INBOX",), ("saved",), ("lists", "mutt")]),
    ("apple",
     {"INBOX.mbox/mbox": BOX, "Old.mbox/mbox": BOX, "Old.mbox/table_of_contents": b"x", "Old.mbox/Sub.mbox/mbox": BOX},
     [("INBOX",), ("Old",), ("Old", "Sub")]),
    ("takeout", {"All mail Including Spam and Trash.mbox": BOX, "index.html": b"<html>"},
     [("All mail Including Spam and Trash",)]),
    ("odd", {"a.b": BOX, "a%2Fb": BOX, "%2Ehidden": BOX, "notes": b"no mailbox", "x.lock": b"", ".x": BOX},
     [(".hidden",), ("a.b",), ("a/b",)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "files", "expected"), LAYOUTS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_folders_are_found(name: str, files: dict[str, bytes], expected: list[tuple[str, ...]], tmp_path: Path) -> None:
    for each, octets in files.items():
        path = tmp_path / "box" / each
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)
    found = folders(tmp_path)
    assert [folder.path for folder in found] == expected
    assert [folder.path for folder in found if folder.role == "inbox"] == [
        path for path in expected if path == ("INBOX",)
    ]
    for folder in found:
        assert folder.total in (0, 1)


def test_one_file_is_a_mailbox_of_one_folder(tmp_path: Path) -> None:
    (tmp_path / "box").write_bytes(BOX * 3)
    (inbox,) = folders(tmp_path, locks=[])
    assert (inbox.path, inbox.role, inbox.total, inbox.unread) == (("INBOX",), "inbox", 3, 3)


def test_an_inbox_may_be_apart(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "inbox").write_bytes(BOX)
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "box").write_bytes(BOX * 2)
    found = folders(tmp_path, inbox=str(tmp_path / "spool" / "{mailbox}"))
    assert [(folder.path, folder.role, folder.total) for folder in found] == [
        (("INBOX",), "inbox", 2),
        (("INBOX (2)",), None, 1),
    ]


def test_a_mailbox_that_another_program_holds_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "Inbox").write_bytes(BOX)
    (tmp_path / "box" / "Inbox.lock").write_text("1")
    with pytest.raises(StoreFault) as caught:
        folders(tmp_path, lock_wait_s=0.2)
    assert caught.value.status.code == "4.2.1"
    assert caught.value.retry_after_s is not None


def test_what_others_write_meanwhile_stays(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    (tmp_path / "state").mkdir()
    file = tmp_path / "box" / "Inbox"
    file.write_bytes(BOX)
    config = {"format": "mbox", "path": str(tmp_path / "{mailbox}")}

    async def body() -> None:
        async with made(Folders, config, tmp_path / "state").open("box") as opened:
            (inbox,) = await opened.folders()
            (first,) = (await opened.changes(inbox.id, None)).items
            with file.open("ab") as box:
                box.write(BOX.replace(b"Subject: s", b"Subject: from another program"))
            await opened.set_flags([first.id], frozenset(["seen", "flagged"]), frozenset())
            await opened.append(inbox.id, [NewItem("k", Content(b"Subject: ours\r\n\r\n"), received_at=1.5e9)])
            with file.open("ab") as box:
                box.write(BOX.replace(b"Subject: s", b"Subject: and another"))
            states = (await opened.changes(inbox.id, None)).items
            assert states[0].id == first.id
            assert states[0].flags == {"seen", "flagged"}
            found = [content async for _, content in opened.fetch([state.id for state in states])]
            subjects = [content.get(b"subject") for content in found if isinstance(content, Content)]
            assert subjects == [b"s", b"from another program", b"ours", b"and another"]
            await opened.remove([states[1].id, states[2].id], purge=True)
            left = (await opened.changes(inbox.id, None)).items
            assert [state.id for state in left] == [states[0].id, states[3].id]

    asyncio.run(body())


def test_an_option_of_another_format_is_a_mistake(tmp_path: Path) -> None:
    for options in (
        {"format": "mh", "dialect": "mboxo"},
        {"format": "mbox", "layout": "nested"},
        {"format": "pst", "create": True},
    ):
        with pytest.raises(ValueError, match="is an option of"):
            Folders.Config.model_validate({"path": "x/{mailbox}"} | options)
    with pytest.raises(ValueError, match="in braces"):
        Folders.Config.model_validate({"path": "x/{name}", "format": "mh"})


@pytest.mark.parametrize("format", ["maildir", "mbox", "mmdf", "mh"])
def test_a_mailbox_is_made_when_something_is_put_into_it(format: str, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    config = {"format": format, "path": str(tmp_path / "deep" / "{mailbox}"), "create": True}

    async def body() -> None:
        async with made(Folders, config, tmp_path / "state").open("box") as opened:
            (inbox,) = await opened.folders()
            assert (inbox.role, inbox.total) == ("inbox", 0)
            assert (await opened.changes(inbox.id, None)).items == ()
            assert not (tmp_path / "deep").exists()
            await opened.append(inbox.id, [NewItem("k", Content(b"Subject: s\r\n\r\n"))])
            (again,) = await opened.folders()
            assert (again.id, again.path, again.role) == (inbox.id, inbox.path, inbox.role)
            assert len((await opened.changes(inbox.id, None)).items) == 1

    asyncio.run(body())


def test_folders_are_made_where_programs_keep_them_in_plain_folders(tmp_path: Path) -> None:
    (tmp_path / "box" / "lists").mkdir(parents=True)
    (tmp_path / "box" / "inbox").write_bytes(BOX)
    (tmp_path / "box" / "lists" / "mutt").write_bytes(BOX)
    (tmp_path / "state").mkdir()
    config = {"format": "mbox", "path": str(tmp_path / "{mailbox}")}

    async def body() -> None:
        async with made(Folders, config, tmp_path / "state").open("box") as opened:
            made_one = await opened.create_folder(("lists", "nmh"))
            await opened.append(made_one.id, [NewItem("k", Content(b"Subject: s\r\n\r\n"))])
            assert [folder.path for folder in await opened.folders()] == [
                ("INBOX",),
                ("lists", "mutt"),
                ("lists", "nmh"),
            ]

    asyncio.run(body())
    assert (tmp_path / "box" / "lists" / "nmh").is_file()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_where_the_gateway_has_no_right_is_told_at_once(number: int) -> None:
    fault = fault_of(OSError(number, "no", "/mail/ann/cur"))
    assert (fault.status.is_permanent, fault.scope) == (True, Scope.MESSAGE)
    assert str(fault.status).endswith("no right to read or write this: no: /mail/ann/cur")
