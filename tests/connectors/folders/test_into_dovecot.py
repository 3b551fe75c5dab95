"""Each format into a Dovecot by the engine and back: octets, flags, dates and folders are what they were.

Dovecot's own Maildirs and mbox files are read, and what we write is read by Dovecot.
"""

from __future__ import annotations

import asyncio
import imaplib
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.folders import Folders
from gateway.contract import Content, ItemState
from tests.connectors.folders.into_dovecot import FLAGS, Shown, client, copied, imap, made, shown
from tests.peers.dovecot import Dovecot

_NUMBERS = itertools.count(1)
_FOLDERS = ("INBOX", "Projects/Alpha", "Projects", "S&APw-d &- so", "Sent")
_ODD = (
    b"no header at all\r\n",
    b"\r\nan empty header\r\n",
    b"Subject: 8 bit \xe4\xf6\r\n\r\nbody \xff\r\n",
    b"Subject: long\r\n\r\n" + b"x" * 20000 + b"\r\n",
    b"Subject: large\r\n\r\n" + b"0123456789abcde\r\n" * 100_000,
    b"Subject: From lines\r\n\r\nFrom ann@a.example Tue Nov 24 01:02:03 2026\r\n\r\nFrom here on\r\n.\r\n",
    b"Status: RO\r\nX-Status: A\r\nX-Keywords: theirs\r\nContent-Length: 3\r\nX-UID: 7\r\nSubject: own\r\n\r\nx\r\n",
    b"X-Kept-Status: RO\r\nX-Kept-Kept: no\r\nX-Kept-Headerless: yes\r\nSubject: kept\r\n\r\nx\r\n",
    b"X-Mozilla-Status: 0008\r\nX-Mozilla-Status2: 00800000\r\nX-Mozilla-Keys: theirs\r\nSubject: moz\r\n\r\nx\r\n",
    b"Subject: rules\r\n\r\n\x01\x01\x01\r\n\r\n\r\n\r\n",
    b"Subject: broken\r\nthis is no field\r\nX-After: it\r\n\r\nbody\r\n",
    b"Subject: only a header\r\n\r\n",
)
_QUOTED = b"Subject: quoted\r\n\r\n>From here\r\n>>From there\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot() as running:
        yield running


@pytest.fixture(scope="module")
def mbox_server() -> Iterator[Dovecot]:
    with Dovecot(location="mbox:~/mail:INBOX=~/inbox") as running:
        yield running


@pytest.fixture
def user() -> str:
    return f"user{next(_NUMBERS)}"


def fill(server: Dovecot, user: str, *more: bytes) -> None:
    """Make folders and messages with all that a mailbox has."""
    session = client(server, user)
    for name in _FOLDERS[1:]:
        session.create(f'"{name}"')
    octets = [f"Message-ID: <{n}@example.org>\r\nSubject: {n}\r\n\r\n{'text ' * n}\r\n".encode() for n in range(30)]
    for number, each in enumerate([*octets, *_ODD, *more]):
        flags = ("", "\\Seen", "\\Flagged \\Answered", "\\Draft $MDNSent word", "\\Deleted $Forwarded")[number % 5]
        date = imaplib.Time2Internaldate(1_500_000_000 + number * 3600)
        told, answer = session.append(f'"{_FOLDERS[number % 5]}"', flags, date, each)
        assert told == "OK", answer
    session.logout()


def folders(format: str, root: Path, **more: Any) -> Folders:
    (root / "state").mkdir(exist_ok=True)
    config = {"format": format, "path": str(root / "boxes" / "{mailbox}"), "create": True} | more
    return made(Folders, config, root / "state")


FORMATS: list[tuple[str, dict[str, Any]]] = [
    ("maildir", {}),
    ("maildir", {"layout": "nested", "names": "utf-8"}),
    ("mbox", {"dialect": "mboxrd"}),
    ("mbox", {"dialect": "mboxcl2"}),
    ("mmdf", {}),
    ("mh", {}),
]


@pytest.mark.parametrize(("format", "more"), FORMATS, ids=lambda value: str(value))
def test_there_and_back_everything_is_what_it_was(
    server: Dovecot, user: str, tmp_path: Path, format: str, more: dict[str, Any]
) -> None:
    fill(server, user, _QUOTED)
    (tmp_path / "boxes").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "back").mkdir()
    before = shown(server, user)
    for _ in range(2):
        there = copied(imap(server, tmp_path), user, folders(format, tmp_path, **more), user, tmp_path / "there").report
    assert (there.copied, there.read, there.problems) == (0, 0, 0)
    for _ in range(2):
        back = copied(
            folders(format, tmp_path, **more), user, imap(server, tmp_path), f"{user}-back", tmp_path / "back"
        ).report
        assert shown(server, f"{user}-back") == before
    assert (back.copied, back.read, back.problems) == (0, 0, 0)
    (tmp_path / "back" / "sync.sqlite").unlink()
    lost = copied(folders(format, tmp_path, **more), user, imap(server, tmp_path), f"{user}-back", tmp_path / "back")
    assert shown(server, f"{user}-back") == before
    assert lost.report.copied == 0


@pytest.mark.parametrize("dialect", ["mboxo", "mboxcl", "rfc4155"])
def test_what_a_dialect_quotes_stays_quoted_and_nothing_else_changes(
    server: Dovecot, user: str, tmp_path: Path, dialect: str
) -> None:
    fill(server, user)
    (tmp_path / "boxes").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "back").mkdir()
    store = folders("mbox", tmp_path, dialect=dialect)
    copied(imap(server, tmp_path), user, store, user, tmp_path / "there")
    copied(store, user, imap(server, tmp_path), f"{user}-back", tmp_path / "back")
    expected = [
        Shown(each.folder, each.octets.replace(b"\r\nFrom ", b"\r\n>From "), each.flags, each.at)
        for each in shown(server, user)
    ]
    assert shown(server, f"{user}-back") == sorted(expected)


async def _read(store: Folders, mailbox: str) -> list[tuple[tuple[str, ...], bytes, ItemState]]:
    found: list[tuple[tuple[str, ...], bytes, ItemState]] = []
    async with store.open(mailbox) as opened:
        for folder in await opened.folders():
            states = {state.id: state for state in (await opened.changes(folder.id, None, 100_000)).items}
            async for id, content in opened.fetch(list(states)):
                assert isinstance(content, Content)
                found.append((folder.path, b"".join(content.chunks()), states[id]))
    return found


def _as_shown(read: list[tuple[tuple[str, ...], bytes, ItemState]], names: dict[str, str]) -> list[Shown]:
    by_flag = {flag: name for name, flag in FLAGS.items()} | {
        "deleted": "\\Deleted",
        "forwarded": "$Forwarded",
        "mdn_sent": "$MDNSent",
        "junk": "$Junk",
    }
    found = []
    for path, octets, state in read:
        name = names.get("/".join(path), "/".join(path))
        words = sorted([*(by_flag[flag] for flag in state.flags), *state.keywords])
        found.append(Shown(name, octets, tuple(words), state.received_at or 0.0))
    return sorted(found)


_NAMES = {"Süd & so": "S&APw-d &- so"}


@pytest.mark.parametrize("format", ["maildir", "mbox"])
def test_what_dovecot_wrote_is_read_as_dovecot_shows_it(
    server: Dovecot, mbox_server: Dovecot, user: str, tmp_path: Path, format: str
) -> None:
    dovecot = server if format == "maildir" else mbox_server
    session = client(dovecot, user)
    for number, octets in enumerate([*_ODD[2:6], _QUOTED]):
        date = imaplib.Time2Internaldate(1_500_000_000 + number * 3600)
        flags = ("", "\\Seen", "\\Flagged \\Answered $Forwarded", "\\Draft word $Junk", "\\Deleted")[number % 5]
        session.append("INBOX", flags, date, octets)
        session.create(f'"{_FOLDERS[3]}"')
        session.append(f'"{_FOLDERS[3]}"', flags, date, octets)
    session.select("INBOX")
    session.store("1:2", "+FLAGS", "(\\Flagged other)")
    session.logout()
    home = dovecot.folder / "mail" / user
    (tmp_path / "state").mkdir()
    config: dict[str, Any] = {"format": format, "path": str(home / ("Maildir" if format == "maildir" else "mail"))}
    if format == "mbox":
        config |= {"inbox": str(home / "inbox"), "dialect": "mboxcl2"}
    read = asyncio.run(_read(made(Folders, config, tmp_path / "state"), user))
    assert _as_shown(read, _NAMES) == shown(dovecot, user)


@pytest.mark.parametrize("format", ["maildir", "mbox"])
def test_what_we_write_is_shown_by_dovecot(
    server: Dovecot, mbox_server: Dovecot, user: str, tmp_path: Path, format: str
) -> None:
    dovecot = server if format == "maildir" else mbox_server
    fill(server, f"{user}-source")
    before = shown(server, f"{user}-source")
    home = dovecot.folder / "mail" / user
    home.mkdir()
    owner = (dovecot.folder / "mail").stat()
    shutil.chown(home, owner.st_uid, owner.st_gid)
    path = home / ("Maildir" if format == "maildir" else "mail")
    if format == "maildir":
        config: dict[str, Any] = {"format": "maildir", "path": str(path), "create": True}
    else:
        config = {
            "format": "mbox",
            "path": str(path),
            "create": True,
            "inbox": str(home / "inbox"),
            "dialect": "mboxcl2",
        }
    (tmp_path / "state").mkdir()
    store = made(Folders, config, tmp_path / "state")
    copied(imap(server, tmp_path), f"{user}-source", store, user, tmp_path)
    found = shown(dovecot, user)
    if format == "maildir":
        assert found == before
        return
    # Dovecot has no folder that holds messages and folders, and hides what it takes for its own fields.
    assert [each.flags for each in found if each.folder == "INBOX"] == [
        each.flags for each in before if each.folder == "INBOX"
    ]
