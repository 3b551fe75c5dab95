"""No command and no header field is put in by what stands in an address, a name, a parameter or a filter's answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.smtp.client_wire import Extensions
from connectors.smtp.commands import Mail, Rcpt
from connectors.smtp.header_edits import Edit, edited
from connectors.smtp.replies import reply
from connectors.smtp.server_events import CLOSED, NEED_DATA, WireSettings
from connectors.smtp.server_wire import ServerWire
from connectors.smtp.transaction import plan
from gateway.contract import Address, Content, Envelope, Item, Origin, Parcel, Traits

from .milter_kit import Filter, filtering
from .server_kit import MemoryIntake, serving
from .test_milter import filtered, sent

ENDS = [
    b"\n",
    b"\r",
    b"\r\r\n",
    b"\n\r",
    b"\0\r\n",
    b"\v",
    b"\f",
    b"\x85",
    b"\xe2\x80\xa8",
    b"%0d%0a",
    b"\\r\\n",
    b"+0D+0A",
]
EVIL = b"RCPT TO:<victim@far.example>"


def understood(octets: bytes) -> tuple[list[Mail | Rcpt], bytes]:
    """Return what a server understands of a client's octets, taking everybody, and what it says."""
    wire = ServerWire(WireSettings("gw.example"))
    wire.receive(octets)
    events: list[Mail | Rcpt] = []
    while (event := wire.next_event()) is not NEED_DATA and event is not CLOSED:
        assert isinstance(event, (Mail, Rcpt))
        events.append(event)
        wire.take()
    return events, wire.take_output()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    "line",
    [
        b"RCPT TO:<bob@acme.example>%s",
        b"RCPT TO:<bob@acme.example%s",
        b'RCPT TO:<"bob%s"@acme.example>',
        b"RCPT TO:<bob@acme.example> ORCPT=rfc822;bob%s",
        b"RCPT TO:<bob@acme.example> NOTIFY=NEVER%s",
        b"MAIL FROM:<ann@acme.example> ENVID=x%s",
        b"EHLO client.example%s",
        b"VRFY bob%s",
    ],
)
def test_no_command_comes_by_what_stands_in_another(line: bytes, end: bytes) -> None:
    begun = b"EHLO client.example\r\nMAIL FROM:<ann@acme.example>\r\n"
    # A line that ends in CR LF is one, whatever comes before it: what is put in behind that was never inside.
    octets = begun + line.replace(b"%s", end.removesuffix(b"\r\n") + EVIL) + b"\r\n"
    events, said = understood(octets)
    assert [each.path for each in events if "victim@far.example" in each.path.split("\r")] == []
    assert all(line[:3].isdigit() and line[3:4] in (b" ", b"-") for line in said.splitlines())


@pytest.mark.parametrize("coded", ["x+0D+0ABcc:+20victim", "x+0A", "x+00", "x+7F"])
def test_nothing_comes_by_a_coded_parameter(coded: str) -> None:
    for line in (f"RCPT TO:<bob@acme.example> ORCPT=rfc822;{coded}", f"MAIL FROM:<> ENVID={coded}"):
        begun = b"EHLO x\r\n" + (b"MAIL FROM:<>\r\n" if line.startswith("RCPT") else b"")
        events, said = understood(begun + line.encode() + b"\r\n")
        assert len(events) == line.startswith("RCPT")
        assert b"\r\n501 " in said


@pytest.mark.parametrize("text", ["a\r\nMAIL FROM:<evil@x>", "a\nb", "a\rb", "a\0b", "a\u2028b", "\x85"])
def test_a_reply_is_whole_lines_whatever_it_tells(text: str) -> None:
    said = reply(550, "5.1.1", text)
    assert all(line.startswith(b"550") for line in said.split(b"\r\n")[:-1])
    assert said.count(b"\n") == said.count(b"\r") == said.count(b"\r\n")
    assert said.isascii()


@pytest.mark.parametrize(
    "evil", ["a@b.example>\r\nRCPT TO:<victim@far.example", "a@b.example\n", "a\r@b.example", "a\0@b"]
)
def test_no_command_goes_out_by_an_address(evil: str) -> None:
    """Whatever network made the address, a connector's own included."""
    address, good = Address("smtp", evil, evil), Address("smtp", "bob@b.example", "bob@b.example")
    for sender, recipient in ((address, good), (good, address), (None, address)):
        item = Item((1, 0), recipient, recipient)
        envelope = Envelope(sender, (), Origin("x"))
        transaction, outcomes = plan(
            Parcel(1, envelope, Content(b"\r\n"), (item,), 0.0), [item], Extensions(), assume_8bit=True
        )
        assert transaction is None
        assert len(outcomes) == 1


@pytest.mark.parametrize("name", ["x\r\nBcc: victim@far.example", "x)\r\n\tby evil", "\x1b[2J", "a b", "\u00fc" * 300])
async def test_no_field_comes_by_what_a_client_calls_itself(name: str) -> None:
    async with serving() as served:
        client = await served.dial()
        await client.code()
        await client.send(f"EHLO {name}\r\n".encode())
        await client.send(b"MAIL FROM:<ann@other.example>\r\nQUIT\r\n")
        while (code := await client.code()) not in (0, 221):
            assert code in (250, 500, 501, 503, 521)
        await client.close()


@pytest.mark.parametrize(
    "value", ["a\r\nBcc: victim@far.example", "a\n\nbody", "a\r\n\r\nbody", "a\rBcc: x", "\r\n", "a\0", "a\n \nX: y"]
)
async def test_no_field_comes_by_the_value_of_another(value: str) -> None:
    for edit in (Edit("X-A", value), Edit("X-A", value, at=0), Edit("Subject", value, nth=1)):
        content = await edited(Content(b"Subject: x\r\nTo: y\r\n\r\ntext\r\n"), [edit])
        assert {f.name for f in content.fields} <= {b"subject", b"to", b"x-a"}
        assert b"".join(content.body_chunks()) == b"text\r\n"
        assert b"\0" not in content.head


@pytest.mark.parametrize("name", ["X A", "X:A", "", "X\r\nY", "X\0", "\u00fc", "x" * 300])
async def test_no_field_comes_by_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="name of a header field"):
        await edited(Content(b"\r\n"), [Edit(name, "x")])


@pytest.mark.parametrize(("value", "eight_bit"), [("plain", False), ("caf\u00e9", True), ("\udcff", True)])
async def test_what_was_known_of_the_octets_is_known_anew(value: str, eight_bit: bool) -> None:
    content = await edited(Content(b"A: b\r\n\r\nx\r\n", traits=Traits(True, False)), [Edit("X-A", value)])
    assert content.traits == Content(content.octets()).traits == Traits(True, eight_bit)


async def test_no_field_comes_by_a_filter() -> None:
    evil = Filter(answers={"E": [b"hX-A\0y\r\nBcc: victim@far.example\0", b"c"]})
    async with filtering(evil) as one, filtered(one) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 250
        assert b"X-A: y\r\n Bcc: victim" in served.intake.bodies[0]
        await client.close()


async def test_no_second_reply_comes_by_a_filter() -> None:
    evil = Filter(answers={"M": [b"y550 5.7.1 no\r\n250 2.1.0 ok\0"]})
    async with filtering(evil) as one, filtered(one) as served:
        client = await (await served.dial()).greeted()
        await client.send(b"MAIL FROM:<ann@other.example>\r\nNOOP\r\n")
        assert (await client.reply())[-1].startswith("550 ")
        assert await client.reply() == ["250 2.0.0 ok"]
        await client.close()


async def test_no_address_of_a_filter_is_a_command(tmp_path: Path) -> None:
    evil = Filter(answers={"E": [b"+<a@b.example>\r\nRCPT TO:<victim@far.example>\0", b"c"]})
    intake = MemoryIntake()
    async with filtering(evil) as one, filtered(one, intake=intake) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 451
        assert served.intake.messages == []
        await client.close()
