"""The bsmtp format: the sample files, tables of what a batch may say, and properties over any octets."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.filedrop.formats import Bad, Filter, Options, Part, Span
from connectors.filedrop.formats.bsmtp import Bsmtp, BsmtpSettings
from connectors.filedrop.formats.bsmtp import text as text_module
from connectors.filedrop.formats.bsmtp import wrapping as wrapping_module
from connectors.filedrop.formats.bsmtp.lines import stuffed, unstuffed_crlf, unstuffed_lf
from connectors.filedrop.formats.bsmtp.wrapping import from_latin, to_latin
from gateway.contract import (
    Action,
    Content,
    Envelope,
    Item,
    Notify,
    Origin,
    Parcel,
    Recipient,
    RecipientReport,
    Report,
    Status,
)
from gateway.testing.feed import feed
from mappings.network import parse
from tests.connectors.filedrop.codec_kit import DATA, STAMP, content_of, read_all, span_of, written

ANN, BOB, EVE = (parse(f"smtp:{name}@b.example") for name in ("ann", "bob", "eve"))
CONTENT = b"From: ann@b.example\r\nSubject: s\r\n\r\n.dot\r\n..two\r\nend\r\n"


def codec(**options: Any) -> Bsmtp:
    return Bsmtp("bsmtp", Options(hostname="gw.example", max_recipients=5), BsmtpSettings(**options))


def said(octets: bytes, **options: Any) -> list[tuple[str, list[str], bytes] | str]:
    """Return what a file holds: (sender, recipients, content), or the rule of a Bad."""
    found: list[tuple[str, list[str], bytes] | str] = []
    for each in read_all(codec(**options), octets):
        if isinstance(each, Bad):
            assert each.text[:3].isdigit(), "a server's reply"
            assert each.mend
            found.append(each.rule)
        else:
            recipients = [recipient.address.value for recipient in each.recipients]
            sender = "<>" if each.reverse_path is None else each.reverse_path.value
            found.append((sender, recipients, content_of(each, octets)))
    return found


def item_of(bad: Bad | Part, octets: bytes) -> bytes:
    """Return the file of its own that an item is."""
    assert bad.item is not None
    return b"".join(each if isinstance(each, bytes) else span_of(each, octets) for each in bad.item)


def batch(parcels: list[Parcel], made: Bsmtp) -> bytes:
    """Return a file of messages, as a layout puts one."""
    encoded = [made.encode(each, each.items, f"stem-{n}") for n, each in enumerate(parcels)]
    return made.opening(encoded[0]) + b"".join(b"".join(each.octets()) for each in encoded) + made.closing()


def parcel_of(content: bytes = CONTENT, *items: Item, **envelope: Any) -> Parcel:
    items = items or (Item((1, 0), BOB, BOB),)
    recipients = tuple(Recipient(item.address) for item in items)
    made = Envelope(**{"reverse_path": ANN, "recipients": recipients, "origin": Origin("x"), **envelope})
    return Parcel(1, made, Content(content), items, 1_795_482_123.0)


PAGE = DATA.parents[2] / "docs" / "connectors" / "filedrop" / "bsmtp.md"


def test_the_page_shows_the_sample() -> None:
    assert (DATA / "bsmtp" / "classic.bsmtp").read_text() in PAGE.read_text()


def test_the_page_shows_what_is_written() -> None:
    content = b"From: ann@a.example\r\nSubject: one\r\n\r\n.this line began with one dot\r\n"
    sent = parcel_of(content, Item((1, 0), BOB, BOB), reverse_path=parse("smtp:ann@a.example"))
    assert f"```text\n{batch([sent], codec(dialect='exim')).decode()}```" in PAGE.read_text()


def test_the_page_shows_a_response_file() -> None:
    failed = RecipientReport(Action.FAILED, BOB, BOB, Status("5.1.1", "no such user"))
    answer = codec(line_end="lf").status(Report(1, ANN, 0.0, (failed,)), "q1", "stem")
    assert answer is not None
    assert f"```text\n{b''.join(answer.octets()).decode()}```" in PAGE.read_text()


SAMPLES = [
    (
        "classic.bsmtp",
        {},
        [
            (
                "ann@a.example",
                ["bob@b.example"],
                b"From: ann@a.example\r\nSubject: one\r\n\r\n.this line began with one dot\r\n",
            ),
            ("<>", ["ann@a.example"], b"Subject: two\r\n\r\n"),
        ],
    ),
    ("rfc976.mail", {"prefix": "#"}, [("m@x.example", ["n@y.example"], b"Subject: s\r\n\r\ntext\r\n")]),
    (
        "cards.ebcdic",
        {"charset": "cp037", "record_octets": 80},
        [("ann@a.example", ["bob@b.example"], b"From: ann@a.example\r\nSubject: cards\r\n\r\n.dot\r\n")],
    ),
    (
        "cut-off.bsmtp",
        {},
        [("ann@a.example", ["bob@b.example"], b"Subject: whole\r\n\r\ntext\r\n"), "bsmtp.no-final-dot"],
    ),
    *(
        (
            name,
            {"dialect": "rfc2442"},
            [
                (
                    "ann@a.example",
                    ["bob@b.example"],
                    b"From: ann@a.example\r\nSubject: one\r\n\r\n.this line began with one dot\r\n",
                )
            ],
        )
        for name in ("rfc2442.eml", "rfc2442-base64.eml")
    ),
]


@pytest.mark.parametrize(("name", "options", "expected"), SAMPLES, ids=[each[0] for each in SAMPLES])
def test_sample(name: str, options: dict[str, Any], expected: list[Any]) -> None:
    assert said((DATA / "bsmtp" / name).read_bytes(), **options) == expected


def test_no_record_ends_inside_a_card() -> None:
    lines = [b"MAIL FROM:<ann@b.example>", b"RCPT TO:<bob@b.example>", b"DATA", b"x\n.\nQUIT", b"y\r\n.\r\nz", b"."]
    octets = b"".join(line.ljust(80) for line in lines)
    assert said(octets, record_octets=80) == [(TAKEN[0], TAKEN[1], b"x . QUIT\r\ny  .  z\r\n")]


def test_exims_own_batch() -> None:
    found = said((DATA / "bsmtp" / "exim.bsmtp").read_bytes(), dialect="exim")
    assert [each[:2] for each in found] == [
        ("ann@a.example", ["x@far.example", "y@far.example"]),
        ("<>", ["x@far.example"]),
    ]


def test_dsn_parameters() -> None:
    [part] = read_all(codec(), (DATA / "bsmtp" / "rfc2442.eml").read_bytes())
    assert isinstance(part, Part)
    assert (part.ret, part.envid) == ("full", "order+17")
    assert part.recipients == (
        Recipient(parse("smtp:bob@b.example"), Notify.SUCCESS | Notify.FAILURE, "rfc822;bob+x@b.example"),
    )


def test_a_label_is_the_messages_key() -> None:
    octets = (DATA / "bsmtp" / "cards.ebcdic").read_bytes()
    [part] = read_all(codec(charset="cp037", record_octets=80), octets)
    assert isinstance(part, Part)
    assert part.key == "0017"


ONE = b"MAIL FROM:<ann@b.example>\nRCPT TO:<bob@b.example>\nDATA\nSubject: s\n\nt\n.\n"
TAKEN = ("ann@b.example", ["bob@b.example"], b"Subject: s\r\n\r\nt\r\n")

COMMANDS = [
    # what has no bearing on a message
    (b"VRFY x\nEXPN y\nETRN z\nNOOP\nHELP\nVERB ON\n" + ONE, [TAKEN]),
    (b"helo x\nmail from: <ann@b.example>\nrcpt to:  bob@b.example\ndata\nSubject: s\n\nt\n.\nquit\n", [TAKEN]),
    (b"\n\n" + ONE + b"\n\0\x1a", [TAKEN]),
    # HELO, EHLO and RSET drop what is half built
    *((b"MAIL FROM:<x@b.example>\nRCPT TO:<y@b.example>\n" + v + b"\n" + ONE, [TAKEN]) for v in (b"HELO a", b"RSET")),
    # QUIT ends; what follows is kept, for nobody throws away mail unseen
    (ONE + b"QUIT\n" + ONE, [TAKEN, "bsmtp.after-quit"]),
    (ONE + b"QUIT\n\0\0 \x1a", [TAKEN]),
    (ONE + b"QUIT", [TAKEN]),
    # what an address or a parameter spoils is its transaction alone
    (ONE.replace(b"bob@b", b"bob b") + ONE, ["bsmtp.bad-address", TAKEN]),
    (ONE.replace(b"<ann", b"<ann ann") + ONE, ["bsmtp.bad-address", TAKEN]),
    (ONE.replace(b">\nRCPT", b"> FOO=1\nRCPT") + ONE, ["bsmtp.unknown-parameter", TAKEN]),
    (ONE.replace(b">\nRCPT", b"> BODY=BINARYMIME\nRCPT") + ONE, ["bsmtp.bad-parameter", TAKEN]),
    (ONE.replace(b">\nRCPT", b"> ENVID=a+0D+0Ab\nRCPT") + ONE, ["bsmtp.bad-parameter", TAKEN]),
    (ONE.replace(b">\nRCPT", b"> RET=FULL RET=FULL\nRCPT") + ONE, ["bsmtp.bad-parameter", TAKEN]),
    (ONE.replace(b">\nDATA", b"> NOTIFY=NEVER,SUCCESS\nDATA") + ONE, ["bsmtp.bad-parameter", TAKEN]),
    (ONE.replace(b">\nDATA", b"> ORCPT=bob\nDATA") + ONE, ["bsmtp.bad-parameter", TAKEN]),
    (ONE.replace(b">\nRCPT", b"> SIZE=5 BODY=8bitmime AUTH=<>\nRCPT"), [TAKEN]),
    (ONE.replace(b"RCPT TO:<bob@b.example>\n", b"") + ONE, ["bsmtp.no-recipient", TAKEN]),
    (ONE.replace(b"RCPT", b"RCPT TO:<x x>\nRCPT"), [TAKEN, "bsmtp.bad-address"]),
    (
        ONE.replace(b"RCPT", b"".join(b"RCPT TO:<%d@b.example>\n" % n for n in range(6)) + b"RCPT") + ONE,
        ["bsmtp.too-many-recipients", TAKEN],
    ),
    # what is no command makes the rest unreadable
    (ONE + b"HELLO\n" + ONE, [TAKEN, "bsmtp.unknown-command"]),
    (ONE + b"MAIL <ann@b.example>\n" + ONE, [TAKEN, "bsmtp.syntax"]),
    (ONE + b"MAIL FROM:<ann@b.example\n" + ONE, [TAKEN, "bsmtp.syntax"]),
    (ONE + b"DATA x\n" + ONE, [TAKEN, "bsmtp.syntax"]),
    (ONE + b"RCPT TO:<bob@b.example>\n" + ONE, [TAKEN, "bsmtp.bad-order"]),
    (ONE + b"DATA\nx\n.\n" + ONE, [TAKEN, "bsmtp.bad-order"]),
    (ONE.partition(b"DATA")[0] + ONE, ["bsmtp.bad-order"]),
    (ONE + b"NOOP " + b"x" * 5000 + b"\n" + ONE, [TAKEN, "bsmtp.line-too-long"]),
    # never half a message
    (ONE[:-3], ["bsmtp.no-final-dot"]),
    (ONE[:-1], ["bsmtp.no-final-dot"]),
    (ONE + ONE[:30], [TAKEN, "bsmtp.no-final-dot"]),
    (b"", ["bsmtp.empty"]),
    (b" \n\n", ["bsmtp.empty"]),
    (b"From: ann@b.example\nSubject: s\n\ntext\n", ["bsmtp.not-a-batch"]),
    # a file of CRLF is ended by CRLF alone
    (
        ONE.replace(b"\n", b"\r\n").replace(b"t\r\n.\r\n", b"t\n.\nMAIL FROM:<evil@b.example>\r\n.\r\n"),
        [(*TAKEN[:2], b"Subject: s\r\n\r\nt\n.\nMAIL FROM:<evil@b.example>\r\n")],
    ),
    (b"MAIL FROM:<ann@b.example>\r\nRCPT TO:<bob@b.example>\nDATA\n", ["bsmtp.line-end"]),
    # in one of LF a CRLF is no second line end
    (ONE.replace(b"t\n.\n", b"t\r\n.\r\n"), [TAKEN]),
]


@pytest.mark.parametrize(("octets", "expected"), COMMANDS)
def test_commands(octets: bytes, expected: list[Any]) -> None:
    assert said(octets) == expected


SKIPPED = [
    (ONE + b"HELLO\n" + ONE, [TAKEN, "bsmtp.unknown-command", TAKEN]),
    (b"MAIL FROM:<ann@b.example\nRCPT TO:<x@b.example>\nDATA\n\nx\n.\n" + ONE, ["bsmtp.syntax", TAKEN]),
    (ONE.replace(b"RCPT TO:<", b"RCPT TO:<x\nRCPT TO:<") + ONE, ["bsmtp.syntax", TAKEN]),
    (b"some text\nand more\n" + ONE, ["bsmtp.unknown-command", TAKEN]),
    (b"DATA\nx\n.\n" + ONE, ["bsmtp.bad-order", TAKEN]),
    (ONE.partition(b"DATA")[0] + ONE, ["bsmtp.bad-order", TAKEN]),
    (b"FOO\nRSET\n" + ONE, ["bsmtp.unknown-command", TAKEN]),
]


@pytest.mark.parametrize(("octets", "expected"), SKIPPED)
def test_reading_goes_on_behind_a_transaction(octets: bytes, expected: list[Any]) -> None:
    assert said(octets, on_error="skip") == expected


def test_the_rest_behind_an_error_is_kept_whole() -> None:
    octets = b"HELO x\n" + ONE + ONE.replace(b"DATA", b"DATTA") + ONE
    _, bad = read_all(codec(), octets)
    assert isinstance(bad, Bad)
    assert (bad.line, bad.found, octets[bad.offset :][:5]) == (11, b"DATTA", b"DATTA")
    assert item_of(bad, octets) == octets[octets.index(b"MAIL", 10) :]


def test_a_bad_recipient_is_kept_as_a_batch_of_its_own() -> None:
    octets = ONE.replace(b"RCPT", b"RCPT TO:<x x>\nRCPT") + ONE
    _, bad, _ = read_all(codec(), octets)
    assert isinstance(bad, Bad)
    assert said(item_of(bad, octets).replace(b"x x", b"x@b.example")) == [(TAKEN[0], ["x@b.example"], TAKEN[2])]


@pytest.mark.parametrize(
    "options", [{}, {"prefix": "#"}, {"charset": "cp037"}, {"charset": "cp500", "record_octets": 80}], ids=str
)
def test_a_kept_item_is_read_with_the_same_settings(options: dict[str, Any]) -> None:
    plain = ONE + ONE.replace(b"<bob@b.example>", b"<bob b>") + ONE
    octets = plain
    if "prefix" in options:
        octets = b"ignored\n" + plain.replace(b"\n", b"\n#").join((b"#", b"")).removesuffix(b"#")
    if "record_octets" in options:
        octets = b"".join(line.ljust(80) for line in plain.splitlines())
    octets = octets.translate(from_latin(options.get("charset", "ascii")))
    first, bad, second = read_all(codec(**options), octets)
    assert isinstance(bad, Bad)
    assert isinstance(first, Part)
    assert isinstance(second, Part)
    assert content_of(second, octets) == TAKEN[2]
    assert said(item_of(first, octets), **options) == [TAKEN]
    assert said(item_of(bad, octets), **options) == ["bsmtp.bad-address"]


@pytest.mark.parametrize(
    ("dialect", "ends", "taken"), [("rfc2442", b"\n", False), ("rfc2442", b"\r\n", True), ("exim", b"\n", True)]
)
def test_line_ends_that_a_dialect_takes(dialect: str, ends: bytes, taken: bool) -> None:
    found = said(ONE.replace(b"\n", ends), dialect=dialect)
    assert found == ([TAKEN] if taken else ["bsmtp.line-end"])


def test_an_address_without_domain() -> None:
    octets = ONE.replace(b"bob@b.example", b"bob")
    assert said(octets) == ["bsmtp.bad-address"]
    assert said(octets, dialect="exim") == [(TAKEN[0], ["bob@gw.example"], TAKEN[2])]
    assert said(octets, qualify="q.example") == [(TAKEN[0], ["bob@q.example"], TAKEN[2])]


def test_a_source_route_is_left_out() -> None:
    assert said(ONE.replace(b"<bob", b"<@r.example,@s.example:bob")) == [TAKEN]


@pytest.mark.parametrize(
    ("header", "rule"),
    [
        (b"Content-Type: application/batch-SMTP; required-extensions=8bitmime,CHUNKING", "bsmtp.required-extension"),
        (b'Content-Type: application/batch-smtp; x=y; required-extensions="DSN, size"', None),
        (b"Content-Type: application/batch-SMTP\r\nContent-Transfer-Encoding: x-uuencode", "bsmtp.transfer-encoding"),
        (b"Content-Type: text/plain", "bsmtp.not-a-batch"),
        (b"Subject: x", "bsmtp.not-a-batch"),
    ],
)
def test_mime_objects(header: bytes, rule: str | None) -> None:
    octets = b"MIME-Version: 1.0\r\n" + header + b"\r\n\r\n" + ONE.replace(b"\n", b"\r\n")
    assert said(octets, dialect="rfc2442") == ([TAKEN] if rule is None else [rule])


def test_extensions_by_agreement() -> None:
    octets = b"Content-Type: application/batch-SMTP; required-extensions=CHUNKING\r\n\r\n" + ONE
    assert said(octets, required_extensions=("chunking",)) == [TAKEN]


# --- out


def test_what_exim_is_given() -> None:
    made = codec(dialect="exim")
    asked = Item((1, 0), BOB, BOB, Notify.NEVER, "rfc822;b@x.example")
    first = parcel_of(CONTENT, asked, Item((1, 1), EVE, EVE), envid="e", ret="hdrs")
    second = parcel_of(b"Subject: two\r\n\r\nno end", reverse_path=None)
    assert batch([first, second], made) == (
        b"HELO gw.example\n"
        b"MAIL FROM:<ann@b.example>\nRCPT TO:<bob@b.example>\nRCPT TO:<eve@b.example>\nDATA\n"
        b"From: ann@b.example\nSubject: s\n\n..dot\n...two\nend\n.\n"
        b"MAIL FROM:<>\nRCPT TO:<bob@b.example>\nDATA\nSubject: two\n\nno end\n.\n"
        b"QUIT\n"
    )
    told = made.encode(first, first.items, "s").notes
    assert [note.what for note in told] == ["envelope NOTIFY", "envelope ORCPT", "envelope RET", "envelope ENVID"]
    assert made.many_a_file


def test_what_rfc2442_is_given() -> None:
    made = codec(dialect="rfc2442")
    asked = Item((1, 0), BOB, BOB, Notify.SUCCESS | Notify.FAILURE, "rfc822;b+b@x.example")
    sent = parcel_of("Subject: é\r\n\r\n".encode(), asked, envid="a=b", ret="full")
    assert batch([sent], made) == (
        b"EHLO gw.example\r\n"
        b"MAIL FROM:<ann@b.example> SIZE=15 BODY=8BITMIME RET=FULL ENVID=a+3Db\r\n"
        b"RCPT TO:<bob@b.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bb@x.example\r\nDATA\r\n"
        + "Subject: é\r\n\r\n.\r\nQUIT\r\n".encode()
    )
    assert made.encode(sent, sent.items, "s").notes == ()


@pytest.mark.parametrize("encoding", ["8bit", "quoted-printable", "base64"])
def test_a_wrapped_batch_is_read_back(encoding: str) -> None:
    made = codec(dialect="rfc2442", wrap=True, transfer_encoding=encoding)
    content = CONTENT + "é = =20 \r\n\r\n".encode() + b"x" * 900 + b"\r\n"
    sent = parcel_of(content)
    octets = made.opening(made.encode(sent, sent.items, "s")) + written(made, sent) + made.closing()
    assert said(octets, dialect="rfc2442") == [("ann@b.example", ["bob@b.example"], content)]
    assert not made.many_a_file
    if encoding != "8bit":
        assert max(map(len, octets.splitlines())) <= 76
        assert octets.isascii()


@pytest.mark.parametrize("options", [{"prefix": "#"}, {"charset": "cp037"}], ids=str)
def test_other_forms_are_read_back(options: dict[str, Any]) -> None:
    made = codec(**options)
    octets = batch([parcel_of(), parcel_of(b"Subject: two\r\n\r\n")], made)
    assert [each[2] for each in said(octets, **options)] == [CONTENT, b"Subject: two\r\n\r\n"]
    assert made.capabilities.eight_bit is ("charset" not in options)


def test_the_files_capabilities() -> None:
    found = codec().capabilities
    assert (found.mime, found.nul, found.bare_newlines, found.max_line_octets) == (True, False, False, 998)


def test_settings_that_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="prefix"):
        BsmtpSettings(prefix="#", charset="cp037")
    with pytest.raises(ValueError, match="wrapped"):
        BsmtpSettings(wrap=True, charset="cp037")


def test_a_response_file() -> None:
    def one(action: Action, address: str, status: Status) -> RecipientReport:
        return RecipientReport(action, parse(address), parse(address), status)

    report = Report(
        1,
        ANN,
        0.0,
        (
            one(Action.FAILED, "smtp:x@b.example", Status("5.1.1", "no such\r\nuser", reply="551 5.1.1 gone")),
            one(Action.DELIVERED, "smtp:bob@b.example", Status("2.1.5", "ok")),
            one(Action.DELAYED, "smtp:eve@b.example", Status("4.4.1", "no answer")),
        ),
    )
    answer = codec(echo=True).status(report, "q17", "stem")
    assert answer is not None
    lines = b"".join(answer.octets()).decode().split("\r\n")
    assert lines[:10] == [
        "250 gw.example",
        "TICK q17",
        "250 q17",
        "MAIL FROM:<ann@b.example>",
        "250 2.1.0 sender ok",
        "RCPT TO:<x@b.example>",
        "551 5.1.1 <x@b.example> no such user",
        "RCPT TO:<bob@b.example>",
        "250 2.1.5 <bob@b.example> ok",
        "RCPT TO:<eve@b.example>",
    ]
    assert lines[10:12] == ["450 4.4.1 <eve@b.example> no answer", "DATA"]
    assert lines[-2:] == ["221 2.0.0 closing", ""]
    short = codec().status(report, "q17", "stem")
    assert short is not None
    assert b"".join(short.octets()).decode().split("\r\n") == [
        line for line in lines if line[:3].isdigit() or not line
    ], "without echo the replies alone"


# --- properties

LINES = st.lists(st.sampled_from([b"", b".", b"..", b".x", b"text", b" ", b"\r", b"\0", b"MAIL FROM:<>"]), max_size=12)


@given(LINES, st.sampled_from(["classic", "exim", "rfc2442"]))
def test_any_content_is_read_back(lines: list[bytes], dialect: str) -> None:
    content = b"".join(line.replace(b"\r", b"") + b"\r\n" for line in lines)
    made = codec(dialect=dialect)
    octets = batch([parcel_of(content), parcel_of(CONTENT)], made)
    assert [each[2] for each in said(octets, dialect=dialect)] == [content, CONTENT]


@given(LINES)
def test_dots_in_pieces(lines: list[bytes]) -> None:
    for newline, undo in ((b"\r\n", unstuffed_crlf), (b"\n", unstuffed_lf)):

        def undone(pieces: list[bytes], undo: Filter = undo) -> bytes:
            return b"".join(undo(iter(pieces)))

        def doubled(pieces: list[bytes], end: bytes = newline) -> bytes:
            return b"".join(stuffed(iter(pieces), end))

        octets = newline.join([*lines, b""])
        feed(undone, octets)
        feed(doubled, octets)


PIECES = st.sampled_from(
    [b"MAIL FROM:<ann@b.example>", b"RCPT TO:<bob@b.example>", b"DATA", b"\r\n", b"\n", b".", b" ", b"<", b"QUIT"]
) | st.sampled_from(
    [b"Content-Type: application/batch-SMTP", b"\r\n\r\n", b"#", b"TICK", b"\0", b"\xff", b"RET=FULL", b"="]
)
SETTINGS = st.sampled_from(
    [{}, {"dialect": "exim"}, {"dialect": "rfc2442"}, {"on_error": "skip"}, {"prefix": "#"}, {"charset": "cp037"}]
) | st.just({"record_octets": 7, "on_error": "skip"})


@given(st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=40).map(b"".join)), SETTINGS)
def test_any_octets_are_parts_or_bad(octets: bytes, options: dict[str, Any]) -> None:
    for each in read_all(codec(**options), octets):
        item_of(each, octets) if each.item else None
        if isinstance(each, Part):
            content_of(each, octets)


@given(
    st.lists(LINES, min_size=1, max_size=6), st.integers(1, 40), st.sampled_from(["8bit", "quoted-printable", "base64"])
)
@settings(max_examples=60, deadline=None)
def test_units_of_any_size_give_the_same(contents: list[list[bytes]], unit: int, encoding: str) -> None:
    """Small units make each place fall between two of them, and inside one."""
    made = codec(dialect="rfc2442")
    bodies = [b"".join(line.replace(b"\r", b"") + b"\r\n" for line in lines) for lines in contents]
    plain = batch([parcel_of(body) for body in bodies], made)
    octets = b"Content-Type: application/batch-SMTP\r\n\r\n" + plain
    if encoding == "base64":
        octets = octets.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1)
        octets = octets[: -len(plain)] + base64.encodebytes(plain)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wrapping_module, "UNIT", unit + 76 * (encoding == "base64"))
        patch.setattr(text_module, "CHUNK", unit)
        assert [each[2] for each in said(octets)] == bodies


def test_charsets_lose_nothing() -> None:
    for charset in ("cp037", "cp273", "cp500"):
        table = from_latin(charset)
        assert len(set(table)) == 256
        latin = bytes(each for each in range(256) if each != 0x85)
        assert latin.translate(table).translate(to_latin(charset)) == latin


def test_a_large_content_is_not_read_into_memory() -> None:
    class Huge:
        """A quarter of a gigabyte between a beginning and an end."""

        size = 256 * 1024**2
        begin = b"MAIL FROM:<ann@b.example>\r\nRCPT TO:<bob@b.example>\r\nDATA\r\n"
        end = b"\r\n.\r\nQUIT\r\n"
        block = b"x" * 1022 + b"\r\n"
        largest = 0

        def read(self, offset: int, length: int) -> bytes:
            self.largest = max(self.largest, length)
            length = min(length, self.size - offset)
            if offset == 0:
                return self.begin + (self.block * (length // 1024 + 1))[: length - len(self.begin)]
            if offset + length == self.size:
                return (self.block * (length // 1024 + 1))[: length - len(self.end)] + self.end
            return (self.block * (length // 1024 + 1))[:length]

    huge = Huge()
    [part] = codec().decode(huge, STAMP)
    assert isinstance(part, Part)
    assert part.content == (Span(len(huge.begin), huge.size - 9, None),)
    assert huge.largest <= 256 * 1024
