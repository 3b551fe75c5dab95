"""What is written for Exchange's Pickup folder and for IIS: a header that is the envelope, or lines as IIS has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.filedrop.formats import Options
from connectors.filedrop.formats.addresses import read_list
from connectors.filedrop.formats.pickup import Pickup, PickupSettings
from gateway.contract import Content, Envelope, Item, Note, Notify, Origin, Parcel
from mappings.network import parse
from tests.connectors.filedrop.codec_kit import DATA, content_of, parcel, read_one_part, written

OPTIONS = Options(hostname="gw.example")
ANN, BOB, EVE = (parse(f"smtp:{name}@acme.example") for name in ("ann", "bob", "eve"))
TRACE = b"Received: from a by gw.example; Tue, 24 Nov 2026 01:02:04 +0000\r\n"
REST = b"Message-ID: <1@a>\r\nDate: Tue, 24 Nov 2026 01:02:03 +0000\r\n"


def codec(dialect: str = "exchange", options: Options = OPTIONS, **set_to: object) -> Pickup:
    return Pickup("pickup", options, PickupSettings.model_validate({"dialect": dialect, **set_to}))


def fitted(sent: Parcel) -> tuple[Content, list[str]]:
    """Return what is written, and the notes without their reasons."""
    encoded = codec().encode(sent, sent.items, "stem")
    return Content(b"".join(encoded.octets())), [f"{n.fate.value} {n.what}" for n in encoded.notes]


def test_a_header_that_is_its_envelope_stays_as_it_is() -> None:
    octets = (
        TRACE
        + b"From: Eve <eve@acme.example>\r\nTo: ann@acme.example\r\nCc: Bob <BOB@acme.example>\r\n"
        + REST
        + b"\r\nx"
    )
    content, notes = fitted(parcel(EVE, [ANN, BOB], octets))
    assert content.octets() == octets
    assert notes == ["dropped Received"]


def test_who_is_not_named_gets_it_by_bcc() -> None:
    octets = (
        b"From: eve@acme.example\r\nTo: list@far.example, Ann <ann@acme.example>\r\nBcc: x@y.example\r\n"
        + REST
        + b"\r\nx"
    )
    content, notes = fitted(parcel(EVE, [ANN, BOB], octets))
    assert content.get(b"to") == b"ann@acme.example"
    assert content.get(b"bcc") == b"bob@acme.example"
    assert content.get(b"x-original-to") == b"list@far.example, Ann <ann@acme.example>"
    assert notes == ["mapped To and Cc"]
    again = read_one_part(codec(), content.octets())
    assert [r.address for r in again.recipients] == [ANN, BOB]


@pytest.mark.parametrize(
    ("head", "sender", "written_sender", "expected"),
    [
        (b"From: eve@acme.example\r\n", "smtp:eve@acme.example", None, []),
        (b"From: eve@acme.example\r\n", None, None, ["dropped null reverse-path"]),
        (b"From: eve@acme.example\r\n", "smtp:bounce@lists.example", None, ["dropped reverse-path"]),
        (b"", "smtp:eve@acme.example", (b"from", b"eve@acme.example"), ["mapped From"]),
        (b"", None, (b"from", b"postmaster@gw.example"), ["mapped From", "dropped null reverse-path"]),
        (b"From: nobody\r\n", "smtp:eve@acme.example", (b"x-original-from", b"nobody"), ["mapped From"]),
        (b"From: a@b.example, c@d.ex\r\n", "smtp:e@acme.example", (b"sender", b"e@acme.example"), ["mapped Sender"]),
        (b"From: a@b.example, c@d.example\r\nSender: eve@acme.example\r\n", "smtp:eve@acme.example", None, []),
    ],
)  # fmt: skip
def test_the_sender_is_one_that_pickup_reads(
    head: bytes, sender: str | None, written_sender: tuple[bytes, bytes] | None, expected: list[str]
) -> None:
    octets = head + b"To: ann@acme.example\r\n" + REST + b"\r\nx"
    content, notes = fitted(parcel(parse(sender) if sender else None, [ANN], octets))
    assert notes == expected
    if written_sender is None:
        assert content.octets() == octets
    else:
        assert content.get(written_sender[0]) == written_sender[1]
    assert read_one_part(codec(), content.octets()).recipients


def test_resent_fields_go_and_are_told() -> None:
    octets = b"Resent-From: r@x.example\r\nFrom: eve@acme.example\r\nTo: ann@acme.example\r\n" + REST + b"\r\nx"
    content, notes = fitted(parcel(EVE, [ANN], octets))
    assert content.get(b"resent-from") is None
    assert notes == ["dropped Resent fields"]


def test_a_header_over_64_kib_is_made_shorter() -> None:
    long = b"".join(b"Received: from a by b%d; x\r\n" % n for n in range(4000))
    octets = long + b"X-Big: 1\r\nFrom: eve@acme.example\r\nTo: ann@acme.example\r\n" + REST + b"\r\nx"
    content, notes = fitted(parcel(EVE, [ANN], octets))
    assert len(content.head) <= 64 * 1024
    assert content.get(b"x-big") == b"1"
    assert "dropped received" in notes
    stubborn = b"Subject: " + b"s" * 70_000 + b"\r\n" + octets[len(long) :]
    assert fitted(parcel(EVE, [ANN], stubborn))[1] == ["dropped x-big", "kept header"]


def test_a_file_names_at_most_100() -> None:
    assert codec().max_recipients_a_file == 100
    assert not codec().one_a_recipient
    assert codec("lines").max_recipients_a_file is None


def test_no_address_of_another_network_is_lost() -> None:
    octets = b"From: eve@acme.example\r\nTo: eve@acme.example\r\n" + REST + b"\r\nx"
    content, _ = fitted(parcel(EVE, [parse("fax:+3585551234")], octets))
    assert content.get(b"bcc") == b"IMCEAFAX-+2B3585551234@gw.example"
    assert content.get(b"to") is None


@given(
    st.lists(st.sampled_from(["ann", "bob", "eve", "x", "y, z", "bad@@", "g: a@b.example;"]), max_size=4),
    st.lists(st.sampled_from([ANN, BOB, EVE]), min_size=1, unique=True),
    st.sampled_from([b"To", b"Cc"]),
)
def test_a_file_goes_to_its_recipients_alone(named: list[str], wanted: list[object], field: bytes) -> None:
    texts = [name if "@" in name else f"{name}@acme.example" for name in named]
    head = b"From: eve@acme.example\r\n" + b"".join(field + b": " + text.encode() + b"\r\n" for text in texts)
    sent = parcel(EVE, wanted, head + REST + b"\r\nbody")  # type: ignore[arg-type]  # addresses
    content, _ = fitted(sent)
    assert content.octets().endswith(b"\r\n\r\nbody")
    reached = {
        f"{spec.local}@{spec.domain}"
        for name in (b"to", b"cc", b"bcc")
        for value in content.get_all(name)
        for spec in read_list(value.decode())
    }
    assert reached == {item.address.value for item in sent.items}


def test_iis_gets_its_own_lines() -> None:
    octets = b"From: eve@acme.example\r\n\r\nx"
    sent = parcel(EVE, [ANN, BOB], octets)
    assert written(codec("iis"), sent) == (
        b"x-sender: eve@acme.example\r\nx-receiver: ann@acme.example\r\nx-receiver: bob@acme.example\r\n" + octets
    )
    assert written(codec("iis"), parcel(None, [ANN], octets)).startswith(b"x-sender: <>\r\n")
    part = read_one_part(codec("iis"), written(codec("iis"), sent))
    assert [r.address for r in part.recipients] == [ANN, BOB]


def test_parameters_are_written_where_asked_for() -> None:
    item = Item((1, 0), ANN, ANN, Notify.SUCCESS, "rfc822;ann@old.example")
    envelope = Envelope(EVE, (), Origin("x"), ret="full", envid="e1")
    sent = parcel(None, [item], b"From: eve@acme.example\r\n\r\nx", envelope=envelope)
    assert written(codec("lines"), sent).startswith(
        b"X-Sender: <eve@acme.example>\r\nX-Receiver: <ann@acme.example>\r\n"
    )
    assert written(codec("lines", parameters=True), sent).startswith(
        b"X-Sender: <eve@acme.example> RET=FULL ENVID=e1\r\n"
        b"X-Receiver: <ann@acme.example> NOTIFY=SUCCESS ORcpt=rfc822;ann@old.example\r\n"
    )


@pytest.mark.parametrize(
    ("name", "sender", "recipients"),
    [
        ("microsoft-example.eml", "bob@fabrikam.example", ["mary@contoso.example"]),
        ("mime.eml", "ops@acme.example", ["bob@peer.example", "eve@peer.example", "dan@peer.example"]),
        ("iis-drop.eml", "ann@a.example", ["bob@b.example", "eve@b.example"]),
    ],
)
def test_sample_files_are_read(name: str, sender: str, recipients: list[str]) -> None:
    octets = (DATA / "pickup" / name).read_bytes()
    part = read_one_part(codec(), octets)
    assert part.reverse_path is not None
    assert part.reverse_path.value == sender
    assert [r.address.value for r in part.recipients] == recipients
    content = Content(content_of(part, octets))
    assert content.get(b"bcc") is None
    assert b"".join(content.body_chunks()) == b"".join(Content(octets).body_chunks())


def test_every_note_says_why() -> None:
    sent = parcel(None, [ANN], TRACE + b"To: x@y.example\r\n\r\nx")
    for note in codec().encode(sent, sent.items, "stem").notes:
        assert isinstance(note, Note)
        assert len(note.why) > 10
