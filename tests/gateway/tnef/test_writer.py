"""A message packed as Outlook would: ours and other programs' readers find in it what went in."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.compose import Mailbox, compose
from gateway.message import Content
from gateway.octets import encode_base64
from gateway.tnef import Party, unpack
from gateway.tnef.mime import message
from gateway.tnef.writer import pack
from mappings.network import parse

NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12).map(lambda name: f"{name}.bin")
TEXTS = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" \n"), max_size=60)
FILES = st.lists(st.tuples(NAMES, st.binary(min_size=1, max_size=200)), max_size=3, unique_by=lambda file: file[0])


def mail(subject: str, text: str, files: list[tuple[str, bytes]], html: str | None = None) -> bytes:
    pieces: list[bytes] = compose(
        [
            ("From", [Mailbox("Ann Lee", parse("smtp:ann@a.example"))]),
            ("To", [Mailbox("Bób", parse("smtp:bob@b.example"))]),
            ("Cc", [Mailbox("", parse("smtp:cy@c.example"))]),
            ("Subject", subject),
            ("Date", "Sun, 01 Mar 2026 09:00:00 +0000"),
            ("Message-ID", "<1@a.example>"),
        ],
        text,
        [(name, "application/x-test", encode_base64(octets)) for name, octets in files],
        hostname="gw.example",
        html=html,
    )
    return b"".join(pieces)


@given(TEXTS, TEXTS, FILES, st.none() | TEXTS.map(lambda text: f"<p>{text}</p>"))
def test_what_was_packed_is_unpacked(subject: str, text: str, files: list[tuple[str, bytes]], html: str | None) -> None:
    subject = subject.replace("\n", " ").strip()
    found = unpack(pack(Content(mail(subject, text, files, html))))
    assert found is not None
    assert found.subject == subject
    assert found.text.rstrip("\n") == text.rstrip("\n")
    assert found.html.replace("\r\n", "\n").rstrip("\n") == (html or "")
    assert [(file.name, file.type, file.octets) for file in found.files] == [
        (name, "application/x-test", octets) for name, octets in files
    ]
    assert found.sender == Party("Ann Lee", "ann@a.example")
    assert found.recipients == (Party("Bób", "bob@b.example", type=1), Party("cy@c.example", "cy@c.example", type=2))
    assert (found.sent_at, found.message_id, found.message_class) == (1772355600, "<1@a.example>", "IPM.Note")


def test_a_message_in_a_message_goes_and_comes_back() -> None:
    inner = mail("inner", "in it", [("a.bin", b"\0\1\2")], "<p>in it</p>")
    outer = (
        b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--b--\r\n"
    )
    found = unpack(pack(Content(outer)))
    assert found is not None
    (file,) = found.files
    assert file.enclosed is not None
    assert unpack(pack(Content(message(file.enclosed, hostname="gw.example")))) == unpack(pack(Content(inner)))


def test_other_programs_read_what_was_packed(tmp_path: Path) -> None:
    """The peers are Mark Simpson's tnef, and ytnef."""
    files = [("häuser.bin", bytes(range(256))), ("b.bin", b"b" * 70_000)]
    path = tmp_path / "winmail.dat"
    path.write_bytes(pack(Content(mail("Budget", "text", files))))
    for number, command in enumerate((["tnef", "-C", "{}", "-f", "{file}"], ["ytnef", "-f", "{}", "-F", "{file}"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        filled = [part.replace("{file}", str(path)).replace("{}", str(folder)) for part in command]
        done = subprocess.run(filled, capture_output=True, check=True, timeout=60)
        assert b"hecksum" not in done.stderr + done.stdout
        theirs = sorted(file.read_bytes() for file in folder.iterdir())
        assert theirs == sorted(octets for _, octets in files), command
    told = subprocess.run(["ytnefprint", path], capture_output=True, check=True, timeout=60).stdout
    assert b"Value: [Budget]" in told
    assert b"[bob@b.example]" in told or b"ann@a.example" in told
