"""The grammar of MAIL and RCPT with their parameters, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.smtp.commands import (
    Extensions,
    Mail,
    Rcpt,
    Refusal,
    decode_xtext,
    parse_bdat,
    parse_hello,
    parse_mail,
    parse_rcpt,
)
from gateway.contract import Notify

ALL = Extensions(esmtp=True, priority=True)

MAILS = [
    # RFC 5321 §4.1.1.2
    (b"MAIL FROM:<ann@acme.example>", Mail("ann@acme.example")),
    (b"mail from:<ann@acme.example>", Mail("ann@acme.example")),
    (b"MAIL FROM: <ann@acme.example>", Mail("ann@acme.example")),
    (b"MAIL FROM:<>", Mail("")),
    (b"MAIL FROM:<> ", Mail("")),
    (b'MAIL FROM:<"ann lee"@acme.example>', Mail('"ann lee"@acme.example')),
    (b'MAIL FROM:<"a\\"> b"@acme.example>', Mail('"a\\"> b"@acme.example')),
    (b"MAIL FROM:<ann@[192.0.2.1]>", Mail("ann@[192.0.2.1]")),
    (b"MAIL FROM:<ann@[IPv6:2001:db8::1]>", Mail("ann@[IPv6:2001:db8::1]")),
    # RFC 5321 appendix F.2: the source route is ignored
    (b"MAIL FROM:<@one.example,@two.example:ann@acme.example>", Mail("ann@acme.example")),
    # RFC 1870, 6152, 6531, 3461, 6710
    (b"MAIL FROM:<a@b.example> SIZE=1000", Mail("a@b.example", size=1000)),
    (b"MAIL FROM:<a@b.example> size=0  body=8bitmime", Mail("a@b.example")),
    (b"MAIL FROM:<a@b.example> BODY=7BIT", Mail("a@b.example")),
    (b"MAIL FROM:<a@b.example> SMTPUTF8", Mail("a@b.example", smtputf8=True)),
    ("MAIL FROM:<än@b.example> SMTPUTF8".encode(), Mail("än@b.example", smtputf8=True)),
    (b"MAIL FROM:<a@b.example> RET=HDRS ENVID=QQ314159", Mail("a@b.example", ret="hdrs", envid="QQ314159")),
    (b"MAIL FROM:<a@b.example> RET=full ENVID=a+2Bb+3D+20c", Mail("a@b.example", ret="full", envid="a+b= c")),
    (b"MAIL FROM:<a@b.example> MT-PRIORITY=-3", Mail("a@b.example", priority=-3)),
]

BAD_MAILS = [
    (b"MAIL", 501),
    (b"MAIL FROM", 501),
    (b"MAIL FROM:", 501),
    (b"MAIL FROM:a@b.example", 501),
    (b"MAIL FROM:<a@b.example", 501),
    (b"MAIL FROM:<a@b.example>SIZE=3", 501),
    (b"MAIL FROM:<a@b.example> <c@d.example>", 501),
    (b"MAIL FROM:<a b@c.example>", 501),
    (b"MAIL FROM:<a(comment)@c.example>", 501),
    (b"MAIL FROM:<\"a@c.example>", 501),
    (b"MAIL FROM:<a\0@c.example>", 501),
    (b"MAIL FROM:<<a@c.example>>", 501),
    (b"MAIL TO:<a@b.example>", 501),
    (b"RCPT TO:<a@b.example>", 501),
    (b"MAIL FROM:<a@b.example> FOO=1", 555),
    (b"MAIL FROM:<a@b.example> AUTH=<>", 555),
    (b"MAIL FROM:<a@b.example> NOTIFY=NEVER", 555),
    (b"MAIL FROM:<a@b.example> SIZE", 501),
    (b"MAIL FROM:<a@b.example> SIZE=-1", 501),
    (b"MAIL FROM:<a@b.example> SIZE=123456789012345678901", 501),
    ("MAIL FROM:<a@b.example> SIZE=١".encode(), 501),
    (b"MAIL FROM:<a@b.example> SIZE=1 SIZE=2", 501),
    (b"MAIL FROM:<a@b.example> BODY=BINARYMIME", 501),
    (b"MAIL FROM:<a@b.example> SMTPUTF8=1", 501),
    (b"MAIL FROM:<a@b.example> RET=ALL", 501),
    (b"MAIL FROM:<a@b.example> ENVID=", 501),
    (b"MAIL FROM:<a@b.example> ENVID=a+zz", 501),
    (b"MAIL FROM:<a@b.example> ENVID=a+0D+0AFoo:+20x", 501),
    (b"MAIL FROM:<a@b.example> ENVID=" + b"x" * 101, 501),
    (b"MAIL FROM:<a@b.example> MT-PRIORITY=10", 501),
    ("MAIL FROM:<än@b.example>".encode(), 553),
    (b"MAIL FROM:<\xff@b.example> SMTPUTF8", 553),
    (b"MAIL FROM:<a@b.example> \xff", 501),
]  # fmt: skip

RCPTS = [
    (b"RCPT TO:<ann@acme.example>", Rcpt("ann@acme.example")),
    (b"RCPT TO:<Postmaster>", Rcpt("Postmaster")),
    (b"rcpt to: <@gw.example:ann@acme.example>", Rcpt("ann@acme.example")),
    # the relay tricks are only names of mailboxes here
    (b"RCPT TO:<ann%other.example@acme.example>", Rcpt("ann%other.example@acme.example")),
    (b"RCPT TO:<other.example!ann>", Rcpt("other.example!ann")),
    (b"RCPT TO:<\"ann@other.example\"@acme.example>", Rcpt('"ann@other.example"@acme.example')),
    # RFC 3461 §4.1, §4.2
    (b"RCPT TO:<a@b.example> NOTIFY=NEVER", Rcpt("a@b.example", Notify.NEVER)),
    (b"RCPT TO:<a@b.example> NOTIFY=success,Delay", Rcpt("a@b.example", Notify.SUCCESS | Notify.DELAY)),
    (b"RCPT TO:<a@b.example> ORCPT=rfc822;Carol+2Bx@Ivory.EDU", Rcpt("a@b.example", orcpt="rfc822;Carol+x@Ivory.EDU")),
    ("RCPT TO:<a@b.example> ORCPT=utf-8;än@b.example".encode(), Rcpt("a@b.example", orcpt="utf-8;än@b.example")),
    (b"RCPT TO:<a@b.example> ORCPT=utf-8;\\x{E4}n@b.example", Rcpt("a@b.example", orcpt="utf-8;\\x{E4}n@b.example")),
]  # fmt: skip

BAD_RCPTS = [
    (b"RCPT TO:<>", 501),
    (b"RCPT TO:ann@acme.example", 501),
    (b"RCPT FROM:<a@b.example>", 501),
    (b"RCPT TO:<a@b.example> NOTIFY=NEVER,DELAY", 501),
    (b"RCPT TO:<a@b.example> NOTIFY=", 501),
    (b"RCPT TO:<a@b.example> NOTIFY", 501),
    (b"RCPT TO:<a@b.example> NOTIFY=MAYBE", 501),
    (b"RCPT TO:<a@b.example> ORCPT=ann@acme.example", 501),
    (b"RCPT TO:<a@b.example> ORCPT=rfc822;a+0D+0Ab", 501),
    (b"RCPT TO:<a@b.example> ORCPT=rfc822;", 501),
    (b"RCPT TO:<a@b.example> ORCPT=rfc822;" + b"x" * 500, 501),
    (b"RCPT TO:<a@b.example> SIZE=1", 555),
]


@pytest.mark.parametrize(("line", "value"), MAILS)
def test_mail(line: bytes, value: Mail) -> None:
    assert parse_mail(line, ALL) == value


@pytest.mark.parametrize(("line", "code"), BAD_MAILS)
def test_bad_mail(line: bytes, code: int) -> None:
    refused = parse_mail(line, ALL)
    assert isinstance(refused, Refusal), refused
    assert refused.code == code, refused


@pytest.mark.parametrize(("line", "value"), RCPTS)
def test_rcpt(line: bytes, value: Rcpt) -> None:
    assert parse_rcpt(line, ALL, smtputf8=not line.isascii()) == value


@pytest.mark.parametrize(("line", "code"), BAD_RCPTS)
def test_bad_rcpt(line: bytes, code: int) -> None:
    refused = parse_rcpt(line, ALL, smtputf8=True)
    assert isinstance(refused, Refusal), refused
    assert refused.code == code, refused


def test_parameters_need_ehlo_and_their_offer() -> None:
    line = b"MAIL FROM:<a@b.example> SIZE=1"
    assert isinstance(parse_mail(line, Extensions(esmtp=False)), Refusal)
    assert parse_mail(line, Extensions(esmtp=True)) == Mail("a@b.example", size=1)
    refused = parse_mail(b"MAIL FROM:<a@b.example> MT-PRIORITY=9", Extensions(esmtp=True, priority=False))
    assert isinstance(refused, Refusal)
    assert refused.code == 555


@pytest.mark.parametrize(
    ("argument", "value"),
    [(b"0", (0, False)), (b"86", (86, False)), (b"1000 LAST", (1000, True)), (b"5 last", (5, True))],
)
def test_bdat(argument: bytes, value: tuple[int, bool]) -> None:
    assert parse_bdat(argument) == value


@pytest.mark.parametrize("argument", [b"", b"x", b"-1", b"1 2", b"1 LAST 2", b"9" * 16, b"1.5", b"LAST"])
def test_bad_bdat(argument: bytes) -> None:
    assert isinstance(parse_bdat(argument), Refusal)


@pytest.mark.parametrize("argument", [b"mail.example", b"[192.0.2.1]", b"x", "ä.example".encode(), b"a_b!"])
def test_hello(argument: bytes) -> None:
    assert parse_hello(argument) == argument.decode()


@pytest.mark.parametrize("argument", [b"", b" ", b"a b", b"a\0", b"x" * 256, b"a\tb"])
def test_bad_hello(argument: bytes) -> None:
    assert isinstance(parse_hello(argument), Refusal)


@given(st.text(st.characters(max_codepoint=255), min_size=1))
def test_xtext_comes_back(text: str) -> None:
    coded = "".join(c if "!" <= c <= "~" and c not in "+=" else f"+{ord(c):02X}" for c in text)
    assert decode_xtext(coded) == text


@given(st.binary(max_size=200), st.booleans())
def test_any_octets_give_a_value_or_a_refusal(tail: bytes, utf8: bool) -> None:
    for line in (tail, b"MAIL FROM:" + tail, b"MAIL FROM:<a@b.example> " + tail):
        assert isinstance(parse_mail(line, ALL), Mail | Refusal)
    for line in (tail, b"RCPT TO:" + tail, b"RCPT TO:<a@b.example> " + tail):
        assert isinstance(parse_rcpt(line, ALL, smtputf8=utf8), Rcpt | Refusal)
    assert isinstance(parse_bdat(tail), tuple | Refusal)
    assert isinstance(parse_hello(tail), str | Refusal)


def test_a_hostile_line_costs_no_more_than_its_length() -> None:
    for line in (b'MAIL FROM:<' + b'"a"' * 1300, b"MAIL FROM:<" + b"\\" * 4000, b'MAIL FROM:<"' + b'\\"' * 2000,
                 b"MAIL FROM:<@" + b"a,@" * 1300):  # fmt: skip
        assert isinstance(parse_mail(line, ALL), Refusal)
