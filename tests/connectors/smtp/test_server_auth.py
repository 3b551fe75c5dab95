"""AUTH in the server's dialogue: what the wire decides alone, whole, octet by octet and in every two parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.smtp import server_auth
from connectors.smtp.server_events import CLOSED, NEED_DATA, Auth, AuthLine, Mail, StartTls, WireSettings
from connectors.smtp.server_wire import ServerWire
from gateway.testing.feed import feed

SETTINGS = WireSettings("gw.example", starttls="offer", auth=("PLAIN", "X-ASK"), needs_auth=True)
EHLO = b"EHLO client.example\r\n"


def talk(pieces: list[bytes], settings: WireSettings = SETTINGS, *, tls: bool = True) -> tuple[list[str], list[object]]:
    """Run a dialogue whose owner takes PLAIN with the response b"yes", and asks twice for X-ASK."""
    wire = ServerWire(settings, tls=tls)
    told: list[object] = []
    asked = 0
    out = b""
    for piece in pieces:
        wire.receive(piece)
        while (event := wire.next_event()) is not NEED_DATA and event is not CLOSED:
            told.append(event)
            match event:
                case Auth(mechanism="PLAIN", initial=initial):
                    if initial is None:
                        wire.challenge(b"")
                    elif initial == b"yes":
                        wire.auth_done("ann")
                    else:
                        wire.auth_failed(b"535 5.7.8 no\r\n")
                case Auth():
                    asked = 1
                    wire.challenge(b"one?")
                case AuthLine(octets=octets):
                    if octets == b"later":
                        wire.auth_failed(b"454 4.7.0 later\r\n", is_error=False)
                    elif asked == 1:
                        asked = 2
                        wire.challenge(b"two?")
                    else:
                        wire.auth_done("ann")
                case Mail():
                    wire.take()
            told.append((wire.user, wire.trusted, wire.errors, wire.protocol))
        out += wire.take_output()
    return out.decode("ascii").splitlines(), told


def codes(lines: list[str]) -> list[int]:
    return [int(line[:3]) for line in lines if line[3:4] == " "]


TABLE: list[tuple[str, list[bytes], list[int]]] = [
    ("with an initial response", [b"AUTH PLAIN eWVz", b"MAIL FROM:<a@b.example>"], [235, 250]),
    ("a mechanism in any case", [b"auth plain eWVz"], [235]),
    ("the response asked for", [b"AUTH PLAIN", b"eWVz"], [334, 235]),
    ("no one without it", [b"MAIL FROM:<a@b.example>"], [530]),
    ("an empty initial response", [b"AUTH PLAIN ="], [535]),
    ("two questions", [b"AUTH X-ASK", b"MQ==", b"Mg=="], [334, 334, 235]),
    ("given up", [b"AUTH X-ASK", b"*", b"NOOP"], [334, 501, 250]),
    ("no base64 as a response", [b"AUTH X-ASK", b"MAIL FROM:<a@b.example>", b"NOOP"], [334, 501, 250]),
    ("no base64 at the start", [b"AUTH PLAIN e", b"NOOP"], [501, 250]),
    ("a wrong word", [b"AUTH PLAIN bm8="], [535]),
    ("later", [b"AUTH X-ASK", b"bGF0ZXI="], [334, 454]),
    ("a mechanism that is not offered", [b"AUTH CRAM-MD5"], [504]),
    ("no mechanism", [b"AUTH", b"AUTH @", b"AUTH PLAIN eWVz eWVz"], [501, 501, 501]),
    ("once only", [b"AUTH PLAIN eWVz", b"AUTH PLAIN eWVz"], [235, 503]),
    ("not within a transaction", [b"AUTH PLAIN eWVz", b"MAIL FROM:<a@b.example>", b"AUTH PLAIN eWVz"], [235, 250, 503]),
    ("the author by MAIL is read and left", [b"AUTH PLAIN eWVz", b"MAIL FROM:<a@b.example> AUTH=<>"], [235, 250]),
    ("the same in xtext", [b"AUTH PLAIN eWVz", b"MAIL FROM:<a@b.example> AUTH=a+2Bb@b.example"], [235, 250]),
    ("and not anything", [b"AUTH PLAIN eWVz", b"MAIL FROM:<a@b.example> AUTH=+zz"], [235, 501]),
    ("a long token", [b"AUTH PLAIN " + b"QUFB" * 3000], [535]),
    ("one that is too long", [b"AUTH PLAIN " + b"QUFB" * 3100], [500]),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_dialogue(lines: list[bytes], expected: list[int]) -> None:
    octets = EHLO + b"".join(line + b"\r\n" for line in lines)
    replies, _ = feed(talk, octets) if len(octets) < 200 else talk([octets])
    assert codes(replies)[1:] == expected


def test_who_logged_in_is_trusted_and_the_trace_says_so() -> None:
    _, told = talk([EHLO + b"AUTH PLAIN eWVz\r\n"])
    assert told[-1] == ("ann", True, 0, "ESMTPSA")
    _, told = talk([EHLO + b"AUTH PLAIN bm8=\r\n"])
    assert told[-1] == ("", False, 1, "ESMTPS")


def test_the_offer_is_made_under_tls_only() -> None:
    assert "250-AUTH PLAIN X-ASK" in talk([EHLO])[0]
    lines, _ = talk([EHLO + b"AUTH PLAIN eWVz\r\nMAIL FROM:<>\r\n"], tls=False)
    assert not any("AUTH" in line for line in lines[:-2])
    assert codes(lines)[1:] == [538, 530]


def test_the_offer_in_clear_is_a_choice() -> None:
    settings = WireSettings("gw.example", starttls="offer", auth=("PLAIN",), auth_in_clear=("X-ASK",))
    lines, told = talk([EHLO + b"AUTH PLAIN eWVz\r\nAUTH X-ASK\r\nMQ==\r\nMg==\r\nSTARTTLS\r\n"], settings, tls=False)
    assert "250-AUTH X-ASK" in lines
    assert codes(lines)[1:] == [504, 334, 334, 235, 503]
    assert told[-1] == ("ann", True, 0, "ESMTPA")


def test_helo_has_no_extension() -> None:
    assert codes(talk([b"HELO x\r\nAUTH PLAIN eWVz\r\n"])[0]) == [250, 503]


def test_where_there_is_none_the_verb_is_not_known() -> None:
    assert codes(talk([EHLO + b"AUTH PLAIN eWVz\r\nMAIL FROM:<> AUTH=<>\r\n"], WireSettings("gw"))[0])[1:] == [500, 555]


def test_what_came_in_clear_behind_starttls_logs_nobody_in() -> None:
    wire = ServerWire(SETTINGS)
    wire.receive(EHLO + b"STARTTLS\r\nEHLO evil\r\nAUTH PLAIN eWVz\r\n")
    assert wire.next_event() == StartTls()
    wire.tls_started()
    assert wire.next_event() is NEED_DATA
    assert wire.user == ""


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_line_raises(argument: bytes, line: bytes) -> None:
    begun = server_auth.begin(argument, SETTINGS, tls=True, esmtp=True, user="", in_mail=False)
    assert isinstance(begun, bytes | Auth)
    assert isinstance(server_auth.answer(line), bytes | AuthLine)
