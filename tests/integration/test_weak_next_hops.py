"""Next hops that offer less than today's servers do: what can be said in another form arrives in that form."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from pathlib import Path

from tests.integration.conftest import StartGateway
from tests.peers.process import wait_until
from tests.peers.raw import send
from tests.peers.sink import EXTENSIONS, Sink, Taken

QUICK = 'retry_min = "1s"\nretry_max = "2s"'
HEAD = (
    "From: Jürgen <jürgen@bücher.example>\r\nTo: bob@target.example\r\nSubject: Größe\r\nMIME-Version: 1.0\r\n"
    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
)
PLAIN_HEAD = HEAD.replace("Jürgen <jürgen@bücher.example>", "Ann <ann@source.example>").replace("Größe", "size")
TEXT = "Most of this is plain, a little is not: grüße.\r\n"
SEVEN_BIT = "BODY=8BITMIME"
UTF8 = "BODY=8BITMIME SMTPUTF8"


def weak_sink(folder: Path, *missing: str, size: int = 0) -> Sink:
    """A recording sink that does not offer these extensions."""
    offers = tuple(each for each in EXTENSIONS if each.split()[0] not in (*missing, "SIZE"))
    return Sink(folder, keep=True, extensions=(*offers, f"SIZE {size}"))


def read(taken: Taken) -> EmailMessage:
    assert taken.octets is not None
    assert taken.octets.isascii(), taken.octets
    made = email.message_from_bytes(taken.octets, policy=email.policy.default)
    assert isinstance(made, EmailMessage)
    return made


def text_of(taken: Taken) -> str:
    return str(read(taken).get_content()).replace("\r\n", "\n")


def test_an_8bit_body_reaches_a_7bit_host(tmp_path: Path, start_gateway: StartGateway) -> None:
    large = TEXT * 20_000
    with weak_sink(tmp_path, "8BITMIME") as sink:
        gateway = start_gateway(sink.port, gateway=QUICK)
        for text in (TEXT, TEXT, large):
            content = (PLAIN_HEAD + text).encode()
            assert (
                send(gateway.port, "ann@source.example", ["bob@target.example"], content, options=SEVEN_BIT).code == 250
            )
        sink.wait_for(3)
        first, second, third = sorted(sink.taken(), key=lambda taken: taken.size)
        wait_until(lambda: gateway.queued() == 0, 60, "the queue is empty")
    assert [text_of(each) for each in (first, second)] == [TEXT.replace("\r\n", "\n")] * 2
    assert [read(each)["Content-Transfer-Encoding"] for each in (first, second)] == ["quoted-printable"] * 2
    assert text_of(third) == large.replace("\r\n", "\n")
    assert read(third)["Content-Transfer-Encoding"] == "base64"


def test_where_8bit_is_assumed_it_goes_as_it_is(tmp_path: Path, start_gateway: StartGateway) -> None:
    with weak_sink(tmp_path, "8BITMIME") as sink:
        gateway = start_gateway(sink.port, gateway=QUICK, connector="assume_8bit = true")
        content = (PLAIN_HEAD + TEXT).encode()
        assert send(gateway.port, "ann@source.example", ["bob@target.example"], content).code == 250
        sink.wait_for(1)
        octets = sink.taken()[0].octets
    assert octets is not None
    assert octets.endswith(content)


def test_an_internationalized_message_reaches_a_host_without_smtputf8(
    tmp_path: Path, start_gateway: StartGateway
) -> None:
    """Addresses take the form in ASCII that they have; a header's words are encoded (RFC 6531 §3.2, RFC 2047)."""
    with weak_sink(tmp_path, "SMTPUTF8", "8BITMIME") as sink:
        gateway = start_gateway(sink.port, gateway=QUICK)
        content = (HEAD + TEXT).encode()
        to = ["bob@bücher.example", "eve@target.example"]
        assert send(gateway.port, "ann@bücher.example", to, content, options=UTF8).code == 250
        sink.wait_for(1)
        wait_until(lambda: gateway.queued() == 0, 60, "the queue is empty")
        taken = sink.taken()
    assert {name for each in taken for name in each.recipients} == {"bob@xn--bcher-kva.example", "eve@target.example"}
    assert {each.sender for each in taken} == {"ann@xn--bcher-kva.example"}
    for each in taken:
        made = read(each)
        assert made["Subject"] == "Größe"
        assert "jürgen@bücher.example" in str(made["From"]), "a person still reads whose it is"
        assert text_of(each) == TEXT.replace("\r\n", "\n")


def test_only_the_mailbox_that_needs_smtputf8_fails(tmp_path: Path, start_gateway: StartGateway) -> None:
    with weak_sink(tmp_path, "SMTPUTF8") as sink:
        gateway = start_gateway(sink.port, gateway=QUICK)
        to = ["bob@target.example", "jürgen@target.example"]
        content = (PLAIN_HEAD + TEXT).encode()
        assert send(gateway.port, "ann@source.example", to, content, options=UTF8).code == 250
        sink.wait_for(2)
        wait_until(lambda: gateway.queued() == 0, 60, "the queue is empty")
        message, report = sorted(sink.taken(), key=lambda taken: taken.sender == "")
    assert message.recipients == ["bob@target.example"]
    assert (report.sender, report.recipients) == ("", ["ann@source.example"])
    assert report.octets is not None
    assert b"5.6.7" in report.octets


def test_a_message_over_the_size_fails_and_no_other(tmp_path: Path, start_gateway: StartGateway) -> None:
    """What grew over it by being encoded counts as well (RFC 1870 §6.1)."""
    with weak_sink(tmp_path, "8BITMIME", size=20_000) as sink:
        gateway = start_gateway(sink.port, gateway=QUICK)
        mostly_8bit = ("größe" * 5 + "\r\n") * 400
        for text in (TEXT, TEXT * 1000, mostly_8bit, TEXT):
            content = (PLAIN_HEAD + text).encode()
            assert (
                send(gateway.port, "ann@source.example", ["bob@target.example"], content, options=SEVEN_BIT).code == 250
            )
        sink.wait_for(4)
        wait_until(lambda: gateway.queued() == 0, 60, "the queue is empty")
        taken = sink.taken()
    assert sorted(each.sender for each in taken) == ["", "", "ann@source.example", "ann@source.example"]
    reports = [each for each in taken if not each.sender]
    assert all(each.octets is not None and b"5.3.4" in each.octets for each in reports)
