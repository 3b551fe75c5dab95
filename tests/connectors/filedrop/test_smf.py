"""SMF files, both ways: samples, what comes back, what is told, and any octets."""

from __future__ import annotations

import re
from base64 import encodebytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connectors.filedrop.files import InMemory
from connectors.filedrop.formats import Bad, Beside, Encoded, Options, Part
from connectors.filedrop.formats.smf.codec import Smf
from connectors.filedrop.formats.smf.settings import SmfSettings
from connectors.filedrop.formats.values import Refused
from gateway.contract import (
    Action,
    Content,
    Envelope,
    Item,
    Mailbox,
    Memo,
    Notify,
    Origin,
    Recipient,
    RecipientReport,
    Report,
    Status,
    compose,
    memo,
)
from mappings.network import parse
from tests.connectors.filedrop.codec_kit import (
    DATA,
    STAMP,
    content_of,
    parcel,
    read_all,
    read_bad,
    read_one_part,
    written,
)

OPTIONS = Options(
    network="mhs", hostname="gw.example", max_recipients=5, max_header_bytes=40_000, max_text_bytes=100_000
)
BOB, DAN, CARL = (parse(f"mhs:{text}") for text in ("bob@sales", "dan@ops", "carl@hq"))
PDF = (DATA / "smf70" / "0A1B2C3D").read_bytes()


def codec(name: str = "smf70", options: Options = OPTIONS, **set_to: object) -> Smf:
    return Smf(name, options, SmfSettings.model_validate(set_to))


def back(octets: bytes, files: dict[str, bytes] | None = None, **set_to: object) -> tuple[Part, Memo]:
    part = read_one_part(codec(**set_to), octets)  # type: ignore[arg-type]  # settings
    return part, memo(Content(content_of(part, octets, files), attributes=part.attributes))


def sample(name: str) -> bytes:
    return (DATA / name).read_bytes()


def message(
    fields: list[tuple[str, object]], text: str = "Text\n", files: list[tuple[str, str, bytes]] | None = None
) -> bytes:
    """Return a message as the core hands it to a format without MIME."""
    pieces = compose(fields, text, files or [], hostname="gw.example")  # type: ignore[arg-type]  # values and boxes
    head = b"Received: from a by gw.example; Tue, 24 Nov 2026 01:02:04 +0000\r\n"
    # A file's own octets stand as base64 in its place.
    attached = {content for _, _, content in files or []}
    return head + b"".join(
        encodebytes(piece).replace(b"\n", b"\r\n") if piece in attached else piece for piece in pieces
    )


def test_a_sample_with_an_attachment_is_read() -> None:
    part, found = back(sample("smf70/offer"), {"0A1B2C3D": PDF})
    assert str(part.reverse_path) == "mhs:ann@hq {SMTP:ann@acme.example}"
    assert [str(r.address) for r in part.recipients] == ["mhs:bob@sales"]
    assert part.key == "1AB2C3D4"
    assert found.subject == "Offer"
    assert found.text == "See attachment.\n"
    assert found.get(b"message-id") == "<1AB2C3D4@smf.gw.example>"
    assert found.get(b"date") == "Tue, 24 Nov 2026 01:02:03 +0000"
    assert found.mailboxes(b"to", ("mhs",)) == (Mailbox("Bob Ray", BOB),)
    [attachment] = found.attachments
    assert (attachment.name, attachment.type) == ("Offer 2026.pdf", "application/pdf")
    assert b"".join(attachment.octets()) == PDF
    [beside] = [piece for piece in part.content if isinstance(piece, Beside)]
    assert beside == Beside("0A1B2C3D")
    kept = read_one_part(codec(keep_parcels=True), sample("smf70/offer"))
    assert Beside("0A1B2C3D", keep=True) in kept.content


def test_a_fax_program_s_file_is_read_and_its_own_keyword_kept() -> None:
    part, found = back(sample("smf70/fax"), {"FORM0001.DAT": b"data"})
    assert [str(r.address) for r in part.recipients] == ["mhs:Fax@MHSNTFAX {FAX: 5551234; TO: Bob Ray}"]
    assert found.get(b"x-smf-o-nw-formtype") == 'n,w, "Computer Verification"'
    assert found.text.startswith("Attention: Bob Ray\n---")
    sent = parcel(part.reverse_path, [r.address for r in part.recipients], found.content)
    octets = written(codec(), sent)
    assert b'\r\no-nw-formtype: n,w, "Computer Verification"\r\n' in octets
    assert b"\r\nTo: Fax@MHSNTFAX {FAX: 5551234; TO: Bob Ray} (Bob Ray)\r\n" in octets


def test_a_macro_s_file_in_a_code_page_is_read_with_the_name_before_the_file() -> None:
    part, found = back(sample("smf71/macro"), {"queroa5t": b"net"})
    assert str(part.reverse_path) == "mhs:jürgen@hq"
    assert (found.subject, found.text) == ("Grüße vom Prüfstand", "Grüße\n")
    assert [a.name for a in found.attachments] == ["NetInfo.cfg"]


def test_every_keyword_is_read() -> None:
    part, found = back(sample("smf71/full"))
    assert part.reverse_path == parse("mhs:notices@hq")
    assert part.recipients == (Recipient(BOB, Notify.SUCCESS | Notify.FAILURE),)
    assert (part.priority, part.key) == (4, "77A0")
    assert [str(box.address) for box in found.mailboxes(b"to", ("mhs",))] == [
        "mhs:bob@sales", "mhs:eve.purchasing.acme@hq", "mhs:dan@ops",
    ]  # fmt: skip
    assert found.mailboxes(b"cc", ("smtp",)) == (Mailbox("", parse("smtp:ann@acme.example")),)
    expected = {
        b"subject": "A subject that goes on in a second line",
        b"date": "Tue, 24 Nov 2026 01:02:03 +0200",
        b"message-id": "<77A0@smf.gw.example>",
        b"in-reply-to": "<1AB2C3D4@smf.gw.example>",
        b"references": "<1AB2C3D4@smf.gw.example>",
        b"priority": "urgent",
        b"importance": "low",
        b"sensitivity": "Company-Confidential",
        b"x-smf-o-acme-branch": "17",
        b"x-project": "Tower",
        b"x-smf-unread": "this line has no colon",
    }
    assert {name: found.get(name) for name in expected} == expected


def test_files_of_several_messages_are_read() -> None:
    options = Options(network="smtp", hostname="gw.example")
    smf = codec("smf70", options, separator="%&%&%")
    octets = sample("smf70/mailer2000")
    one, other = read_all(smf, octets)
    assert isinstance(one, Part)
    assert isinstance(other, Part)
    assert [str(r.address) for r in one.recipients] == ["smtp:bob@peer.example", "smtp:eve@peer.example"]
    assert Beside("status.txt") in one.content
    assert memo(Content(content_of(other, octets))).text == "Second text.\n"
    assert memo(Content(content_of(other, octets))).get(b"message-id") != memo(
        Content(content_of(one, octets, {"status.txt": b""}))
    ).get(b"message-id")
    assert one.item is not None
    [span] = one.item
    assert not isinstance(span, bytes)
    assert octets[span.start : span.end].endswith(b"%&%&%\r\n")


def test_a_bad_message_among_several_is_told_alone() -> None:
    smf = codec("smf70", Options(), separator="%&%&%")
    octets = sample("smf70/mailer2000").replace(b"FROM: ann@acme.example\r\nSUBJECT: Another", b"SUBJECT: Another")
    good, bad = read_all(smf, octets)
    assert isinstance(good, Part)
    assert isinstance(bad, Bad)
    assert (bad.rule, bad.line) == ("smf.no-sender", 9)
    assert bad.item is not None
    empty = read_bad(smf, b"%&%&%\r\n\r\n")
    assert empty.rule == "smf.empty"


@pytest.mark.parametrize(
    ("octets", "rule", "line"),
    [
        (b"", "smf.empty", 1),
        (b"To: bob@sales\r\n", "smf.magic", 1),
        (b"\x01\x02" + b" " * 126 + b"SMF-64\r\n", "smf.v64", 1),
        (b"SMF-70\r\nTo: bob@sales\r\n\r\n", "smf.no-sender", 1),
        (b"SMF-70\r\nFrom: a@b\r\nTo:\r\n\r\n", "smf.no-recipient", 3),
        (b"SMF-70\r\nFrom: a@b\r\nTo: bob\r\n\r\n", "smf.bad-address", 3),
        (b"SMF-70\r\nFrom: a@b\r\nTo: a@b, c@d, e@f, g@h, i@j, k@l\r\n\r\n", "smf.too-many-recipients", 1),
        (b"SMF-70\r\nFrom: a@b\r\nX: " + b"x" * 50_000, "smf.header-too-long", 3),
        (b"SMF-70\r\nFrom: a@b\r\nTo: c@d\r\n\r\n" + b"x" * 200_000, "smf.too-long", 5),
        (b"SMF-70\r\nFrom: a@b\r\nTo: c@d\r\n" + b"Attachment: A\r\n" * 257, "smf.too-many-attachments", 260),
    ],
)  # fmt: skip
def test_a_bad_file_is_told(octets: bytes, rule: str, line: int) -> None:
    found = read_bad(codec(), octets)
    assert (found.rule, found.line) == (rule, line)


@pytest.mark.parametrize(
    "path", ["..", "../x", "..\\x", "C:\\x", "\\\\host\\x", "/etc/passwd", ".hidden", "CON", "nul.txt", "a:b"]
)
def test_an_attachment_elsewhere_is_never_opened(path: str) -> None:
    found = read_bad(codec(), f"SMF-70\r\nFrom: a@b\r\nTo: c@d\r\nAttachment: {path}\r\n\r\n".encode())
    assert (found.rule, found.line, found.found) == ("smf.bad-attachment-path", 4, path.encode())


def test_the_folder_s_recipients_stand_in_for_those_that_are_named() -> None:
    smf = codec("smf71", Options(network="mhs", recipients=(CARL,)))
    octets = b"SMF-71\r\nFrom: a@b\r\n\r\n"
    assert [r.address for r in read_one_part(smf, octets).recipients] == [CARL]
    assert [r.address for r in read_one_part(smf, sample("smf71/full")).recipients] == [BOB]


def test_a_notification_gets_no_notification() -> None:
    part, found = back(b"SMF-71\r\nFrom: a@b\r\nTo: c@d\r\nReturn-notification-reason: failed\r\n\r\n")
    assert part.reverse_path is None
    assert found.get(b"auto-submitted") == "auto-replied"


def full_message() -> bytes:
    return message(
        [
            ("From", [Mailbox("Carl Moss", CARL)]),
            ("To", [Mailbox("Bob Ray", BOB), Mailbox("", DAN)]),
            ("Cc", [Mailbox("", parse("smtp:ann@acme.example"))]),
            ("Reply-To", [Mailbox("", parse("mhs:desk@hq"))]),
            ("Subject", "Grüße"),
            ("Date", "Tue, 24 Nov 2026 01:02:03 +0200"),
            ("Message-ID", "<1@peer.example>"),
            ("In-Reply-To", "<1AB2C3D4@smf.gw.example>"),
            ("References", "<0@x> <1AB2C3D4@smf.gw.example>"),
            ("Priority", "urgent"),
            ("X-SMF-o-acme-branch", "17"),
            ("X-SMF-Attachment", "..\\secret"),
            ("X-SMF-Send-To", "evil@host"),
            ("X-To", "evil@host"),
            ("List-Id", "x"),
        ],
        "See attachment.\n",
        [("Offer 2026.pdf", "application/pdf", PDF), ("data", "application/x-odd", b"odd octets")],
    )  # fmt: skip


def test_a_message_is_written_with_its_parcels() -> None:
    sent = parcel(CARL, [Item((1, 0), BOB, BOB, Notify.SUCCESS)], full_message())
    encoded = codec().encode(sent, sent.items, "stem")
    octets = b"".join(encoded.octets())
    first, second = encoded.enclosures
    expected = (
        sample("smf70/written").replace(b"ONE00000", first.name.encode()).replace(b"TWO00000", second.name.encode())
    )
    assert octets == expected
    assert b"".join(first.octets()) == PDF
    assert all(re.fullmatch(r"[0-9A-Z]{8}", name) for name in (first.name, second.name, codec().file_stem("stem")))
    assert [n.what for n in encoded.notes] == [
        "References", "Received", "X-SMF-Attachment", "X-SMF-Send-To", "X-To", "List-Id", "envelope NOTIFY",
    ]  # fmt: skip


def test_what_was_written_comes_back() -> None:
    sent = parcel(CARL, [Item((1, 0), BOB, BOB, Notify.SUCCESS)], full_message())
    encoded = codec().encode(sent, sent.items, "stem")
    files = {e.name: b"".join(e.octets()) for e in encoded.enclosures}
    part, found = back(b"".join(encoded.octets()), files)
    was = memo(sent.content)
    assert part.reverse_path == CARL
    assert [r.address for r in part.recipients] == [BOB]
    assert (found.subject, found.text, found.date) == (was.subject, was.text, was.date)
    assert [(a.name, a.type, b"".join(a.octets())) for a in found.attachments] == [
        (a.name, a.type, b"".join(a.octets())) for a in was.attachments
    ]
    for name in (b"from", b"to", b"cc", b"reply-to"):
        assert found.mailboxes(name, ("mhs", "smtp")) == was.mailboxes(name, ("mhs", "smtp"))
    for name in (b"message-id", b"in-reply-to", b"priority", b"x-smf-o-acme-branch"):
        assert found.get(name) == was.get(name)


def test_one_file_may_serve_all() -> None:
    smf = codec("smf71", recipients="send-to")
    assert not smf.one_a_recipient
    assert codec("smf70", recipients="send-to").max_recipients_a_file == 64
    octets = written(smf, parcel(CARL, [BOB, DAN], full_message()))
    assert (
        b"\r\nTo: bob@sales (Bob Ray), dan@ops\r\nCopies-to: ann@acme.example\r\n"
        b"Send-To: bob@sales (Bob Ray), dan@ops\r\n" in octets
    )
    assert [r.address for r in read_one_part(smf, octets).recipients] == [BOB, DAN]


def notes(encoded: Encoded) -> list[str]:
    return [f"{n.fate.value} {n.what}" for n in encoded.notes]


def test_what_smf_70_cannot_hold_is_told() -> None:
    long = parse("mhs:alexandra@purchasing")
    fields: list[tuple[str, object]] = [("From", [Mailbox("A (b) " + "n" * 80, CARL), Mailbox("", DAN)])]
    fields += [(f"X-Many-{n}", "v" * 200) for n in range(100)]
    fields += [("X-Long", "v" * 300), ("Message-ID", "<" + "m" * 300 + "@x.example>")]
    envelope = Envelope(CARL, (), Origin("x"), envid="e")
    sent = parcel(None, [Item((1, 0), long, long, Notify.NEVER, "rfc822;x@y")], message(fields), envelope=envelope)
    encoded = codec().encode(sent, sent.items, "stem")
    octets = b"".join(encoded.octets())
    told = notes(encoded)
    assert octets.index(b"\r\n\r\n") <= 16 * 1024
    for what in (
        "dropped further authors",
        "kept alexandra@purchasing",
        "dropped X-Long",
        "dropped X-Many-99",
        "kept Message-ID",
        "dropped envelope ENVID",
        "dropped envelope ORCPT",
        "dropped NOTIFY=NEVER",
    ):
        assert what in told
    assert any(what.startswith("mapped the name A (b)") for what in told)
    assert len(b"".join(codec("smf71").encode(sent, sent.items, "stem").octets())) > 16 * 1024


@pytest.mark.parametrize(
    ("notify", "priority", "told"),
    [
        (Notify.SUCCESS, 4, ["mapped envelope NOTIFY"]),
        (Notify.SUCCESS | Notify.DELAY, 9, ["mapped envelope priority 9", "mapped envelope NOTIFY"]),
        (Notify.DELAY, 0, ["dropped reverse-path dan@ops", "dropped envelope NOTIFY"]),
        (Notify.UNSET, -4, ["dropped reverse-path dan@ops"]),
    ],
)
def test_what_a_file_makes_of_the_envelope(notify: Notify, priority: int, told: list[str]) -> None:
    envelope = Envelope(DAN, (), Origin("x"), priority=priority)
    sent = parcel(None, [Item((1, 0), BOB, BOB, notify)], b"From: carl@hq\r\n\r\nx\r\n", envelope=envelope)
    encoded = codec().encode(sent, sent.items, "stem")
    assert notes(encoded) == told
    part, _ = back(b"".join(encoded.octets()))
    assert part.reverse_path == (DAN if Notify.SUCCESS in notify else CARL)


def test_a_header_of_many_names_takes_time_in_proportion() -> None:
    head = b"From: carl@hq\r\n" + b"".join(b"X-Odd-%d: v\r\n" % n for n in range(50_000))
    sent = parcel(CARL, [BOB], head + b"\r\nx")
    assert "dropped further fields" in notes(codec().encode(sent, sent.items, "stem"))


def test_an_address_that_cannot_be_written_is_refused_or_told() -> None:
    anna = parse("smtp:анна@acme.example")
    with pytest.raises(Refused) as caught:
        codec().encode(parcel(CARL, [anna], b"\r\n"), parcel(CARL, [anna], b"\r\n").items, "stem")
    assert caught.value.status.code == "5.1.3"
    fields: list[tuple[str, object]] = [("From", [Mailbox("Anna", anna)]), ("Reply-To", [Mailbox("", anna)])]
    sent = parcel(anna, [BOB], message(fields))
    encoded = codec().encode(sent, sent.items, "stem")
    assert b"\r\nFrom: postmaster@gatepost (Anna)\r\n" in b"".join(encoded.octets())
    assert "dropped From: анна@acme.example" in notes(encoded)
    assert "dropped Reply-to: анна@acme.example" in notes(encoded)
    assert codec().status(Report(1, anna, 0.0, ()), "", "stem") is None


def test_no_value_makes_a_line() -> None:
    odd = "Subject: =?utf-8?Q?a=0D=0ATo:_evil@host?=\r\nX-Odd: a\x0bTo: evil@host\r\n"
    head = f"From: carl@hq\r\nTo: bob@sales\r\n{odd}\r\nx"
    sent = parcel(CARL, [BOB], head.encode())
    octets = written(codec(), sent)
    assert octets.lower().count(b"\nto:") == 1
    assert [r.address for r in read_one_part(codec(), octets).recipients] == [BOB]


def test_separators_and_ends_of_files_in_the_text_are_kept_apart() -> None:
    smf = codec("smf70", separator="%&%&%")
    sent = parcel(CARL, [BOB], b"From: carl@hq\r\n\r\none\r\n%&%&%\r\n\x1atwo")
    encoded = smf.encode(sent, sent.items, "stem")
    octets = b"".join(encoded.octets())
    assert notes(encoded) == ["mapped control characters: ^Z", "mapped text"]
    [part] = read_all(smf, smf.opening(encoded) + octets + smf.closing())
    assert isinstance(part, Part)
    assert memo(Content(content_of(part, octets))).text == "one\n %&%&%\n two\n"
    assert len(read_all(smf, octets * 3)) == 3


def test_a_status_is_a_notification_in_the_format_s_own_form() -> None:
    report = Report(
        1,
        parse("mhs:ann@hq"),
        1_795_482_123.0,
        (
            RecipientReport(Action.DELIVERED, BOB, BOB, Status("2.0.0", "put")),
            RecipientReport(Action.FAILED, DAN, DAN, Status("5.1.1", "no such\r\nuser")),
        ),
    )
    encoded = codec().status(report, "1AB2C3D4", "stem")
    assert encoded is not None
    octets = b"".join(encoded.octets())
    assert octets == (
        b"SMF-70\r\nTo: ann@hq\r\nFrom: postmaster@gatepost (Gatepost)\r\n"
        b"Subject: Delivery notification: failed 5.1.1\r\nDate: Tue, 24 Nov 2026 01:02:03 -0000\r\n"
        b"In-reply-to: 1AB2C3D4\r\nReturn-notification-reason: failed 5.1.1\r\n\r\n"
        b"bob@sales: delivered, 2.0.0 put\r\ndan@ops: failed, 5.1.1 no such  user\r\n"
    )
    assert re.fullmatch("[0-9A-Z]{8}", encoded.name)
    assert read_one_part(codec(), octets).reverse_path is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"charset": "utf-16"},
        {"charset": "cp037"},
        {"charset": "utf-8"},
        {"charset": "none"},
        {"separator": "x"},
        {"separator": " %&%"},
        {"separator": "a\nb"},
        {"recipients": "all"},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        SmfSettings.model_validate(wrong)


def test_code_pages_and_a_postmaster() -> None:
    for charset in ("cp437", "cp850", "cp866", "cp1252", "latin-1"):
        SmfSettings.model_validate({"charset": charset})
    with pytest.raises(ValueError, match="postmaster"):
        codec(postmaster="nobody")
    assert codec(charset="cp866").capabilities.charset == "cp866"
    octets = b"SMF-70\r\nFrom: a@b\r\nTo: c@d\r\nSubject: " + "Привет".encode("cp866") + b"\r\n\r\n"
    assert back(octets, charset="cp866")[1].subject == "Привет"


TEXT = st.text(st.characters(codec="cp437", exclude_categories=["C"], include_characters="\n"), max_size=200)
WORDS = st.text(st.characters(codec="cp437", exclude_categories=["C"]), max_size=100).map(lambda t: " ".join(t.split()))


@given(
    name=st.sampled_from(["smf70", "smf71"]),
    subject=WORDS,
    text=TEXT,
    files=st.lists(
        st.tuples(st.sampled_from(["a.txt", "Größe.pdf", "b"]), st.just("application/x-a"), st.binary(max_size=50)),
        max_size=3,
    ),
    separator=st.sampled_from(["", "%&%&%"]),
    sender_name=st.from_regex(r"[A-Za-zü]{0,20}( [A-Z]{1,9})?", fullmatch=True),
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_any_message_comes_back(
    name: str, subject: str, text: str, files: list[tuple[str, str, bytes]], separator: str, sender_name: str
) -> None:
    files = [(f"{n}{file}", kind, octets) for n, (file, kind, octets) in enumerate(files)]
    attachments = [(file, kind, encodebytes(octets).replace(b"\n", b"\r\n")) for file, kind, octets in files]
    fields: list[tuple[str, object]] = [("From", [Mailbox(sender_name.strip(), CARL)]), ("Subject", subject)]
    pieces = compose(fields, text + "\n", attachments, hostname="gw.example")  # type: ignore[arg-type]  # as above
    sent = parcel(CARL, [BOB], b"".join(pieces))
    smf = codec(name, separator=separator)
    encoded = smf.encode(sent, sent.items, "stem")
    octets = b"".join(encoded.octets())
    [part] = read_all(smf, octets)
    assert isinstance(part, Part)
    stored = {e.name: b"".join(e.octets()) for e in encoded.enclosures}
    found = memo(Content(content_of(part, octets, stored)))
    assert found.subject == memo(sent.content).subject
    assert found.text == memo(sent.content).text
    assert found.mailboxes(b"from", ("mhs",)) == (Mailbox(sender_name.strip(), CARL),)
    assert [b"".join(a.octets()) for a in found.attachments] == [octets for _, _, octets in files]


LINES = st.sampled_from(
    [
        b"SMF-70", b"SMF-71", b"To: bob@sales", b"From: a@b (x) {y}", b"Attachment: A", b"Attachment-name: \\x", b"",
        b" more", b"Date: 24-Nov-26 01:02", b"Send-To: c@d, e@f {a,b}", b"%&%&%", b"Priority: High", b"\x81\xff",
    ]
)  # fmt: skip


@given(
    st.lists(LINES | st.binary(max_size=20), max_size=12),
    st.sampled_from(["", "%&%&%"]),
    st.sampled_from(["cp437", "cp1252"]),
)
def test_any_octets_are_parts_or_bad(lines: list[bytes], separator: str, charset: str) -> None:
    octets = b"\r\n".join(lines)
    found = list(codec(separator=separator, charset=charset).decode(InMemory(octets), STAMP))
    assert found
    for one in found:
        if isinstance(one, Part):
            assert one.recipients
        else:
            assert 0 <= one.offset <= len(octets)
            assert one.rule.startswith("smf.")


def test_a_long_list_of_people_takes_time_in_proportion() -> None:
    options = Options(network="mhs", max_recipients=100_000, max_header_bytes=2_000_000)
    octets = b"SMF-71\r\nFrom: a@b\r\nTo: " + b", ".join(b"u%d@x (N (" % n for n in range(50_000)) + b"\r\n\r\n"
    [found] = codec("smf71", options).decode(InMemory(octets), STAMP)
    assert isinstance(found, (Part, Bad))
