"""The pickup format, both ways: tables of files, and properties over any octets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.filedrop.files import InMemory
from connectors.filedrop.formats import Bad, Beside, Options, Part, Span, Stamp
from connectors.filedrop.formats.pickup import Pickup, PickupSettings
from gateway.contract import Address, Content, Envelope, Item, Notify, Origin, Parcel, Recipient
from gateway.testing import sample
from mappings.network import parse

OPTIONS = Options(network="mhs", hostname="gw.example", max_recipients=5, max_header_bytes=4096)
STAMP = Stamp("0123456789abcdef", 1_795_482_123.0)
FULL = b"Message-ID: <1@a>\r\nDate: Tue, 24 Nov 2026 01:02:03 +0000\r\n"


def codec(options: Options = OPTIONS) -> Pickup:
    return Pickup("pickup", options, PickupSettings())


def content_of(part: Part, octets: bytes) -> bytes:
    """Return a part's content, put together."""
    pieces = []
    for piece in part.content:
        assert not isinstance(piece, Beside)
        pieces.append(piece if isinstance(piece, bytes) else octets[piece.start : piece.end])
    return b"".join(pieces)


def read(octets: bytes, options: Options = OPTIONS) -> tuple[Part, bytes]:
    """Return the one part of a good file, and its content."""
    [part] = codec(options).decode(InMemory(octets), STAMP)
    assert isinstance(part, Part), part
    return part, content_of(part, octets)


def bad(octets: bytes, options: Options = OPTIONS) -> Bad:
    [found] = codec(options).decode(InMemory(octets), STAMP)
    assert isinstance(found, Bad), found
    return found


def shown(part: Part) -> tuple[str, list[str]]:
    return str(part.reverse_path or "<>"), [str(recipient.address) for recipient in part.recipients]


ENVELOPES = [
    (b"From: Ann <ann@sales>\r\nTo: bob@acme.example\r\n", "mhs:ann@sales", ["smtp:bob@acme.example"]),
    # From with one address wins over Sender
    (b"Sender: s@ops\r\nFrom: a@ops\r\nTo: b@ops\r\n", "mhs:a@ops", ["mhs:b@ops"]),
    # several in From: Sender decides
    (b"From: a@ops, c@ops\r\nSender: s@ops\r\nTo: b@ops\r\n", "mhs:s@ops", ["mhs:b@ops"]),
    (b"From: a@ops\r\nTo: b@ops\r\nCc: c@o, B@OPS\r\nBcc: d@o\r\n", "mhs:a@ops", ["mhs:b@ops", "mhs:c@o", "mhs:d@o"]),
    (b"From: a@ops\r\nTo: b@ops\r\nTo: c@ops\r\n", "mhs:a@ops", ["mhs:b@ops", "mhs:c@ops"]),
    (b"From: a@ops\r\nTo: Name\r\n <b@ops>\r\n", "mhs:a@ops", ["mhs:b@ops"]),
    (b"From: a@ops\r\nBcc: d@ops\r\n", "mhs:a@ops", ["mhs:d@ops"]),
    # envelope lines: as the Replay folder has them, and as IIS writes them
    (b"X-Sender: <>\r\nX-Receiver: <b@ops>\r\nFrom: x@y\r\n", "<>", ["mhs:b@ops"]),
    (b"x-sender: a@o\r\nx-receiver: b@ops\r\nx-receiver: c@d.e\r\nTo: q@o\r\n", "mhs:a@o", ["mhs:b@ops", "smtp:c@d.e"]),
    (b"X-Receiver: <b@ops>\r\nX-Sender: <a@ops> BODY=8bitmime\r\nX-Source: Replay\r\n", "mhs:a@ops", ["mhs:b@ops"]),
    # the same names later in the header are ordinary fields
    (b"From: a@ops\r\nX-Sender: <evil@ops>\r\nX-Receiver: <evil@ops>\r\nTo: b@ops\r\n", "mhs:a@ops", ["mhs:b@ops"]),
    (b"X-Sender: <a@ops>\r\nX-Receiver: <b@ops>\r\nTo: b@ops\r\nX-Receiver: <evil@o>\r\n", "mhs:a@ops", ["mhs:b@ops"]),
]  # fmt: skip


@pytest.mark.parametrize(("head", "sender", "recipients"), ENVELOPES)
def test_the_envelope_is_read(head: bytes, sender: str, recipients: list[str]) -> None:
    part, _ = read(head + FULL + b"\r\ntext\r\n")
    assert shown(part) == (sender, recipients)


def test_a_whole_message_stays_as_it_is() -> None:
    octets = b"From: a@ops\r\nTo: b@ops\r\n" + FULL + b"\r\nbody\0\xff\n.\r\n"
    part, content = read(octets)
    assert part.content == (Span(0, len(octets)),)
    assert content == octets


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_what_is_missing_is_added_in_the_file_s_own_line_ends(newline: bytes) -> None:
    octets = newline.join((b"From: a@ops", b"Bcc: b@ops", b"X-Odd: \xff", b"", b"body", b""))
    _, content = read(octets)
    assert content == newline.join(
        (
            b"From: a@ops",
            b"X-Odd: \xff",
            b"To: undisclosed-recipients:;",
            b"Message-ID: <0123456789abcdef@gw.example>",
            b"Date: Tue, 24 Nov 2026 01:02:03 -0000",
            b"",
            b"body",
            b"",
        )
    )


def test_traces_go_but_ours_which_shows_a_loop() -> None:
    ours = b"Received: from x by gw.example with ESMTP id 1; Tue, 24 Nov 2026 01:02:03 +0000\r\n"
    octets = (
        b"Received: from a by b; x\r\n"
        + ours
        + b"Resent-From: r@ops\r\nResent-To: t@ops\r\nFrom: a@ops\r\nTo: b@ops\r\n"
        + FULL
    )
    _, content = read(octets + b"\r\n")
    assert content == ours + b"From: a@ops\r\nTo: b@ops\r\n" + FULL + b"\r\n"


def test_with_envelope_lines_traces_stay_and_bcc_goes() -> None:
    kept = b"Received: from a by b; x\r\nResent-From: r@ops\r\nFrom: a@ops\r\nTo: b@ops\r\n" + FULL
    _, content = read(b"X-Sender: <a@ops>\r\nX-Receiver: <b@ops>\r\n" + kept + b"Bcc: secret@ops\r\n\r\ntext")
    assert content == kept + b"\r\ntext"


def test_parameters_of_envelope_lines_are_read() -> None:
    part, _ = read(
        b"X-Sender: <a@ops> RET=HDRS ENVID=gp+2B1\r\n"
        b"X-Receiver: <b@ops> NOTIFY=FAILURE,DELAY ORcpt=rfc822;old+40acme.example\r\n"
        b"X-Receiver: <c@ops> NOTIFY=NEVER\r\nX-Receiver: <d@ops> ORCPT=bare@acme.example\r\n\r\n"
    )
    assert (part.ret, part.envid) == ("hdrs", "gp+1")
    assert part.recipients == (
        Recipient(parse("mhs:b@ops"), Notify.FAILURE | Notify.DELAY, "rfc822;old@acme.example"),
        Recipient(parse("mhs:c@ops"), Notify.NEVER),
        Recipient(parse("mhs:d@ops"), Notify.UNSET, "rfc822;bare@acme.example"),
    )


BAD = [
    (b"", "pickup.empty", 1),
    (b"\r\n\r\n", "pickup.empty", 1),
    (b"hello\r\nworld\r\n", "pickup.no-header", 1),
    (b"\r\nFrom: a@ops\r\n", "pickup.no-header", 1),
    (b"To: b@ops\r\n\r\n", "pickup.no-sender", 1),
    (b"Subject: s\r\nFrom: a@ops, b@ops\r\nTo: b@ops\r\n\r\n", "pickup.no-sender", 2),
    (b"Subject: s\nFrom: a@ops\n\n", "pickup.no-recipient", 1),
    (b"From: a@ops\r\nTo: everybody:;\r\n\r\n", "pickup.no-recipient", 2),
    (b"From: a@ops\r\nTo: b@ops\r\nCc: nobody\r\n\r\n", "pickup.bad-address-list", 3),
    (b"From: a@ops\r\nTo: b@bad..example\r\n\r\n", "pickup.bad-address", 2),
    (b"From: a@ops\r\nTo: \xff@acme.example\r\n\r\n", "pickup.bad-address", 2),
    (b"From: a@ops\r\nTo: a@o, b@o, c@o, d@o, e@o, f@o\r\n\r\n", "pickup.too-many-recipients", 1),
    (b"X-Receiver: <b@ops>\r\n\r\n", "pickup.no-sender", 1),
    (b"X-Sender: <a@ops>\r\nX-Sender: <b@ops>\r\nX-Receiver: <b@ops>\r\n\r\n", "pickup.many-senders", 2),
    (b"X-Sender: <a@ops>\r\nTo: b@ops\r\n\r\n", "pickup.no-receiver", 1),
    (b"X-Sender: <a@ops\r\nX-Receiver: <b@ops>\r\n\r\n", "pickup.bad-address", 1),
    (b"X-Sender: <a@ops>\r\nX-Receiver: <>\r\n\r\n", "pickup.bad-address", 2),
    (b"From: a@ops\r\nX-Long: " + b"x" * 5000, "pickup.header-too-long", 2),
]


@pytest.mark.parametrize(("octets", "rule", "line"), BAD)
def test_a_bad_file_is_told_with_rule_and_place(octets: bytes, rule: str, line: int) -> None:
    found = bad(octets)
    assert (found.rule, found.line) == (rule, line)
    assert found.text
    assert found.mend
    assert found.offset <= len(octets)


def test_a_file_without_its_empty_line_is_all_header() -> None:
    _, content = read(b"From: a@ops\r\nTo: b@ops\r\nMessage-ID: <1@a>\r\nDate: x\r\nBcc: c@ops")
    assert content == b"From: a@ops\r\nTo: b@ops\r\nMessage-ID: <1@a>\r\nDate: x\r\n\r\n"


@given(
    st.lists(
        st.sampled_from(
            [
                b"From: a@ops",
                b"To: b@ops",
                b"X-Sender: <a@ops>",
                b"X-Receiver: <b@ops>",
                b"Bcc: x@ops",
                b" fold",
                b"\xff:",
            ]
        )
        | st.binary(max_size=20),
        max_size=8,
    ),
    st.sampled_from([b"\n", b"\r\n"]),
    st.binary(max_size=30),
)
def test_any_octets_are_a_part_or_bad_and_the_body_stays(lines: list[bytes], newline: bytes, body: bytes) -> None:
    octets = newline.join(lines) + newline * 2 + body
    for found in codec().decode(InMemory(octets), STAMP):
        if isinstance(found, Part):
            content = Content(content_of(found, octets))
            assert b"".join(content.body_chunks()) == b"".join(Content(octets).body_chunks())
            assert content.get(b"bcc") is None
            assert content.get(b"message-id")
            assert found.recipients
        else:
            assert 0 <= found.offset <= max(len(octets), OPTIONS.max_header_bytes)


def parcel(sender: Address | None, recipients: list[Address], octets: bytes) -> Parcel:
    items = tuple(Item((1, n), address, address) for n, address in enumerate(recipients))
    envelope = Envelope(sender, tuple(Recipient(item.address) for item in items), Origin("x"))
    return Parcel(1, envelope, Content(octets), items, 0.0)


def written(sent: Parcel, options: Options = OPTIONS) -> bytes:
    return b"".join(codec(options).encode(sent, sent.items, "stem").octets())


def test_a_file_is_written_with_its_envelope_on_top() -> None:
    sent = parcel(None, [parse("mhs:ann@sales"), parse("smtp:bob@acme.example")], sample("plain"))
    assert written(sent) == (
        b"X-Sender: <>\r\nX-Receiver: <ann@sales>\r\nX-Receiver: <bob@acme.example>\r\n" + sample("plain")
    )
    assert written(sent, Options(envelope_headers=False)) == sample("plain")


ADDRESSES = st.sampled_from(
    [
        "mhs:ann@sales",
        "mhs:ann lee@sales",
        "mhs:ann@dotted.example",
        "mhs:gate@hub {SMTP:ann@acme.example}",
        "smtp:bob@acme.example",
        'smtp:"a>b, c"@acme.example',
        "smtp:jürgen@acme.example",
        "pigeon:+358 9 > 12",
    ]
).map(parse)


@given(sender=ADDRESSES | st.none(), recipients=st.lists(ADDRESSES, min_size=1, max_size=5, unique=True))
def test_what_is_written_is_read_back(sender: Address | None, recipients: list[Address]) -> None:
    sent = parcel(sender, recipients, b"From: x@ops\r\nTo: y@ops\r\n" + FULL + b"\r\nbody\r\n")
    part, content = read(written(sent))
    assert part.reverse_path == sender
    assert [recipient.address for recipient in part.recipients] == recipients
    assert content == sent.content.octets()


CORPUS = os.environ.get("GATEPOST_CORPUS")


def test_every_message_at_hand_is_taken_or_told() -> None:
    """Over the corpus where it is at hand, over the kit's samples else: no crash, no octet of a body changed."""
    octets = [sample(name) for name in ("plain", "nul", "bare-lf", "no-header", "broken-header-line", "body-3mib")]
    if CORPUS is not None:
        octets += [path.read_bytes() for path in sorted(Path(CORPUS).rglob("*.eml"))]
    for whole in octets:
        for found in codec(Options()).decode(InMemory(whole), STAMP):
            if isinstance(found, Part):
                content = Content(content_of(found, whole))
                assert b"".join(content.body_chunks()) == b"".join(Content(whole).body_chunks())
            else:
                assert found.rule.startswith("pickup.")
