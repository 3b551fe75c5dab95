"""Mailboxes of other projects' tests: read whole, the same each time, and as other programs read them."""

from __future__ import annotations

import asyncio
import mailbox
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from connectors.folders import Folders
from gateway.contract import Content, Folder, ItemState
from tests.connectors.folders.into_dovecot import made

CORPUS = Path(os.environ.get("GATEPOST_CORPUS", "/nowhere"))
Read = list[tuple[ItemState, bytes]]


def read(config: dict[str, Any], name: str, state: Path) -> dict[tuple[str, ...], Read]:
    """Return all that a mailbox holds, read twice by two stores: the same."""
    state.mkdir(exist_ok=True)

    async def body() -> dict[tuple[str, ...], Read]:
        found: dict[tuple[str, ...], Read] = {}
        async with made(Folders, config, state).open(name) as opened:
            folders: list[Folder] = await opened.folders()
            for folder in folders:
                states = (await opened.changes(folder.id, None, 1_000_000)).items
                contents = [content async for _, content in opened.fetch([each.id for each in states])]
                octets = [b"".join(each.chunks()) for each in contents if isinstance(each, Content)]
                found[folder.path] = list(zip(states, octets, strict=True))
        return found

    once, again = asyncio.run(body()), asyncio.run(body())
    assert once == again
    return once


def lf(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").rstrip(b"\n")


def boxes() -> list[Path]:
    names = ("testmbox", "testmbox.dos", "testmbox.mac", "testmbox.empty", "mboxcl2", "mboxcl2.lies", "mboxcl3")
    found = [CORPUS / "libemail-folder/t/mboxes" / name for name in names]
    found += sorted((CORPUS / "apache-james-mime4j/mbox/src/test/resources/test-1").glob("mbox.rlug*"))[:1]
    found += [CORPUS / "mailbits/test/data/mboxes/sample.mbox", CORPUS / "nmh/test/inc/deb359167.mbox"]
    return found


@pytest.mark.skipif(not CORPUS.is_dir(), reason="GATEPOST_CORPUS names no corpus")
@pytest.mark.parametrize("file", boxes(), ids=lambda file: file.name)
def test_mbox_files_of_others_are_read_as_pythons_library_reads_them(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / file.name
    octets = file.read_bytes()
    if file.name.endswith(".mac"):
        assert b"\n" not in octets
    copy.write_bytes(octets)
    dialect = "mboxcl2" if "mboxcl" in file.name else "mboxo"
    config = {"format": "mbox", "path": str(copy), "dialect": dialect}
    ((_, found),) = read(config, "any", tmp_path / "state").items()
    assert copy.read_bytes() == octets  # reading alters nothing
    if dialect == "mboxcl2":
        assert found
        return
    lines = tmp_path / "lines"
    lines.write_bytes(octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
    theirs = mailbox.mbox(str(lines), create=False)
    kept = [theirs.get_bytes(key) for key in theirs.keys()]  # noqa: SIM118 - its iterator gives messages
    assert [lf(each) for _, each in found] == [lf(_bare(each)) for each in kept]


def _bare(octets: bytes) -> bytes:
    """Return a message of a test's mailbox without the fields that are the mailbox's."""
    head, empty, body = octets.partition(b"\n\n")
    names = (b"status:", b"x-status:", b"content-length:", b"x-uid:", b"x-keywords:", b"x-imap")
    lines = [line for line in head.split(b"\n") if not line.lower().startswith(names)]
    return b"\n".join(lines) + empty + body


@pytest.mark.skipif(not CORPUS.is_dir(), reason="GATEPOST_CORPUS names no corpus")
def test_maildirs_of_others_are_read_octet_for_octet(tmp_path: Path) -> None:
    trees = [
        cur.parent
        for cur in sorted((CORPUS / "notmuch-corpora").rglob("cur"))
        if any(each.is_file() for each in cur.iterdir())
    ]
    assert trees
    for number, tree in enumerate(trees):
        copy = tmp_path / f"box{number}"
        shutil.copytree(tree, copy)
        for name in ("new", "cur", "tmp"):
            (copy / name).mkdir(exist_ok=True)
        found = read({"format": "maildir", "path": str(tmp_path / "{mailbox}")}, copy.name, tmp_path / "state")
        files = [each for place in ("cur", "new") for each in (copy / place).iterdir() if each.is_file()]
        theirs = sorted(lf(each.read_bytes()) for each in files if not each.name.startswith("."))
        assert sorted(lf(octets) for _, octets in found["INBOX",]) == theirs


def test_mutt_and_pythons_library_read_what_is_written(tmp_path: Path) -> None:
    mails = [b"Message-ID: <%d@x>\r\nSubject: %d\r\n\r\n>From the start\r\nFrom here\r\n" % (n, n) for n in range(5)]

    async def body(config: dict[str, Any]) -> None:
        from gateway.contract import NewItem

        async with made(Folders, config, tmp_path).open("anna") as opened:
            (inbox,) = await opened.folders()
            words: list[frozenset[Any]] = [frozenset(), frozenset(["seen"]), frozenset(["seen", "answered"])]
            items = [
                NewItem(f"k{n}", Content(octets), words[n % 3], received_at=1.5e9) for n, octets in enumerate(mails)
            ]
            await opened.append(inbox.id, items)
            listed = (await opened.changes(inbox.id, None)).items
            await opened.set_flags([listed[3].id], frozenset(["flagged"]), frozenset())
            await opened.remove([listed[4].id], purge=True)

    expected = [("1", ""), ("2", "R"), ("3", "RA"), ("4", "F")]
    kinds = {"mbox": mailbox.mbox, "mmdf": mailbox.MMDF}
    for format, kind in kinds.items():
        (tmp_path / format).mkdir()
        config = {"format": format, "path": str(tmp_path / format / "{mailbox}"), "create": True}
        asyncio.run(body(config))
        file = tmp_path / format / "anna" / "Inbox"
        theirs = kind(str(file), create=False)
        told = [(message["subject"], message.get_flags().replace("O", "")) for message in theirs]
        assert [(str(int(subject) + 1), flags) for subject, flags in told] == expected
        count = ["mutt", "-F", "/dev/null", "-e", "push '<quit>'", "-R", "-Z", "-f", str(file)]
        assert shutil.which("mutt") is None or subprocess.run(count, check=False, timeout=60).returncode == 1
    maildir = {"format": "maildir", "path": str(tmp_path / "maildir" / "{mailbox}"), "create": True}
    asyncio.run(body(maildir))
    told = sorted((m["subject"], m.get_flags()) for m in mailbox.Maildir(str(tmp_path / "maildir" / "anna")))
    assert told == [("0", ""), ("1", "S"), ("2", "RS"), ("3", "F")]
    mh = {"format": "mh", "path": str(tmp_path / "mh" / "{mailbox}"), "create": True}
    asyncio.run(body(mh))
    theirs_mh = mailbox.MH(str(tmp_path / "mh" / "anna")).get_folder("inbox")
    assert theirs_mh.get_sequences() == {"unseen": [1, 4], "replied": [3], "flagged": [4]}
