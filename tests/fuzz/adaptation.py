"""Targets of what brings messages to other forms: HTML and TNEF read, messages made plain, taken apart and composed."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Final
from zlib import crc32

from gateway.adapt import Adapter
from gateway.adapt.tnef_step import unpack_tnef
from gateway.charsets import decoded
from gateway.contract import Capabilities, Content, Mailbox, compose, memo
from gateway.html_text import html_to_text
from gateway.octets import encode_base64, no_controls
from gateway.tnef import unpack
from gateway.tnef.calendar import calendar
from gateway.tnef.mime import message as enclosed
from gateway.tnef.stream import read, write
from mappings.network import parse
from tests.fuzz.mutate import Octets
from tests.fuzz.run import KEPT
from tests.fuzz.target import Target, same_octets
from tests.gateway.adapt.builders import TABLE, message

_MAX_SEED: Final = 20_000
_CHARSETS: Final = ("cp437", "cp850", "cp866", "cp037", "ascii", "latin-1", "utf-8")
MIME: Final = (
    b"\r\n", b"\n", b"\r", b"\0", b"--b\r\n", b"--b--\r\n", b"=?utf-8?q?=C3=B6?=", b"=?iso-2022-jp?b?GyRC?=", b"=?",
    b"?=", b"=E2=82=AC", b"=\r\n", b"=", b"\xff", b"\xc3\xa9", b"From: a <b@c>\r\n", b"Subject: ", b"\r\n\r\n",
    b'Content-Type: multipart/mixed; boundary="b"\r\n', b'Content-Type: multipart/alternative; boundary="b"\r\n',
    b"Content-Type: text/html; charset=utf-7\r\n", b"Content-Type: text/plain; format=flowed; delsp=yes\r\n",
    b"Content-Type: message/rfc822\r\n", b"Content-Transfer-Encoding: base64\r\n", b"charset=gb2312",
    b"name*0*=utf-8''%",
    b"Content-Transfer-Encoding: quoted-printable\r\n", b"Content-Disposition: attachment; filename*=x''%ff\r\n",
    b"IMCEAFTN-Ann+40", b"@gw.example", b"<p>", b"> ", b" \r\n", b"<blockquote>", b"<a href='http://x'>",
)  # fmt: skip
_HTML: Final = (
    b"<p>", b"</p>", b"<br>", b"<ul>", b"<ol>", b"<li>", b"</ul>", b"<blockquote>", b"</blockquote>", b"<pre>",
    b"</pre>", b"<table>", b"<tr>", b"<td>", b"</table>", b'<a href="http://x.example">', b"</a>", b"<!--", b"-->",
    b"<script>", b"</script>", b"<div hidden>", b"</div>", b"<img alt='x'>", b"&nbsp;", b"&#8364;", b"&#x110000;", b"&",
    b"<", b">", b'"', b"'", b" ", b"\n", b"<dl><dt>", b"<dd>", b"\xc3\xa9", b"<hr>", b"<q>",
)  # fmt: skip
_TNEF: Final = (
    b"\x78\x9f\x3e\x22\x01\x00", b"\x02\x02\x90\x06\x00", b"\x02\x05\x90\x06\x00", b"\x01\x03\x90\x06\x00",
    b"\x04\0\0\0",
    b"\x02\x10\x80\x01\x00", b"\x02\x0f\x80\x06\x00", b"\x01\x0c\x80\x02\x00", b"\x1f\x00\x07\x37", b"\x02\x01\x01\x37",
    b"\x01\x04\x90\x06\x00", b"\x1f\x00\x1a\x00", b"{\\rtf1\\fromhtml1 ", b"\\u8364 ?", b"\\'e4", b"{\\*\\htmltag <p>}",
    b"IPM.Schedule.Meeting.Request\0", b"\x40\x00\x0d\x82", b"\x02\x01\x16\x82", b"\x04\x30\x04\x30\x0b\x20\x01\x00",
    b"\x02\x20\x06\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x46\x00\x00\x00\x00",
    b"\x02\x01\x09\x10", b"LZFu", b"MELA", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x1e\x10\x00\x80", b"\x0d\x00",
)  # fmt: skip


def check_plain(octets: bytes) -> str:
    """Check a message brought to one text and files: all in the charset, within the bounds, and readable again."""
    n = crc32(octets)
    charset = _CHARSETS[n % len(_CHARSETS)]
    capabilities = Capabilities(
        mime=False, html=n & 8 == 8, attachments=n & 16 == 16, charset=charset, bare_newlines=n & 32 == 32,
        max_subject_chars=20 if n & 64 else None, wrap_columns=40 if n & 128 else None, eight_bit=n & 256 == 256,
    )  # fmt: skip
    stored = message(octets)
    fitted = Adapter(hostname="gw.example").adapt(stored, stored.deliveries, capabilities, TABLE)
    found = memo(fitted.content)
    found.text.encode(charset)
    found.subject.encode(charset)
    for attachment in found.attachments:
        attachment.name.encode(charset)
        for _ in attachment.octets():
            pass
    assert capabilities.attachments or not found.attachments
    if capabilities.wrap_columns is not None:
        assert max(map(len, found.text.split("\n"))) <= capabilities.wrap_columns
    if capabilities.max_subject_chars is not None:
        assert len(found.subject) <= capabilities.max_subject_chars
    return " ".join(sorted({note.what.partition(":")[0] for note in fitted.fidelity.notes}))[:80]


LONGEST_NAME = 900


def check_memo(octets: bytes) -> str:
    """Check that what is taken apart of any message can be composed again, and taken apart to the same."""
    found = memo(Content(octets))
    boxes = found.mailboxes(b"from", ("ftn", "smtp"))
    files = [(a.name, a.type, b"".join(a.octets())) for a in found.attachments]
    made = compose(
        [("From", boxes), ("Subject", found.subject)],
        found.text,
        [(name, kind, b"") for name, kind, _ in files],
        hostname="gw.example",
    )
    again = memo(Content(b"".join(made)))
    assert again.subject == found.subject
    assert again.text == found.text
    assert [a.name for a in again.attachments] == [name[:255].strip() for name, _, _ in files]
    # A word that is longer than a line may be is folded by force (RFC 5322 §2.1.1), and comes back with a blank in it.
    if all(len(box.name) < LONGEST_NAME for box in boxes):
        assert again.mailboxes(b"from", ("ftn", "smtp")) == boxes
    return f"{len(files)} {len(boxes)}"


def check_compose(octets: bytes) -> str:
    """Check that no value makes a field."""
    text = octets.decode("utf-8", "replace")
    box = Mailbox(text, parse("smtp:ann@acme.example"))
    pieces: list[bytes] = compose(
        [("Subject", text), ("To", [box]), ("Message-ID", text), (text[:50], text)],
        text,
        [(text, text[:50], b"QQ==\r\n")],
        hostname="gw.example",
    )
    whole = Content(b"".join(pieces))
    assert len(whole.fields) <= 6
    assert all(field.name for field in whole.fields)
    found = memo(whole)
    assert found.subject == no_controls(text)
    assert len(found.attachments) == 1
    return ""


def check_html(octets: bytes) -> str:
    """Check HTML brought to text."""
    source = decoded(octets, "utf-8")
    text = html_to_text(source)
    assert text == "" or (text.endswith("\n") and not text.endswith("\n\n"))
    assert len(text) < 60 * len(source) + 100
    return str(len(text) // 50)


def check_tnef(octets: bytes) -> str:
    """Check a stream of Outlook's: read, brought to MIME and to iCalendar, and written anew."""
    found = unpack(octets)
    if found is None:
        return "none"
    for file in found.files:
        file.name.encode()
        assert no_controls(file.name) == file.name
    stream = read(octets)
    assert stream is not None
    assert read(write(stream)) == stream
    made = Content(enclosed(found, hostname="gw.example"))
    assert all(len(line) <= 998 for line in made.octets().split(b"\r\n"))
    told = calendar(found)
    if told is not None:
        assert all(len(line) <= 75 and b"\n" not in line for line in told.octets.split(b"\r\n"))
    packed = b"Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encode_base64(octets)
    apart, _ = unpack_tnef(Content(packed), "gw.example")
    assert apart.fields
    depth = "" if told is None else told.method
    return f"{len(found.files)} {bool(found.text)} {bool(found.html)} {len(found.rtf).bit_length()} {depth}"


@cache
def messages() -> tuple[bytes, ...]:
    """Return what the tests have as data, and third parties' mail where it is at hand."""
    folders = [KEPT, KEPT.parent / "data"]
    named = os.environ.get("GATEPOST_CORPUS")
    if named:
        folders.append(Path(named))
    paths = (path for folder in folders for path in sorted(folder.rglob("*")))
    return (b"", *(p.read_bytes() for p in paths if p.is_file() and p.stat().st_size <= _MAX_SEED))


TARGETS: Final = tuple(
    Target(name, check, messages, Octets(tokens), same_octets, same_octets, 3.0, _MAX_SEED)
    for name, check, tokens in (
        ("plain", check_plain, MIME),
        ("memo", check_memo, MIME),
        ("compose", check_compose, MIME),
        ("html", check_html, _HTML),
        ("tnef", check_tnef, _TNEF),
    )
)
