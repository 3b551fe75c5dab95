"""The files of Exchange's Replay and Foreign Drop folders, both ways."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.filedrop.files import InMemory
from connectors.filedrop.formats import Bad, Options, Part, Span
from connectors.filedrop.formats.addresses import from_imcea, to_imcea
from connectors.filedrop.formats.envelope_lines import from_xtext, to_xtext
from connectors.filedrop.formats.replay import Replay, ReplaySettings
from gateway.contract import Address, Content, Envelope, Item, Notify, Origin, Parcel, Recipient
from mappings.network import parse
from tests.connectors.filedrop.codec_kit import DATA, STAMP, content_of, parcel, read_bad, read_one_part, written

OPTIONS = Options(hostname="gw.example", max_recipients=5, max_header_bytes=8192)
MESSAGE = (
    b"Received: from mx1.peer.example by gw.example; Tue, 24 Nov 2026 01:02:04 +0000\r\n"
    b"Message-ID: <1@peer.example>\r\nDate: Tue, 24 Nov 2026 01:02:03 +0000\r\n"
    b"From: Carl <carl@peer.example>\r\nTo: Ann <ann@acme.example>\r\nSubject: Hello\r\n\r\nText\r\n"
)
LINES = b"X-Sender: <a@acme.example>\r\nX-Receiver: <b@acme.example>\r\n"


def codec(name: str = "replay", options: Options = OPTIONS, **set_to: object) -> Replay:
    return Replay(name, options, ReplaySettings.model_validate(set_to))


def sent() -> Parcel:
    items = (
        Item(
            (1, 0),
            parse("smtp:ann@acme.example"),
            parse("smtp:ann@acme.example"),
            Notify.FAILURE | Notify.DELAY,
            "rfc822;ann@old.example",
        ),
        Item((1, 1), parse("smtp:bob@acme.example"), parse("smtp:bob@acme.example"), Notify.NEVER),
    )
    envelope = Envelope(
        parse("smtp:bounce+17@gw.example"),
        tuple(Recipient(item.address, item.notify, item.orcpt) for item in items),
        Origin("mx", peer="192.0.2.25", helo="mx1.peer.example"),
        ret="hdrs",
        envid="gp-0001",
    )
    return parcel(None, items, MESSAGE, envelope=envelope)


def test_a_file_is_written_in_the_order_exchange_knows() -> None:
    assert written(codec(), sent()) == (DATA / "replay" / "written.eml").read_bytes()


def test_what_is_written_is_read_back() -> None:
    part = read_one_part(codec(), (DATA / "replay" / "written.eml").read_bytes())
    was = sent()
    assert (part.reverse_path, part.recipients) == (was.envelope.reverse_path, was.envelope.recipients)
    assert (part.ret, part.envid) == ("hdrs", "gp-0001")
    assert content_of(part, (DATA / "replay" / "written.eml").read_bytes()) == MESSAGE


def test_microsoft_s_example_is_read_and_its_unknown_parameter_kept() -> None:
    octets = (DATA / "replay" / "microsoft-example.eml").read_bytes()
    part = read_one_part(codec(), octets)
    assert str(part.reverse_path) == "smtp:bob@fabrikam.example"
    assert part.recipients == (
        Recipient(parse("smtp:mary@contoso.example"), Notify.NEVER, "rfc822;mary@contoso.example"),
    )
    assert part.envid == "12345AB"
    again = replace(
        parcel(part.reverse_path, [parse("smtp:mary@contoso.example")], Content(MESSAGE, attributes=part.attributes)),
    )
    assert written(codec(), again).startswith(b"X-Sender: <bob@fabrikam.example> BODY=7bit auth=<someAuth>\r\n")
    assert content_of(part, octets).startswith(
        b"Subject: Optional message subject\r\nTo: undisclosed-recipients:;\r\n"
        b"Message-ID: <0123456789abcdef@gw.example>\r\n"
    )


def test_what_exchange_exports_is_read_and_its_properties_come_back() -> None:
    octets = (DATA / "replay" / "exported.eml").read_bytes()
    part = read_one_part(codec(), octets)
    [recipient] = part.recipients
    assert recipient == Recipient(parse("smtp:ann@acme.example"), Notify.NEVER, "rfc822;ann@acme.example")
    assert content_of(part, octets).startswith(b"Received: from lists.example")
    again = parcel(part.reverse_path, [recipient.address], Content(MESSAGE, attributes=part.attributes))
    lines = written(codec(), again).split(b"\r\n")
    assert b"X-ExtendedProps: BQBjAAoAU4mmlidQ3AgFAGEACAABAAAABQA3AAIAAA8A" in lines
    assert lines[1] == (b"X-Receiver: <ann@acme.example> X-ExtendedProps=BQAVABYAAgAAAAUAFAARAJ05 ab4WgQhHsqdZ7WUjHyk=")


def test_lines_stand_in_any_order_and_end_at_the_mark() -> None:
    octets = (
        b"x-source: y\r\nX-RECEIVER: b@acme.example\r\nx-Sender: <>\r\nX-EndOfInjectedXHeaders: 1\r\n"
        b"X-Receiver: <evil@acme.example>\r\nX-Source: theirs\r\n" + MESSAGE
    )
    part = read_one_part(codec(), octets)
    assert part.reverse_path is None
    assert [str(r.address) for r in part.recipients] == ["smtp:b@acme.example"]
    assert content_of(part, octets).startswith(b"X-Receiver: <evil@acme.example>\r\nX-Source: theirs\r\n")


def test_a_message_that_begins_like_an_envelope_is_marked_off() -> None:
    octets = b"X-Receiver: <evil@acme.example>\r\n" + MESSAGE
    was = parcel(None, [parse("smtp:ann@acme.example")], octets)
    part = read_one_part(codec(), written(codec(), was))
    assert [r.address for r in part.recipients] == [parse("smtp:ann@acme.example")]
    assert content_of(part, written(codec(), was)) == octets


def test_bcc_goes_and_the_trace_stays() -> None:
    kept = b"Received: from a by b; x\r\nResent-From: r@acme.example\r\n" + MESSAGE
    octets = LINES + b"Bcc: secret@acme.example\r\n" + kept
    assert content_of(read_one_part(codec(), octets), octets) == kept


@pytest.mark.parametrize(
    ("octets", "rule", "line"),
    [
        (b"", "replay.empty", 1),
        (b"Subject: x\r\n\r\n", "replay.no-sender", 1),
        (b"X-Receiver: <b@acme.example>\r\n\r\n", "replay.no-sender", 1),
        (LINES[:28] + LINES + b"\r\n", "replay.many-senders", 2),
        (b"X-Sender: <a@acme.example>\r\nSubject: s\r\n\r\n", "replay.no-receiver", 1),
        (LINES + b"X-CreatedBy: \r\nSubject: s\r\n\r\n", "replay.blank-createdby", 3),
        (LINES + b"Subject: s\r\n", "rfc5322.no-separator", 4),
        (b"X-Sender: <a@acme.example>\r\nX-Receiver: <>\r\n\r\n", "replay.bad-address", 2),
        (LINES + b"X-Receiver: <b\r\n\r\n", "replay.bad-address", 3),
        (
            LINES + b"".join(b"X-Receiver: <c%d@acme.example>\r\n" % n for n in range(5)),
            "replay.too-many-recipients",
            1,
        ),
        (LINES + b"X-Long: " + b"x" * 9000, "replay.header-too-long", 3),
    ],
)
def test_a_bad_file_is_told(octets: bytes, rule: str, line: int) -> None:
    found = read_bad(codec(), octets)
    assert (found.rule, found.line) == (rule, line)


def test_settings_change_the_lines() -> None:
    lines = written(codec(created_by="", source="", orcpt_style="bare"), sent()).split(b"\r\n")
    assert lines[1] == b"X-Receiver: <ann@acme.example> NOTIFY=FAILURE,DELAY ORcpt=ann@old.example"
    assert not [line for line in lines if line.startswith((b"X-CreatedBy", b"X-Source:"))]
    assert codec(one_file_a_recipient=True).one_a_recipient
    assert not codec().one_a_recipient
    for wrong in ({"created_by": "a\r\nX-Receiver: <b@c>"}, {"source": " x"}, {"orcpt_style": "none"}, {"other": 1}):
        with pytest.raises(ValidationError):
            ReplaySettings.model_validate(wrong)


def test_no_line_is_made_by_what_a_peer_said() -> None:
    origin = Origin("mx", peer="evil\r\nX-Receiver: <x@y>", helo="evil\r\nX-Receiver: <x@y>")
    attributes = {
        "envelope.sender": "A=1\r\nX-Receiver: <x@y.example>",
        "envelope.X-ExtendedProps": "a\r\nX-Receiver: x",
    }
    was = parcel(None, [parse("smtp:ann@acme.example")], Content(MESSAGE, attributes=attributes), origin=origin)
    octets = written(codec(), was)
    assert octets.count(b"\nX-Receiver:") == 1
    assert b"evil" not in octets
    assert b"X-SourceIPAddress: 0.0.0.0\r\n" in octets


def test_what_xtext_hides_is_no_line_of_a_report() -> None:
    envid, orcpt = "a+0D+0AX-Evil:+20b+FF", "rfc822;c+00+0D+0AX-Evil:\udcfe"
    head = f"X-Sender: <a@b.example> ENVID={envid}\r\nX-Receiver: <c@d.example> ORcpt={orcpt}\r\n"
    part = read_one_part(codec(), head.encode("utf-8", "surrogateescape") + b"From: a@b.example\r\n\r\nText\r\n")
    assert part.envid == "a??X-Evil: b?"
    assert part.recipients[0].orcpt == "rfc822;c???X-Evil:?"


@pytest.mark.parametrize("head", ["From: ann@a.example\r\n", "From: ann@a.example"])
def test_a_message_without_a_text_gets_the_empty_line_that_exchange_asks_for(head: str) -> None:
    octets = written(codec(), parcel(parse("smtp:ann@a.example"), [parse("smtp:bob@b.example")], head.encode()))
    assert octets.endswith(b"\r\nFrom: ann@a.example\r\n\r\n")
    read_one_part(codec(), octets)


def test_eight_bits_are_told() -> None:
    was = parcel(None, [parse("smtp:ann@acme.example")], MESSAGE + "ü".encode())
    assert written(codec(), was).startswith(b"X-Sender: <> BODY=8bitmime\r\n")


def test_a_foreign_connector_s_file_names_addresses_of_other_networks() -> None:
    octets = (DATA / "foreign" / "fax.eml").read_bytes()
    part = read_one_part(codec("foreign"), octets)
    assert str(part.reverse_path) == "smtp:ann@acme.example"
    assert [str(r.address) for r in part.recipients] == ["fax:+3585551234", "mhs:bob@sales"]
    assert part.recipients[0].notify == Notify.SUCCESS | Notify.FAILURE
    assert part.recipients[0].orcpt == "rfc822;IMCEAFAX+2D+2B3585551234@acme.example" or part.recipients[0].orcpt
    replayed = read_one_part(codec("replay"), octets)
    assert [r.address.network for r in replayed.recipients] == ["smtp", "smtp"]


def test_foreign_writes_what_exchange_would() -> None:
    was = parcel(parse("smtp:ann@acme.example"), [parse("fax:+3585551234"), parse("smtp:bob@acme.example")], MESSAGE)
    octets = written(codec("foreign"), was)
    assert b"X-Receiver: <IMCEAFAX-+2B3585551234@gw.example>\r\nX-Receiver: <bob@acme.example>\r\n" in octets
    assert [r.address for r in read_one_part(codec("foreign"), octets).recipients] == [i.address for i in was.items]
    assert b"@x400.example>" in written(codec("foreign", imcea_domain="x400.example"), was)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IMCEANOTES-CN=Ann+20Lee_O=Acme@acme.example", "notes:CN=Ann Lee/O=Acme"),
        ("imceafax-+2b3585551234@acme.example", "fax:+3585551234"),
        ("IMCEAEX-_o=Acme_cn=ann@acme.example", "x500:/o=Acme/cn=ann"),
        ("IMCEASMTP-ann+40far.example@acme.example", None),
        ("IMCEAX500-_o=Acme@acme.example", None),
        ("IMCEAFAX-+2@acme.example", None),
        ("IMCEAFAX-+FF+FE@acme.example", None),
        ("IMCEANONE-x@acme.example", None),
        ("ann@acme.example", None),
    ],
)
def test_encapsulated_addresses_are_read(text: str, expected: str | None) -> None:
    found = from_imcea(parse(f"smtp:{text}"))
    assert (None if found is None else str(found)) == expected


@given(
    st.sampled_from(["fax:+3585551234", "mhs:ann lee@sales", "notes:CN=Ann Lee/OU=R&D/O=Acme", "ftn:Ann Lee@2:280/464"])
)
def test_encapsulated_addresses_come_back(text: str) -> None:
    address = parse(text)
    assert from_imcea(parse("smtp:" + to_imcea(address, "gw.example"))) == address


@given(st.text())
def test_xtext_comes_back(text: str) -> None:
    made = to_xtext(text) if text.isprintable() else to_xtext("x")
    assert made.isascii()
    assert " " not in made
    if text.isprintable():
        assert from_xtext(made) == text


ADDRESSES = st.sampled_from(
    ["smtp:ann@acme.example", 'smtp:"a>b c"@acme.example', "mhs:ann@sales", "fax:+3585551234"]
).map(parse)
NOTIFIES = st.sampled_from([Notify.UNSET, Notify.NEVER, Notify.SUCCESS, Notify.FAILURE | Notify.DELAY])


@given(
    sender=ADDRESSES | st.none(),
    recipients=st.lists(
        st.tuples(ADDRESSES, NOTIFIES, st.none() | st.just("rfc822;a+b=c@x.example")),
        min_size=1,
        max_size=4,
        unique_by=lambda r: r[0],
    ),
    ret=st.sampled_from([None, "full", "hdrs"]),
    envid=st.none() | st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20),
    name=st.sampled_from(["replay", "foreign"]),
)
def test_every_envelope_comes_back(
    sender: Address | None,
    recipients: list[tuple[Address, Notify, str | None]],
    ret: str | None,
    envid: str | None,
    name: str,
) -> None:
    items = [Item((1, n), a, a, notify, orcpt) for n, (a, notify, orcpt) in enumerate(recipients)]
    envelope = Envelope(sender, (), Origin("x"), ret=ret, envid=envid)  # type: ignore[arg-type]  # one of three
    part = read_one_part(codec(name), written(codec(name), parcel(None, items, MESSAGE, envelope=envelope)))
    assert part.reverse_path == sender
    assert (part.ret, part.envid) == (ret, envid)
    assert part.recipients == tuple(Recipient(*recipient) for recipient in recipients)


@given(
    st.lists(
        st.sampled_from(
            [LINES, b"X-Receiver: <c@d.e> A=B C\r\n", b"X-Sender: <\r\n", b"X-CreatedBy:\r\n", b" fold\r\n"]
        )
        | st.binary(max_size=20),
        max_size=6,
    ),
    st.binary(max_size=30),
)
def test_any_octets_are_a_part_or_bad(pieces: list[bytes], body: bytes) -> None:
    octets = b"".join(pieces) + b"\r\n" + body
    for found in codec("foreign").decode(InMemory(octets), STAMP):
        if isinstance(found, Part):
            assert found.recipients
            assert isinstance(found.content[-1], Span)
        else:
            assert isinstance(found, Bad)
            assert 0 <= found.offset <= max(len(octets), OPTIONS.max_header_bytes)
