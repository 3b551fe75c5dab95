"""SASL mechanisms by the examples of their RFCs, and by what must not pass."""

from __future__ import annotations

import pytest

from connectors.smtp.login.sasl import INVALID_TOKEN, SIMPLE, Login, OAuthBearer, Plain, XOAuth2, name_of
from connectors.smtp.login.saslprep import saslprep
from connectors.smtp.login.steps import Bearer, Challenge, Password, Proven, Refused

PLAIN: list[tuple[str, bytes, tuple[str, str] | None]] = [
    ("RFC 4616 §4, the first example", b"\0tim\0tanstaaftanstaaf", ("tim", "tanstaaftanstaaf")),
    ("RFC 4616 §4, the second: Kurt may not act as Ursel", b"Ursel\0Kurt\0xipj3plmq", None),
    ("as oneself", b"tim\0tim\0secret", ("tim", "secret")),
    ("a password beyond ASCII", "\0jörg\0pä€".encode(), ("jörg", "pä€")),
    ("in its compatible form", "\0ｔim\0①".encode(), ("tim", "1")),
    ("blanks", b"\0tim\0two words", ("tim", "two words")),
    ("no password", b"\0tim\0", None),
    ("no name", b"\0\0secret", None),
    ("two parts", b"tim\0secret", None),
    ("four parts", b"\0tim\0sec\0ret", None),
    ("nothing", b"", None),
    ("no UTF-8", b"\0tim\0\xff", None),
    ("a control character", b"\0tim\0a\x01b", None),
    ("a name of any length", b"\0" + b"x" * 2000 + b"\0secret", None),
]


@pytest.mark.parametrize(("response", "expected"), [row[1:] for row in PLAIN], ids=[row[0] for row in PLAIN])
def test_plain(response: bytes, expected: tuple[str, str] | None) -> None:
    step = Plain().step(response)
    if expected is None:
        assert isinstance(step, Refused)
    else:
        assert step == Password(*expected)


def test_plain_asks_for_what_did_not_come_with_the_command() -> None:
    mechanism = Plain()
    assert mechanism.step(None) == Challenge(b"")
    assert mechanism.step(b"\0tim\0x") == Password("tim", "x")
    assert mechanism.answer(True) == Proven("tim")
    assert isinstance(mechanism.answer(False), Refused)
    assert isinstance(mechanism.answer(None), Refused)


def test_login() -> None:
    mechanism = Login()
    assert mechanism.step(None) == Challenge(b"Username:")
    assert mechanism.step(b"tim") == Challenge(b"Password:")
    assert mechanism.step(b"secret") == Password("tim", "secret")
    assert mechanism.answer(True) == Proven("tim")


def test_login_with_the_name_in_the_command() -> None:
    mechanism = Login()
    assert mechanism.step(b"tim") == Challenge(b"Password:")
    assert mechanism.step(b"secret") == Password("tim", "secret")


# RFC 7628 §4.1, without the names of its key/value pairs that a server may leave aside
TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
BEARER = f"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer {TOKEN}\x01\x01".encode()

OAUTH: list[tuple[str, bytes, tuple[str, str] | None]] = [
    ("RFC 7628 §4.1", BEARER, ("user@example.com", TOKEN)),
    ("nobody named", b"n,,\x01auth=Bearer abc\x01\x01", ("", "abc")),
    ("a comma in the name", b"n,a=a=2Cb,\x01auth=bearer abc\x01\x01", ("a,b", "abc")),
    ("a channel bound", b"p=tls-unique,,\x01auth=Bearer abc\x01\x01", None),
    ("no end", b"n,,\x01auth=Bearer abc\x01", None),
    ("no pair", b"n,,\x01\x01", None),
    ("a bad name", b"n,a=a=2b,\x01auth=Bearer abc\x01\x01", None),
    ("nothing", b"", None),
]


@pytest.mark.parametrize(("response", "expected"), [row[1:] for row in OAUTH], ids=[row[0] for row in OAUTH])
def test_oauthbearer(response: bytes, expected: tuple[str, str] | None) -> None:
    step = OAuthBearer().step(response)
    if expected is None:
        assert isinstance(step, Refused)
    else:
        assert step == Bearer(*expected)


def test_a_token_that_is_refused_costs_one_more_exchange() -> None:
    """RFC 7628 §4.3: the client reads why, and answers with a single ^A."""
    mechanism = OAuthBearer()
    mechanism.step(BEARER)
    assert mechanism.answer(False) == Challenge(INVALID_TOKEN)
    assert isinstance(mechanism.step(b"\x01"), Refused)
    mechanism = OAuthBearer()
    assert mechanism.step(b"n,a=user@example.com,\x01host=server.example.com\x01auth=\x01\x01") == Challenge(
        INVALID_TOKEN
    )


def test_xoauth2() -> None:
    mechanism = XOAuth2()
    response = b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01"
    assert mechanism.step(response) == Bearer("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg")
    assert mechanism.answer(True) == Proven("someuser@example.com")
    assert isinstance(XOAuth2().step(b"user=x\x01\x01"), Refused)


@pytest.mark.parametrize("name", SIMPLE)
@pytest.mark.parametrize(
    "response", [b"", b"\0" * 100, b"\xff" * 100, b"," * 100, b"\x01" * 100, b"=" * 100, b"a" * 9000]
)
def test_no_response_raises(name: str, response: bytes) -> None:
    mechanism = SIMPLE[name]()
    for _ in range(3):
        if not isinstance(mechanism.step(response), Challenge):
            break
        mechanism.answer(None)


def test_nothing_secret_is_shown() -> None:
    assert "tanstaaf" not in repr(Plain().step(PLAIN[0][1]))
    assert TOKEN not in repr(OAuthBearer().step(BEARER))


# RFC 4013 §3
SASLPREP = [
    ("I\u00adX", "IX"),
    ("user", "user"),
    ("USER", "USER"),
    ("\u00aa", "a"),
    ("\u2168", "IX"),
    ("\u0007", None),
    ("\u0627\u0031", None),
    ("\u0627\u0031\u0628", "\u0627\u0031\u0628"),
    ("a\u00a0b", "a b"),
    ("\u0627a\u0628", None),
    ("\ud800", None),
    ("\U0010ffff", None),
    ("", None),
    ("\u00ad", None),
]


@pytest.mark.parametrize(("text", "expected"), SASLPREP)
def test_saslprep(text: str, expected: str | None) -> None:
    assert saslprep(text) == expected


@pytest.mark.parametrize(("octets", "name"), [(b"a=2Cb=3D", "a,b="), (b"a=b", None), (b"=2c", None), (b"", None)])
def test_saslname(octets: bytes, name: str | None) -> None:
    assert name_of(octets) == name
