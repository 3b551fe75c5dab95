"""DavMail in front of the peer: IMAP, POP and SMTP by programs of others, each step with the value it has to have."""

from __future__ import annotations

import imaplib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import davmail
from tests.peers.davmail import DavMail
from tests.peers.ews.auth import PASSWORD
from tests.peers.ews.process import EwsCompany, EwsPeer
from tests.peers.swaks import swaks

# One DavMail for all of them.
pytestmark = pytest.mark.xdist_group("davmail")


@pytest.fixture(scope="module")
def front(ews_process: EwsPeer) -> Iterator[DavMail]:
    with DavMail(ews_process.url) as running:
        yield running


@pytest.fixture
def here(ews_peer: EwsPeer) -> EwsCompany:
    made = ews_peer.organisation("ann", "bob")
    for number in range(1, 4):
        octets = (
            f"From: Bob <{made.address('bob')}>\r\nTo: {made.address('ann')}\r\nSubject: Hello {number}\r\n"
            f"Message-ID: <{number}@acme.example>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\nBody {number}\r\n"
        ).encode()
        made.put("ann", octets, received_at=1795428000 + number)
    return made


@pytest.fixture
def imap(front: DavMail, here: EwsCompany) -> Iterator[imaplib.IMAP4]:
    connection = imaplib.IMAP4("127.0.0.1", front.imap_port, timeout=60)
    assert connection.login(here.address("ann"), PASSWORD)[0] == "OK"
    yield connection
    connection.shutdown()


def test_nothing_is_missing_here() -> None:
    assert davmail.missing() is None


def test_folders_have_their_roles(imap: imaplib.IMAP4) -> None:
    status, lines = imap.list()
    assert status == "OK"
    said = b"\n".join(each for each in lines if isinstance(each, bytes)).decode()
    for flag, name in (("Sent", "Sent"), ("Trash", "Trash"), ("Drafts", "Drafts"), ("Junk", "Junk")):
        assert re.search(rf'\\{flag} .*"{name}"', said), said
    assert '"INBOX"' in said


def test_a_mailbox_is_read(imap: imaplib.IMAP4) -> None:
    assert imap.select("INBOX") == ("OK", [b"3"])
    _, said = imap.fetch("1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    parts = [each for each in said if isinstance(each, tuple)]
    assert [each[1].strip() for each in parts] == [b"Subject: Hello 1", b"Subject: Hello 2", b"Subject: Hello 3"]
    assert all(b'INTERNALDATE "23-Nov-2026 10:00:0' in each[0] for each in parts)
    assert not any(b"Seen" in each[0] for each in parts)
    _, said = imap.fetch("2", "(BODY.PEEK[])")
    octets = said[0][1]  # type: ignore[index]
    assert octets.endswith(b"\r\n\r\nBody 2\r\n")


@pytest.mark.parametrize(
    ("criteria", "found"),
    [
        (("SUBJECT", '"Hello 2"'), b"2"),
        (("HEADER", "Message-ID", "<3@acme.example>"), b"3"),
        (("UNSEEN",), b"1 2 3"),
        (("SEEN",), b""),
        (("FROM", "bob"), b"1 2 3"),
    ],
)
def test_searches_find_what_they_have_to(imap: imaplib.IMAP4, criteria: tuple[str, ...], found: bytes) -> None:
    imap.select("INBOX")
    status, said = imap.search(None, *criteria)
    assert (status, said) == ("OK", [found])


def test_flags_and_keywords(imap: imaplib.IMAP4, here: EwsCompany) -> None:
    imap.select("INBOX")
    assert imap.store("1", "+FLAGS", r"(\Seen \Flagged $MyKey)")[0] == "OK"
    item = here.items("ann")[0]
    assert (item.is_read, item.categories, item.properties["0x1090"]) == (True, ("$MyKey",), "2")
    _, said = imap.fetch("1", "(FLAGS)")
    assert {b"\\Seen", b"\\Flagged", b"$MyKey"} <= set(re.findall(rb"[\\$]\w+", said[0]))  # type: ignore[arg-type]
    imap.store("1", "-FLAGS", r"(\Seen)")
    assert not here.items("ann")[0].is_read


def test_append_copy_move_and_expunge(imap: imaplib.IMAP4, here: EwsCompany) -> None:
    imap.select("INBOX")
    made = b"From: x@outside.example\r\nSubject: appended\r\n\r\nhi\r\n"
    assert imap.append("INBOX", r"(\Seen)", '"03-Feb-2001 04:05:06 +0000"', made)[0] == "OK"
    appended = here.items("ann")[-1]
    assert (appended.subject, appended.is_read, appended.is_draft) == ("appended", True, False)
    assert appended.received_at == 981173106
    assert imap.create("Kept")[0] == "OK"
    assert imap.copy("1", "Kept")[0] == "OK"
    _, said = imap.status("Kept", "(MESSAGES UNSEEN)")
    assert said == [b'"Kept" (MESSAGES 1 UNSEEN 1)']
    _, said = imap.fetch("2", "(UID)")
    uid = re.search(rb"UID (\d+)", said[0])  # type: ignore[arg-type]
    assert uid
    imaplib.Commands["MOVE"] = ("SELECTED",)
    assert imap.uid("MOVE", uid[1].decode(), "Kept")[0] == "OK"
    assert [each.subject for each in here.items("ann", "Kept")] == ["Hello 1", "Hello 2"]
    imap.select("INBOX")
    before = len(here.items("ann"))
    assert imap.store("1", "+FLAGS", r"(\Deleted)")[0] == "OK"
    assert imap.expunge()[0] == "OK"
    left = [each.subject for each in here.items("ann")]
    assert "Hello 1" not in left
    assert len(left) == before - 1
    assert "Hello 1" in [each.subject for each in here.items("ann", "Kept")]


def test_what_was_moved_away_meanwhile_is_not_found_and_no_more(imap: imaplib.IMAP4, here: EwsCompany) -> None:
    imap.select("INBOX")
    here.alter("ann", here.items("ann")[0].id, move="junkemail")
    imap.store("1", "+FLAGS", r"(\Seen)")
    assert here.log("UpdateItem")[0].codes == ("ErrorItemNotFound",)
    assert not here.items("ann", "junkemail")[0].is_read
    assert imap.store("2", "+FLAGS", r"(\Seen)")[0] == "OK", "the connection goes on"


def test_smtp_by_swaks(front: DavMail, here: EwsCompany) -> None:
    ann, bob = here.address("ann"), here.address("bob")
    login = ("--auth", "PLAIN", "--auth-user", ann, "--auth-password", PASSWORD)
    said = swaks(front.smtp_port, *login, "--header", "Subject: by swaks", "--body", "Hello Bob", sender=ann, to=bob)
    assert said.status == 0, said.dialog
    (arrived,) = here.items("bob")
    assert (arrived.subject, arrived.is_read, arrived.is_draft) == ("by swaks", False, False)
    assert b"Hello Bob" in arrived.octets
    assert arrived.octets.startswith(f"Return-Path: <{ann}>\r\nReceived: ".encode())
    (kept,) = here.items("ann", "sentitems")
    assert (kept.subject, kept.is_draft) == ("by swaks", False)


def test_a_wrong_password_is_refused(front: DavMail, here: EwsCompany) -> None:
    connection = imaplib.IMAP4("127.0.0.1", front.imap_port, timeout=60)
    with pytest.raises(imaplib.IMAP4.error):
        connection.login(here.address("ann"), "wrong")
    connection.shutdown()


def test_pop_by_curl(front: DavMail, here: EwsCompany) -> None:
    login = f"{here.address('ann')}:{PASSWORD}"
    url = f"pop3://127.0.0.1:{front.pop_port}/"

    def curl(path: str) -> str:
        done = subprocess.run(
            ["curl", "--silent", "--show-error", "--max-time", "60", "--user", login, url + path],
            capture_output=True,
            check=True,
            timeout=90,
        )
        return done.stdout.decode()

    assert len(curl("").split("\n")) >= 3
    assert "Subject: Hello 1" in curl("1")


def test_imap_by_curl(front: DavMail, here: EwsCompany) -> None:
    login = f"{here.address('ann')}:{PASSWORD}"
    url = f"imap://127.0.0.1:{front.imap_port}/INBOX;MAILINDEX=3"
    command = ["curl", "--silent", "--show-error", "--max-time", "60", "--user", login, url]
    done = subprocess.run(command, capture_output=True, check=True, timeout=90)
    assert done.stdout.endswith(b"\r\n\r\nBody 3\r\n")


def _mbsync(front: DavMail, here: EwsCompany, folder: Path) -> None:
    # Not PushNew: without UIDPLUS, which DavMail has not, isync 1.4 takes the answer to its own look-up for an error.
    (folder / "mail").mkdir(exist_ok=True)
    (folder / "mbsyncrc").write_text(
        f"IMAPAccount far\nHost 127.0.0.1\nPort {front.imap_port}\nUser {here.address('ann')}\nPass {PASSWORD}\n"
        f"SSLType None\nAuthMechs LOGIN\nTimeout 60\n\nIMAPStore far\nAccount far\n\nMaildirStore near\n"
        f"Path {folder}/mail/\nInbox {folder}/mail/INBOX\n\nChannel all\nFar :far:\nNear :near:\nPatterns INBOX\n"
        f"Create Near\nExpunge Both\nSync PullNew PullFlags PullDelete PushFlags PushDelete\nSyncState *\n"
    )
    command = ["mbsync", "-c", str(folder / "mbsyncrc"), "-a"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr


def _maildir(folder: Path) -> dict[str, Path]:
    """Return the messages of the maildir by subject."""
    found = {}
    for each in (folder / "mail" / "INBOX").glob("*/*"):
        if each.parent.name in ("cur", "new"):
            subject = re.search(rb"(?m)^Subject: (.*?)\r?$", each.read_bytes())
            found[subject[1].decode() if subject else ""] = each
    return found


def test_mbsync_both_ways(front: DavMail, here: EwsCompany, tmp_path: Path) -> None:
    _mbsync(front, here, tmp_path)
    assert set(_maildir(tmp_path)) == {"Hello 1", "Hello 2", "Hello 3"}
    assert _maildir(tmp_path)["Hello 2"].read_bytes().replace(b"\r\n", b"\n").endswith(b"\n\nBody 2\n")
    # One is new there, one is deleted there, one is read here, one is deleted here.
    second = _maildir(tmp_path)["Hello 2"]
    marks = second.name + "S" if ":2," in second.name else second.name + ":2,S"
    second.rename(second.parent.parent / "cur" / marks)
    third = _maildir(tmp_path)["Hello 3"]
    third.rename(third.parent.parent / "cur" / (third.name + ("T" if ":2," in third.name else ":2,T")))
    here.alter("ann", here.items("ann")[0].id, delete=True)
    here.put("ann", b"From: x@y.example\r\nSubject: New\r\n\r\nnew\r\n")
    _mbsync(front, here, tmp_path)
    assert set(_maildir(tmp_path)) == {"Hello 2", "New"}
    assert {each.subject: each.is_read for each in here.items("ann")} == {"Hello 2": True, "New": False}
