"""Files that decoders of dropped files are fed with: the samples, what the tests show, and other forms of both."""

from __future__ import annotations

import base64
import binascii
import quopri
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from connectors.filedrop.formats.bsmtp.wrapping import Base64, Cards, Coded, Signed, Wrapping
from tests.fuzz.mutate import Mutation, Octets, Through, examples_in
from tests.fuzz.promises import MARK

ROOT: Final = Path(__file__).parents[2]
DESCRIPTIONS: Final = ROOT / "examples" / "legacy-formats"
MAX_SEED: Final = 20_000
_DATA: Final = ROOT / "tests" / "data" / "filedrop"
_TESTS: Final = ROOT / "tests" / "connectors" / "filedrop"

TOKENS: Final = (
    b"\r\n", b"\n", b"\r", b"\0", b"\f", b"\x01", b"\x1a", b".", b"..", b"\n.\n", b"\r\n.\r\n", b"\n\n", b"<", b">",
    b"@", b'"', b"\\", b"(", b")", b"{", b"}", b",", b";", b":", b" ", b"\t", b"!", b"=", b"/", b"../", b"\xff",
    b"\xc3\xa9", b"=?utf-8?q?x?=", b"=?utf-8?b?DQpCY2M6IGE=?=", b"From ", b">From ", b"From: a@b.example\n",
    b"To: c@d.example\n", b"Bcc: e@f.example\n", b"Sender: a@b\n", b"Subject: s\n", b"Message-ID: <1@b>\n",
    b"Resent-To: x@y\n", b"Received: by gw.example; x\n", b"a@b.example", b"\n\nText\n",
)  # fmt: skip
"""What most formats have some of, and controls."""

ENVELOPE: Final = (
    b"X-Sender: <a@b.example>\n", b"X-Receiver: <c@d.example>\n", b"X-Receiver: c@d NOTIFY=NEVER ORCPT=rfc822;x\n",
    b"X-Sender: <> BODY=8bitmime RET=hdrs ENVID=x+0Ay\n", b"X-CreatedBy: x\n", b"X-HeloDomain: x\n", b"X-Source: x\n",
    b"X-ExtendedProps: x\n", b"X-EndOfInjectedXHeaders: 5\n", b"<IMCEAFAX-a+40b+2Ec@d>",
)  # fmt: skip
BATCH: Final = (
    b"MAIL FROM:<a@b.example>\n", b"RCPT TO:<c@d.example>\n", b"DATA\n", b"RSET\n", b"QUIT\n", b"HELO x\n",
    b"EHLO x\r\n", b"TICK 7\n", b"VRFY x\n", b"MAIL FROM:<> RET=FULL ENVID=a+0Db BODY=8BITMIME SIZE=9\n",
    b"RCPT TO:<c@d> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+0Ab\n", b"RCPT TO:<@x:c@d>\n", b"RCPT TO:c@d\n",
    b"MT-PRIORITY=9", b".\n", b"..\n", b"\n.\nMAIL FROM:<e@f>\n", b"Content-Type: application/batch-SMTP\n",
    b'; required-extensions="X"', b"Content-Transfer-Encoding: base64\n",
)  # fmt: skip
MAILBOX: Final = (
    b"From a@b Tue Nov 24 01:02:03 2026\n", b"\n\nFrom a@b Tue Nov 24 01:02:03 2026\n", b"From a@b\n", b">>From x\n",
    b"\x01\x01\x01\x01\n", b"\x01\x01\x01\x01", b"Content-Length: 7\n", b"Content-Length: 999999999999999999\n",
    b"Return-Path: <a@b>\n", b"Return-Path: <>\n", b"Delivered-To: c@d\n", b"Status: RO\n", b"X-UID: 1\n", b"\n\n\n",
    b"--------\n",
)  # fmt: skip
JOB: Final = (
    b"U ann beta\n", b"F D.betaX0001\n", b"I D.betaX0001\n", b"F D.betaX0001 body\nI body\n", b"I ../x\n",
    b"C rmail gate!bob eve@d.example\n", b"C rsmtp\n", b"# x\n", b"R alpha!ann\n", MARK,
    b"From ann Tue Nov 24 01:02:03 2026 remote from beta\n", b">From x y remote from z\n", b"From <> x\n", b"!!",
)  # fmt: skip
SMF: Final = (
    b"SMF-70\r\n", b"SMF-71\r\n", b"SMF-70 SMF-71\r\n", b"Attachment: 0A1B2C3D\r\n", b"Attachment-name: a.txt\r\n",
    b"Attachment-type: text/plain\r\n", b"Attachment: ..\\x\r\n", b"Send-To: a@b\r\n",
    b"Copies-to: a@b {c@d.example}\r\n",
    b"From: Ann Lee <ann@hq>\r\n", b"To: a@b, c@d\r\n", b"Date: 24-Nov-26 01:02:03 GMT\r\n", b"Priority: urgent\r\n",
    b"Return-notification-to: a@b\r\n", b"Return-notification-reason: 1\r\n", b"X-Bcc: a@b\r\n", b"X-: y\r\n",
    b"%&%&%\r\n", b"\r\n%&%&%\r\n", b"%&%&% \t\x1a", b"In-reply-to: a b c\r\n", b"MHS-ID: 1\r\n", b" continued\r\n",
)  # fmt: skip
RECORDS: Final = (
    b"TRL00000001", b"HDR", b"EDI_DC40", b"-END-", b"-----END-----\n", b"Message: 1\n", b"~", b'""', b"|", b"  ",
    b"<?xml version='1.0'?>", b"<?xml version='1.0' encoding='utf-16'?>", b"<!DOCTYPE x [<!ENTITY y 'z'>]>", b"&y;",
    b"&#13;", b"&#10;Bcc: a@b", b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<Notices>", b"</Notices>", b"<Notice>",
    b"</Notice>", b"</Batch>", b"<Text>", b"[", b"]", b"null", b"1e999", b"1" * 5000, b"\\u0000", b"\\r\\nBcc: a@b",
    b"\\ud800", b"[" * 100, b'{"a":', b"true", b'"":', b"\xef\xbb\xbf", b"\xff\xfe", b"0000000", b"2026-02-30", b"99",
    b"IyMj", b"a.txt", b"..\\a", b"NUL", MARK,
)  # fmt: skip


def seeds(names: Iterable[str], extra: Sequence[bytes] = ()) -> tuple[bytes, ...]:
    """Return files: the samples in the folders of these names, what the tests of them show, and others."""
    found: dict[bytes, None] = dict.fromkeys((b"", *extra))
    for name in names:
        found |= dict.fromkeys(_samples(name))
    # Most inputs begin with a whole file: pieces are seldom one.
    pieces = {each: None for name in names for each in _shown(name)}
    whole = [each for each in found if each]
    return (*found, *whole * (len(pieces) // (2 * len(whole) or 1)), *pieces)


@cache
def _samples(name: str) -> tuple[bytes, ...]:
    return tuple(
        path.read_bytes()
        for path in sorted((_DATA / name).rglob("*"))
        if path.is_file() and path.name != "SOURCE.txt" and path.stat().st_size <= MAX_SEED
    )


@cache
def _shown(name: str) -> tuple[bytes, ...]:
    """Return the constants in the modules of tests that a format has, those long enough to be more than a word."""
    modules = sorted(_TESTS.glob(f"test_{name.rstrip('017')}*.py"))
    return tuple(each for module in modules for each in examples_in(module, MAX_SEED)[1] if len(each) > 12)


def records(stem: str) -> tuple[bytes, ...]:
    """Return the example files of a description, and one with another beside it."""
    found = [path.read_bytes() for path in sorted(DESCRIPTIONS.iterdir()) if path.suffix != ".toml"]
    own = [path.read_bytes() for path in sorted(DESCRIPTIONS.glob(f"{stem}.*")) if path.suffix != ".toml"]
    return (b"", *own * 4, *(each + MARK + b"a file" for each in own), *(each for each in found if each not in own))


def jobs() -> tuple[bytes, ...]:
    """Return UUCP's jobs, each with its data beside it, and texts alone."""
    folder = _DATA / "uucp"
    pairs = [
        path.read_bytes() + MARK + (folder / f"D.{path.name.partition('.')[2]}").read_bytes()
        for path in sorted(folder.glob("X.*"))
    ]
    return (*pairs * 3, *_samples("bsmtp"))


def wrapped(octets: bytes) -> bytes:
    """Return octets as a MIME object of a batch, in base64."""
    head = b"MIME-Version: 1.0\r\nContent-Type: application/batch-SMTP\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return head + base64.encodebytes(octets).replace(b"\n", b"\r\n")


def unwrapped(octets: bytes) -> bytes:
    try:
        return binascii.a2b_base64(octets.partition(b"\r\n\r\n")[2])
    except binascii.Error:
        return Base64().decode(octets)


def quoted(octets: bytes) -> bytes:
    """Return octets as a MIME object of a batch, in quoted-printable."""
    head = b"Content-Type: application/batch-SMTP\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    return head + quopri.encodestring(octets)


def unquoted(octets: bytes) -> bytes:
    return quopri.decodestring(octets.partition(b"\r\n\r\n")[2])


CP037: Final = Coded("cp037")
CARDS: Final = Cards(80, "cp037")
PLAIN_CARDS: Final = Cards(80, "ascii")
SIGNED: Final = Signed("#")


def to_form(form: Wrapping, octets: bytes) -> bytes:
    return b"".join(form.encode(iter((octets,))))


def through(tokens: Sequence[bytes], form: Wrapping) -> Mutation:
    """Return what mutates files in a form that hides their lines."""
    return Through(Octets(tokens), form.decode, lambda octets: to_form(form, octets))
