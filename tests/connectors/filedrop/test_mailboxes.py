"""mbox, MMDF, Maildir and MH as formats of a file drop: envelopes, what stays, what goes, what is bad."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dkim  # type: ignore[import-untyped]  # dkimpy ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.filedrop.formats import Bad, Codec, Options, Part
from connectors.filedrop.formats.maildir import MaildirFile, MaildirSettings
from connectors.filedrop.formats.mbox import Mbox, MboxSettings
from connectors.filedrop.formats.mh import MhFile, MhSettings
from connectors.filedrop.formats.mmdf import Mmdf, MmdfSettings
from gateway.contract import Address, Content, Fate
from gateway.formats.mbox import Dialect
from gateway.testing import sample
from mappings.network import parse
from tests.connectors.filedrop.codec_kit import DATA, content_of, parcel, read_all, read_bad, read_one_part, written

OPTIONS = Options(hostname="gw.example", max_recipients=5, max_header_bytes=4096)
CORPUS = os.environ.get("GATEPOST_CORPUS")
LIBEMAIL = DATA.parent / "libemail-folder" / "t"
DIALECTS = list(Dialect)
KEPT = b"Message-ID: <1@a>\r\nDate: Tue, 24 Nov 2026 01:02:03 +0000\r\nFrom: ann@a.example\r\nTo: bob@b.example\r\n"
FROM = b"From ann@a.example Tue Nov 24 01:02:03 2026\n"


def mbox(options: Options = OPTIONS, **settings: Any) -> Mbox:
    return Mbox("mbox", options, MboxSettings(**settings))


def mmdf(options: Options = OPTIONS, **settings: Any) -> Mmdf:
    return Mmdf("mmdf", options, MmdfSettings(**settings))


def maildir(options: Options = OPTIONS, **settings: Any) -> MaildirFile:
    return MaildirFile("maildir", options, MaildirSettings(**settings))


def mh(options: Options = OPTIONS, **settings: Any) -> MhFile:
    return MhFile("mh", options, MhSettings(**settings))


def every(options: Options = OPTIONS) -> list[Codec]:
    return [*(mbox(options, dialect=each) for each in DIALECTS), mmdf(options), maildir(options), mh(options)]


def frame(codec: Codec, message: bytes) -> bytes:
    """Return a file that holds a message, in LF, as the other side writes it."""
    match codec:
        case Mbox():
            return FROM + message + b"\n"
        case Mmdf():
            return b"\x01\x01\x01\x01\n" + message + b"\x01\x01\x01\x01\n"
    return message


def shown(part: Part) -> tuple[str, list[str]]:
    return str(part.reverse_path or "<>"), [str(recipient.address) for recipient in part.recipients]


ENVELOPES = [
    # the From_ line, where nothing better is there
    (b"From ann@a.example Tue Nov 24 01:02:03 2026", b"From: x@y.example\nTo: b@c.example\n", "smtp:ann@a.example"),
    (b"From MAILER-DAEMON Tue Nov 24 01:02:03 2026", b"From: x@y.example\nTo: b@c.example\n", "<>"),
    (b"From root Tue Nov 24 01:02:03 2026", b"From: x@y.example\nTo: b@c.example\n", "smtp:root@gw.example"),
    # words that say nothing: the header's sender
    (b"From - Tue Nov 24 01:02:03 2026", b"From: x@y.example\nTo: b@c.example\n", "smtp:x@y.example"),
    (b"From ???@??? Tue Nov 24 01:02:03 2026", b"From: x@y.example\nTo: b@c.example\n", "smtp:x@y.example"),
    (b"From nobody@nowhere\tTue Nov 24 01:02:03 2026", b"From: x@y.example\nTo: b@c.example\n", "smtp:x@y.example"),
    (b"From <ann@a.example>  Tue Nov 24 01:02:03 2026", b"From: x@y.example\nTo: b@c.example\n", "smtp:ann@a.example"),
    (b"From what is this", b"From: x@y.example\nTo: b@c.example\n", "smtp:x@y.example"),
    # Return-Path on top: the delivering program's; further down it is anybody's
    (b"From root Tue Nov 24 01:02:03 2026", b"Return-Path: <r@s.example>\nFrom: x@y.example\nTo: b@c.example\n",
     "smtp:r@s.example"),
    (b"From root Tue Nov 24 01:02:03 2026", b"Delivered-To: q@c.example\nReturn-Path: <>\nTo: b@c.example\n", "<>"),
    (b"From root Tue Nov 24 01:02:03 2026", b"From: x@y.example\nReturn-Path: <r@s.example>\nTo: b@c.example\n",
     "smtp:root@gw.example"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "head", "sender"), ENVELOPES)
def test_the_reverse_path(line: bytes, head: bytes, sender: str) -> None:
    part = read_one_part(mbox(), line + b"\n" + head + b"\ntext\n\n")
    assert shown(part) == (sender, ["smtp:b@c.example"])
    content = Content(content_of(part, line + b"\n" + head + b"\ntext\n\n"))
    assert content.get(b"return-path") is None


def test_a_bare_sender_gets_the_domain_that_is_set() -> None:
    octets = b"From root Tue Nov 24 01:02:03 2026\nTo: b@c.example\n\n\n"
    assert shown(read_one_part(mbox(domain="host.example"), octets))[0] == "smtp:root@host.example"


@pytest.mark.parametrize("codec", every(), ids=lambda c: c.name)
def test_recipients_of_a_field_that_the_delivering_program_wrote(codec: Codec) -> None:
    head = b"Return-Path: <ann@a.example>\nDelivered-To: bob@b.example\n"
    octets = frame(codec, head + b"Message-ID: <1@a>\nDate: x\nDelivered-To: evil@x\nTo: list@l.example\n\ntext\n")
    assert shown(read_one_part(codec, octets)) == ("smtp:ann@a.example", ["smtp:list@l.example"])
    settings = type(codec.settings)(recipient_field="delivered-to")  # type: ignore[attr-defined]
    named = type(codec)(codec.name, OPTIONS, settings)  # type: ignore[call-arg]
    part = read_one_part(named, octets)
    assert shown(part) == ("smtp:ann@a.example", ["smtp:bob@b.example"])
    assert Content(content_of(part, octets)).get(b"delivered-to") is None
    # not on top: anybody may have written it
    part = read_one_part(named, frame(codec, b"From: x@y.example\n" + head + b"To: list@l.example\n\ntext\n"))
    assert shown(part)[1] == ["smtp:list@l.example"]


@pytest.mark.parametrize("codec", every(Options(recipients=(parse("smtp:desk@b.example"),))), ids=lambda c: c.name)
def test_recipients_that_are_set(codec: Codec) -> None:
    part = read_one_part(codec, frame(codec, b"From: x@y.example\nTo: list@l.example\n\ntext\n"))
    assert shown(part)[1] == ["smtp:desk@b.example"]


@pytest.mark.parametrize("codec", every(), ids=lambda c: c.name)
def test_a_message_stays_as_it_is_but_for_its_line_ends(codec: Codec) -> None:
    message = KEPT + b"X-Odd: \xff  x \r\n\tfolded\r\n\r\nbody\0\xff\r\n\r\n.\r\n\r\n"
    for octets in (frame(codec, message.replace(b"\r\n", b"\n")), frame(codec, message)):
        part = read_one_part(codec, octets)
        assert content_of(part, octets) == message
        assert len(part.content) == 1


@pytest.mark.parametrize("codec", every(), ids=lambda c: c.name)
def test_what_is_missing_is_added_and_bcc_goes(codec: Codec) -> None:
    octets = frame(codec, b"From: ann@a.example\nBcc: bob@b.example\n\nbody\n")
    part = read_one_part(codec, octets)
    content = Content(content_of(part, octets))
    assert shown(part)[1] == ["smtp:bob@b.example"]
    assert content.get(b"bcc") is None
    assert content.get(b"message-id")
    assert content.get(b"date")
    assert b"".join(content.body_chunks()) == b"body\r\n"
    assert content.traits.crlf_only


def test_messages_without_an_id_get_different_ones() -> None:
    octets = (FROM + b"To: b@c.example\n\ntext\n\n") * 2
    ids = {
        Content(content_of(part, octets)).get(b"message-id")
        for part in read_all(mbox(), octets)
        if isinstance(part, Part)
    }
    assert len(ids) == 2


def test_a_mailbox_s_own_fields_go() -> None:
    octets = FROM + b"Status: RO\nX-Status: A\nContent-Length: 5\nX-UID: 7\nX-IMAPbase: 1 7\n"
    octets += KEPT.replace(b"\r\n", b"\n") + b"\ntext\n\n"
    for dialect in DIALECTS:
        part = read_one_part(mbox(dialect=dialect), octets)
        assert content_of(part, octets) == KEPT + b"\r\ntext\r\n"


def test_lines_that_uucp_left_are_passed_over() -> None:
    octets = FROM + b">From x Tue Nov 24 01:02:03 2026 remote from y\n" + KEPT.replace(b"\r\n", b"\n") + b"\ntext\n\n"
    assert content_of(read_one_part(mbox(), octets), octets) == KEPT + b"\r\ntext\r\n"


def test_golden_mbox() -> None:
    octets = (DATA / "mbox" / "mboxrd.mbox").read_bytes()
    one, two = read_all(mbox(recipient_field="Delivered-To"), octets)
    assert isinstance(one, Part)
    assert isinstance(two, Part)
    assert shown(one) == ("smtp:ann@a.example", ["smtp:bob@b.example"])
    assert shown(two) == ("<>", ["smtp:bob@b.example"])
    assert content_of(one, octets).startswith(b"Message-ID: <1@a.example>\r\n")
    assert b"\r\n\r\nFrom a\r\n>From b\r\nFrom the middle" in content_of(one, octets)
    assert one.attributes == {"loose-from-lines": "1"}
    assert content_of(two, octets).endswith(b"Subject: a report has no sender\r\n\r\nSorry.\r\n")


def test_a_bad_message_of_a_mailbox_is_kept_alone() -> None:
    octets = (DATA / "mbox" / "bad.mbox").read_bytes()
    junk, nobody, good = read_all(mbox(), octets)
    assert isinstance(junk, Bad)
    assert isinstance(nobody, Bad)
    assert isinstance(good, Part)
    assert (junk.rule, junk.line) == ("mbox.no-from-line", 1)
    assert (nobody.rule, nobody.line) == ("mbox.no-recipient", 6)
    for each in (nobody, good):
        assert each.item is not None
        [span] = each.item
        assert not isinstance(span, bytes)
        alone = octets[span.start : span.end]
        assert alone.startswith(b"From ann@a.example ")
        assert len(read_all(mbox(), alone)) == 1


def test_golden_mmdf() -> None:
    octets = (DATA / "mmdf" / "two.mmdf").read_bytes()
    one, two = read_all(mmdf(), octets)
    assert isinstance(one, Part)
    assert isinstance(two, Part)
    assert shown(one) == ("smtp:ann@a.example", ["smtp:bob@b.example"])
    assert shown(two) == ("smtp:root@gw.example", ["smtp:bob@b.example"])
    assert content_of(two, octets).startswith(b"Message-ID: <2@a.example>\r\n")
    octets = (DATA / "mmdf" / "cut-off.mmdf").read_bytes()
    junk, good, cut = read_all(mmdf(), octets)
    assert isinstance(good, Part)
    assert isinstance(junk, Bad)
    assert isinstance(cut, Bad)
    assert (junk.rule, junk.line, junk.found) == ("mmdf.junk", 1, b"junk")
    assert (cut.rule, cut.line, cut.found) == ("mmdf.no-end", 10, b"From: ann@a.example")


def test_golden_maildir() -> None:
    octets = (DATA / "maildir" / "delivered").read_bytes()
    part = read_one_part(maildir(recipient_field="X-Original-To"), octets)
    assert shown(part) == ("smtp:ann@a.example", ["smtp:bob@b.example"])
    content = content_of(part, octets)
    assert content.startswith(b"Delivered-To: bob@b.example\r\nReceived: from mx.a.example")
    assert shown(read_one_part(maildir(), octets))[1] == ["smtp:list@l.example"]


def test_golden_mh() -> None:
    octets = (DATA / "mh" / "draft").read_bytes()
    part = read_one_part(mh(), octets)
    assert shown(part) == ("smtp:ann@a.example", ["smtp:bob@b.example", "smtp:carl@c.example"])
    head, _, body = content_of(part, octets).partition(b"\r\n\r\n")
    assert b"carl" not in head
    assert body == b"Hello\r\n\r\n--------\r\nis text here.\r\n"
    # a Maildir has no such lines
    assert read_bad(maildir(), b"--------\ntext\n").rule == "maildir.no-header"


BAD = [
    (b"", "empty"),
    (b"To: bob@b.example\n\n", "no-sender"),
    (b"From: a@b.example\n\n", "no-recipient"),
    (b"From: a@b.example\nTo: a@o, b@o, c@o, d@o, e@o, f@o\n\n", "too-many-recipients"),
    (b"From: a@b.example\nTo: nobody\n\n", "bad-address-list"),
    (b"hello\nworld\n", "no-header"),
    (b"From: a@b.example\nX-Long: " + b"x" * 5000 + b"\n\n", "header-too-long"),
]


@pytest.mark.parametrize(("message", "rule"), BAD)
@pytest.mark.parametrize("codec", every(), ids=lambda c: c.name)
def test_bad_messages(codec: Codec, message: bytes, rule: str) -> None:
    octets = frame(codec, message)
    if isinstance(codec, Mbox):
        octets = octets.replace(b"From ann@a.example Tue", b"From - Tue")
    found = read_bad(codec, octets)
    assert found.rule == f"{codec.name}.{rule}"
    assert found.offset <= len(octets)
    assert 1 <= found.line <= octets.count(b"\n") + 1


# --- writing


def sent(codec: Codec, octets: bytes, sender: Address | None = None, to: str = "smtp:bob@b.example") -> bytes:
    return written(codec, parcel(sender, [parse(to)], octets))


def test_what_is_appended_to_an_mbox() -> None:
    octets = KEPT + b"Subject: s\r\n\r\nFrom a\r\n>From b\r\n"
    assert sent(mbox(), octets, parse("smtp:ann@a.example")) == (
        b"From ann@a.example Tue Nov 24 01:02:03 2026\nReturn-Path: <ann@a.example>\nDelivered-To: bob@b.example\n"
        + KEPT.replace(b"\r\n", b"\n")
        + b"Subject: s\n\n>From a\n>>From b\n\n"
    )
    plain = Options(hostname="gw.example", envelope_headers=False)
    assert sent(mbox(plain), KEPT + b"\r\n") == (
        b"From MAILER-DAEMON Tue Nov 24 01:02:03 2026\n" + KEPT.replace(b"\r\n", b"\n") + b"\n\n"
    )
    assert sent(mbox(dialect="mboxcl2"), octets).endswith(b"Subject: s\nContent-Length: 15\n\nFrom a\n>From b\n\n")
    assert sent(mbox(dialect="mboxcl"), octets).endswith(b"Subject: s\nContent-Length: 16\n\n>From a\n>From b\n\n")
    assert sent(mbox(dialect="rfc4155"), octets).startswith(b"From MAILER-DAEMON@gw.example Tue Nov 24 01:02:03 2026\n")


def test_what_is_written_to_the_others() -> None:
    octets = KEPT + b"\r\ntext\r\n"
    lines = b"Return-Path: <>\nDelivered-To: bob@b.example\n" + KEPT.replace(b"\r\n", b"\n") + b"\ntext\n"
    assert sent(mmdf(), octets) == b"\x01\x01\x01\x01\n" + lines + b"\x01\x01\x01\x01\n"
    assert sent(maildir(), octets) == sent(mh(), octets) == lines


def notes(codec: Codec, octets: bytes) -> list[tuple[Fate, str]]:
    made = parcel(None, [parse("smtp:bob@b.example")], octets)
    return [(note.fate, note.what) for note in codec.encode(made, made.items, "x").notes]


def test_what_is_lost_is_told() -> None:
    octets = b"Status: RO\r\nContent-Length: 3\r\n" + KEPT + b"\r\nFrom a\r\n\x01\x01\x01\x01\r\nend"
    own = [(Fate.DROPPED, "field status"), (Fate.DROPPED, "field content-length"), (Fate.MAPPED, "last line")]
    assert notes(mbox(), octets) == own
    assert notes(mbox(dialect="mboxo"), octets) == [*own, (Fate.MAPPED, "lines that begin with From")]
    assert notes(mmdf(), octets) == [*own, (Fate.MAPPED, "lines of four ^A")]
    assert notes(maildir(), octets) == notes(mh(), octets) == []
    for codec in (mbox(), mmdf()):
        assert notes(codec, KEPT + b"\r\ntext\r\n") == []
        assert b"Status: RO" not in sent(codec, octets)


def test_capabilities() -> None:
    assert not mbox(dialect="rfc4155").capabilities.eight_bit
    for codec in every():
        assert codec.capabilities.mime
        assert not codec.capabilities.bare_newlines
        assert codec.one_a_recipient
    assert not any(codec.one_a_recipient for codec in every(Options(envelope_headers=False)))


@pytest.mark.parametrize("codec", [mbox(), mmdf()], ids=lambda c: c.name)
def test_the_guard_of_a_mailbox(codec: Mbox | Mmdf, tmp_path: Path) -> None:
    box, claim = tmp_path / "box", tmp_path / "0123456789abcdef.box"
    for path, lock in ((box, ["box", "box.lock"]), (claim, ["0123456789abcdef.box"])):
        path.write_bytes(b"")
        with codec.guard(path):
            assert sorted(os.listdir(tmp_path)) == lock
        path.unlink()
    assert [codec.is_message(name) for name in ("box", "box.lock")] == [True, False]


def test_what_is_taken_of_folders() -> None:
    names = ["1.a.h", "1.a.h:2,S", "1.a.h:2,T", "1.a.h:2,DS", "1.a.h;2,T"]
    assert [maildir().is_message(name) for name in names] == [True, True, False, False, True]
    assert not maildir(info_mark=";").is_message("1.a.h;2,T")
    assert [mh().is_message(name) for name in ("1", ",1", "#1", "x")] == [True, False, False, False]


ADDRESSES = st.sampled_from(
    [
        "smtp:ann@a.example",
        "smtp:jürgen@a.example",
        'smtp:"a b"@a.example',
        "smtp:MAILER-DAEMON@a.example",
        "smtp:root@gw",
    ]
).map(parse)
LINES = st.sampled_from(
    [b"From ann@a.example Tue Nov 24 01:02:03 2026", b"From ", b">From x", b"", b"text", b"\x01\x01\x01\x01x",
     b"\xff\0", b"--------", b"."]
)  # fmt: skip


@given(
    ADDRESSES | st.none(),
    ADDRESSES,
    st.lists(LINES, max_size=8),
    st.sampled_from(["mboxrd", "mboxcl2", "mmdf", "maildir", "mh"]),
)
def test_what_is_written_is_read_back(sender: Address | None, to: Address, body: list[bytes], form: str) -> None:
    setting: dict[str, Any] = {"recipient_field": "Delivered-To"}
    codec: Codec
    match form:
        case "mmdf":
            codec = mmdf(**setting)
        case "maildir":
            codec = maildir(**setting)
        case "mh":
            codec = mh(**setting)
        case _:
            codec = mbox(dialect=form, **setting)
    octets = KEPT + b"\r\n" + b"".join(line + b"\r\n" for line in body)
    file = b"".join(written(codec, parcel(sender, [to], octets)) for _ in range(2 if codec.many_a_file else 1))
    for part in read_all(codec, file):
        assert isinstance(part, Part), part
        assert content_of(part, file) == octets
        assert part.reverse_path == sender
        assert [recipient.address for recipient in part.recipients] == [to]


@given(st.lists(LINES | st.just(KEPT) | st.binary(max_size=20), max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_octets_are_parts_and_bads(lines: list[bytes], newline: bytes) -> None:
    for codec in every():
        octets = newline.join(lines)
        for file in (octets, frame(codec, octets)):
            for found in read_all(codec, file):
                if isinstance(found, Part):
                    assert found.recipients
                    assert Content(content_of(found, file)).get(b"bcc") is None
                else:
                    assert found.rule.startswith(codec.name)
                    assert 0 <= found.offset <= max(len(file), OPTIONS.max_header_bytes)


KEY = (
    b"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/"
    b"J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTI"
    b"KT+l/K4w3QIDAQAB"
)


def is_signed(octets: bytes) -> bool:
    return bool(dkim.verify(octets, dnsfunc=lambda name, timeout=5: KEY))


@pytest.mark.parametrize("codec", every(), ids=lambda c: str(getattr(c.settings, "dialect", c.name)))
def test_a_signature_holds_both_ways(codec: Codec) -> None:
    """A published message with its published key (tests/data/dkimpy/SOURCE.txt)."""
    octets = (DATA.parent / "dkimpy" / "rfc6376.signed.rsa.msg").read_bytes().replace(b"\r\n", b"\n")
    assert is_signed(octets.replace(b"\n", b"\r\n"))
    file = frame(codec, octets)
    part = read_one_part(codec, file)
    assert is_signed(content_of(part, file))
    file = written(codec, parcel(part.reverse_path, [parse("smtp:bob@b.example")], content_of(part, file)))
    assert is_signed(content_of(read_one_part(codec, file), file))


def messages_at_hand() -> list[bytes]:
    """Return messages of others: those of the repository, and the corpus' where it is at hand."""
    paths = [path for folder in ("testmh", "testmaildir") for path in (LIBEMAIL / folder).rglob("*") if path.is_file()]
    if CORPUS is None:
        print("GATEPOST_CORPUS is not set: its messages were not read")
    else:
        for name in ("notmuch-corpora/test/corpora", "libemail-folder/t/testmh", "libemail-folder/t/testmaildir"):
            paths += [path for path in (Path(CORPUS) / name).rglob("*") if path.is_file()]
    found = [path.read_bytes() for path in sorted(paths)]
    return found + [sample(name) for name in ("plain", "nul", "dot-lines", "long-lines", "body-3mib")]


def test_messages_of_others_come_back_as_they_were() -> None:
    """Written and read again they have the octets that the core hands over: CRLF, a header, an envelope."""
    plain = Options(envelope_headers=False, recipients=(parse("smtp:bob@b.example"),))
    own = (b"\nstatus:", b"\ncontent-length:", b"\nx-status:", b"\nx-keywords:", b"\nx-uid:")
    counted = 0
    for octets in messages_at_hand():
        [taken] = read_all(maildir(plain), octets)
        if isinstance(taken, Bad):
            continue
        message = content_of(taken, octets)
        message += b"" if message.endswith(b"\r\n") else b"\r\n"
        if b"\r" in message.replace(b"\r\n", b"") or any(field in message.lower() for field in own):
            continue
        counted += 1
        for codec in (mbox(plain), mmdf(plain), maildir(plain), mh(plain), mbox(plain, dialect="mboxcl2")):
            if isinstance(codec, Mmdf) and b"\x01\x01\x01\x01\r\n" in message:
                continue
            file = written(codec, parcel(parse("smtp:ann@a.example"), [parse("smtp:bob@b.example")], message))
            back = read_one_part(codec, file)
            assert content_of(back, file) == message, message[:300]
    assert counted >= (250 if CORPUS else 5)
