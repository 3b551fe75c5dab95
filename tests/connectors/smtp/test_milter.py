"""Filters over the milter protocol: what they hear of a dialogue, and what each of their answers does to it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.smtp import milter, source
from connectors.smtp.config import SmtpConfig
from tests.peers.zone_dns import ZoneDns

from .milter_kit import Filter, filtering
from .server_kit import Dial, Lines, Served, serving, settled

MESSAGE = b"Received: from x\r\nSubject: hello\r\n there\r\nX-A: 1\r\nX-A: 2\r\n\r\ntext\r\n"
NEVER = "127.0.0.1:1"


@asynccontextmanager
async def filtered(*filters: Filter, each: dict[str, Any] | None = None, **config: Any) -> AsyncIterator[Served]:
    tables = [
        {"name": f"f{n}", "at": one.place, "client_names": False, "timeout_s": 20.0, **(each or {})}
        for n, one in enumerate(filters)
    ]
    async with serving(milters=tables, **config) as served:
        yield served


async def sent(client: Dial, octets: bytes = MESSAGE, *to: str) -> int:
    """Send one message, and return the code of the last reply that it got."""
    lines = ["MAIL FROM:<ann@other.example> SIZE=99"]
    lines += [f"RCPT TO:<{each}>" for each in to or ("bob@acme.example",)]
    codes = await client.say(*lines)
    if codes[0] != 250 or 250 not in codes[1:]:
        return codes[-1] if codes[0] == 250 else codes[0]
    code = (await client.say("DATA"))[0]
    if code != 354:
        return code
    await client.send(octets + b".\r\n")
    return await client.code()


async def test_what_a_filter_hears() -> None:
    async with filtering(Filter()) as one, filtered(one) as served:
        client = await (await served.dial()).greeted("client.example")
        assert await sent(client, MESSAGE, "bob@acme.example", "eve@acme.example") == 250
        assert await client.say("MAIL FROM:<>", "RSET", "MAIL FROM:<>", "QUIT") == [250, 250, 250, 221]
        await client.close()
        await settled(lambda: one.letters.endswith("Q"))
        assert one.letters == "OCHMRRTLLLLNBEMAMAQ"
        assert one.data("O") == [struct.pack(">III", 6, 0x1FF, 0x1FFFFF & ~0x800)]
        peer = one.data("C")[0]
        assert peer.startswith(b"[127.0.0.1]\0004")
        assert peer.endswith(b"127.0.0.1\0")
        assert one.data("H") == [b"client.example\0"]
        assert one.data("M") == [b"<ann@other.example>\0SIZE=99\0", b"<>\0", b"<>\0"]
        assert one.data("R") == [b"<bob@acme.example>\0", b"<eve@acme.example>\0"]
        assert one.data("L")[1] == b"Subject\0hello\n there\0"
        assert one.data("B") == [b"text\r\n"]
        macros = dict(zip(*[iter(one.data("D")[0][1:].split(b"\0")[:-1])] * 2, strict=True))
        assert (macros[b"j"], macros[b"_"], macros[b"{client_addr}"]) == (b"gw.example", b"[127.0.0.1]", b"127.0.0.1")
        assert served.intake.bodies == [MESSAGE]


async def test_a_filter_hears_only_what_it_wants() -> None:
    wants_bodies = Filter(wishes=0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40 | 0x200 | 0x80000, answers={"E": [b"t"]})
    async with filtering(wants_bodies) as one, filtered(one) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client, b"Subject: x\r\n\r\n" + b"y" * 70_000 + b"\r\n") == 451
        assert one.letters == "OBBE"
        assert [len(each) for each in one.data("B")] == [65535, 4467]
        assert one.data("D")[0].startswith(b"Ei\0")
        await client.close()


async def test_silent_steps_are_not_waited_for() -> None:
    silent = Filter(wishes=0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x80 | 0x40000 | 0x80000 | 0x100000)
    async with filtering(silent) as one, filtered(one) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 250
        assert one.letters == "OCHMRTLLLLNBE"
        assert one.data("L")[1] == b"Subject\0 hello\n there\0"  # the blank, as agreed
        await client.close()


async def test_a_filter_gets_the_macros_it_asks_for() -> None:
    asks = Filter(macros={0: b"v j {unknown}", 2: b"{mail_host}, i", 3: b"{rcpt_addr}"})
    async with filtering(asks) as one, filtered(one, each={"macros": {"v": "Gatepost"}}) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 250
        at_connect, at_mail, at_rcpt = one.data("D")[:3]
        assert at_connect == b"Cv\0Gatepost\0j\0gw.example\0"
        assert at_mail.startswith(b"M{mail_host}\0other.example\0i\0")
        assert at_rcpt == b"R{rcpt_addr}\0bob@acme.example\0"
        await client.close()


@pytest.mark.parametrize(("names", "shown"), [(True, b"client.example"), (False, b"[127.0.0.1]")])
async def test_a_filter_gets_the_name_that_leads_back(names: bool, shown: bytes) -> None:
    records = {("1.0.0.127.in-addr.arpa", "PTR"): ["client.example."], ("client.example", "A"): ["127.0.0.1"]}
    with ZoneDns(records) as dns:
        config = {"nameservers": ("127.0.0.1",), "nameserver_port": dns.port}
        async with filtering(Filter()) as one, filtered(one, each={"client_names": names}, **config) as served:
            client = await (await served.dial()).greeted()
            assert one.data("C")[0].startswith(shown + b"\0")
            await client.close()


async def test_a_filter_spells_a_recipient_as_it_likes() -> None:
    changes = [b'-<"BOB"@Acme.Example>\0', b"+<EVE@acme.example>\0", b"+<carl@acme.example>\0", b"c"]
    async with filtering(Filter(answers={"E": changes})) as one, filtered(one) as served:
        client = await (await served.dial()).greeted()
        lines = ["MAIL FROM:<ann@other.example>", *(f"RCPT TO:<{n}@acme.example>" for n in ("bob", "eve")), "DATA"]
        await client.send("".join(f"{line}\r\n" for line in lines).encode())
        assert [await client.code() for _ in lines] == [250, 250, 250, 354]
        await client.send(b"Subject: x\r\n\r\n.\r\n")
        assert await client.code() == 250
        (message,) = served.intake.messages
        assert [r.address.value for r in message.envelope.recipients] == ["eve@acme.example", "carl@acme.example"]
        await client.close()


async def test_old_filters_hear_no_data() -> None:
    async with filtering(Filter(version=2)) as one, filtered(one, each={"max_idle_connections": 4}) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 250
        assert await client.say("QUIT") == [221]
        await settled(lambda: one.letters.endswith("Q"))  # nor does another client follow on their connection
        assert "T" not in one.letters
        await client.close()


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ({"M": [b"r"]}, 550),
        ({"M": [b"t"]}, 450),
        ({"M": [b"4"]}, 421),
        ({"M": [b"a"]}, 250),
        ({"M": [b"d"]}, 250),
        ({"M": [b"p", b"c"]}, 250),
        ({"M": [b"y550 5.7.9 go away\0"]}, 550),
        ({"M": [b"y421 4.7.0 go away\0"]}, 421),
        ({"R": [b"y451 4.7.1 grey\0"]}, 450),
        ({"R": [b"r"]}, 550),
        ({"R": [b"d"]}, 250),
        ({"T": [b"r"]}, 554),
        ({"L": [b"t"]}, 451),
        ({"LSubject": [b"s"]}, 250),
        ({"N": [b"r"]}, 554),
        ({"B": [b"s"]}, 250),
        ({"B": [b"r"]}, 554),
        ({"E": [b"r"]}, 554),
        ({"E": [b"a"]}, 250),
        ({"E": [b"d"]}, 250),
        ({"E": [b"y554-5.7.1 two\r\n554 5.7.1 lines\0"]}, 554),
        ({"E": [b"hX-B\0y\0", b"r"]}, 554),
        # What is not the protocol is a fault of the filter.
        ({"M": [b"?"]}, 450),
        ({"M": [b"y250 fine\0"]}, 450),
        ({"M": [b"hX\0y\0"]}, 450),
        ({"E": [b"hX no end"]}, 451),
        ({"E": [b"hX\rY: 1\0z\0", b"c"]}, 451),
        ({"E": [b"+<a@b@c>\0", b"c"]}, 451),
    ],
)
async def test_what_an_answer_does(answers: dict[str, list[bytes]], code: int) -> None:
    async with filtering(Filter(answers=answers)) as one, filtered(one) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == code
        taken = code == 250 and [b"d"] not in answers.values()
        assert served.intake.bodies == ([MESSAGE] if taken else [])
        await client.close()


@pytest.mark.parametrize(("said", "code"), [(b"r", 554), (b"t", 421), (b"y554 5.7.1 no\0", 554), (b"a", 220)])
async def test_a_client_can_be_turned_away(said: bytes, code: int) -> None:
    async with filtering(Filter(answers={"C": [said]})) as one, filtered(one) as served:
        client = await served.dial()
        assert await client.code() == code
        if code == 220:
            assert await client.say("EHLO x") == [250]
            assert await sent(client) == 250
            assert one.letters == "OC"  # it wanted to hear no more
        await client.close()


async def test_all_changes() -> None:
    changes = [
        b"hX-Added\0last\0",
        b"i" + struct.pack(">I", 0) + b"X-First\0top\0",
        b"i" + struct.pack(">I", 3) + b"X-Third\0in between\0",
        b"m" + struct.pack(">I", 1) + b"X-A\0\0",
        b"m" + struct.pack(">I", 2) + b"X-A\0two\0",
        b"m" + struct.pack(">I", 1) + b"Subject\0***SPAM***\n hello\0",
        b"m" + struct.pack(">I", 7) + b"X-New\0there was none\0",
        b"+<log@acme.example>\0",
        b"2<eve@acme.example>\0NOTIFY=NEVER\0",
        b"-<bob@acme.example>\0",
        b"e<>\0",
        b"bnew\r\n",
        b"bbody\r\n",
        b"qlooks bad\0",
        b"c",
    ]
    async with filtering(Filter(answers={"E": changes})) as one, filtered(one) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 250
        assert served.intake.bodies == [
            b"X-First: top\r\nReceived: from x\r\nX-Third: in between\r\nSubject: ***SPAM***\r\n hello\r\nX-A: two\r\n"
            b"X-Added: last\r\nX-New: there was none\r\n\r\nnew\r\nbody\r\n"
        ]
        assert served.intake.paths == [("", ["log@acme.example", "eve@acme.example"])]
        assert served.intake.messages[0].envelope.hold == "f0: looks bad"
        await client.close()


async def test_what_a_filter_says_is_fit_for_the_spool_and_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = b"bad\xff\x1b[2J\r\nforged line"
    async with filtering(Filter(answers={"E": [b"q" + evil + b"\0", b"c"]})) as one, filtered(one) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 250
        assert served.intake.messages[0].envelope.hold == "f0: bad??[2J??forged line"
        one.answers = {"M": [b"y550 5.7.1 " + evil + b"\0"]}
        await client.send(b"MAIL FROM:<ann@other.example>\r\n")
        assert [line[:4] for line in await client.reply()] == ["550-", "550 "]
        await client.close()
    assert "\x1b" not in capsys.readouterr().err


async def test_what_was_not_agreed_to_is_not_done() -> None:
    async with filtering(Filter(actions=0x01, answers={"E": [b"bnew", b"c"]})) as one, filtered(one) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 451
        assert served.intake.messages == []
        await client.close()


async def test_filters_are_asked_in_order_and_see_what_those_before_them_did() -> None:
    first = Filter(answers={"E": [b"hX-First\0yes\0", b"bnew\r\n", b"c"]})
    second = Filter(answers={"E": [b"hX-Second\0yes\0", b"c"]})
    async with filtering(first), filtering(second), filtered(first, second) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 250
        assert second.data("L")[-1] == b"X-First\0yes\0"
        assert second.data("B") == [b"new\r\n"]
        assert served.intake.bodies[0].endswith(b"X-First: yes\r\nX-Second: yes\r\n\r\nnew\r\n")
        await client.close()


async def test_what_one_refuses_the_next_does_not_hear() -> None:
    first, second = Filter(answers={"M": [b"r"]}), Filter()
    async with filtering(first), filtering(second), filtered(first, second) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 550
        assert second.letters == "OCH"
        await client.close()


async def test_one_connection_serves_client_after_client() -> None:
    async with filtering(Filter()) as one, filtered(one, each={"max_idle_connections": 4}) as served:
        for _ in range(3):
            client = await (await served.dial()).greeted()
            assert await sent(client) == 250
            await client.say("QUIT")
            await client.close()
            await settled(lambda: one.letters.endswith("K"))
        assert one.connections == 1
        assert served.counts["milter_connections"] == 1


async def test_a_filter_that_closes_idle_connections_is_dialled_anew() -> None:
    async with filtering(Filter(closes_at="K")) as one, filtered(one, each={"max_idle_connections": 4}) as served:
        for _ in range(2):
            client = await (await served.dial()).greeted()
            assert await sent(client) == 250
            await client.say("QUIT")
            await client.close()
            await settled(lambda: one.letters.endswith("K"))
        assert one.connections == 2


async def test_what_was_asked_for_one_client_is_not_told_the_next() -> None:
    """A client that goes while the filter is asked leaves an answer under way; nobody else may get it."""
    async with filtering(Filter(hangs_at="M")) as one, filtered(one, each={"max_idle_connections": 4}) as served:
        client = await (await served.dial()).greeted()
        await client.send(b"MAIL FROM:<ann@other.example>\r\n")
        await settled(lambda: "M" in one.letters)
        raw = client.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()
        await settled(lambda: not served.source._sessions)
        one.hangs_at = ""
        again = await (await served.dial()).greeted()
        assert await sent(again) == 250
        assert one.connections == 2
        assert "K" not in one.letters
        await again.close()


@pytest.mark.parametrize(("on_fault", "code"), [("accept", 250), ("tempfail", 421), ("reject", 554)])
async def test_a_filter_that_is_down(on_fault: str, code: int) -> None:
    down = Filter(place=NEVER)
    async with filtered(down, each={"on_fault": on_fault}) as served:
        client = await served.dial()
        if code == 250:
            await client.greeted()
            assert await sent(client) == 250
        else:
            assert await client.code() == code
        assert served.counts["check_faults"] >= 1
        await client.close()


@pytest.mark.parametrize("step", ["H", "M", "R", "L", "B", "E"])
@pytest.mark.parametrize("how", ["hangs_at", "closes_at"])
async def test_a_filter_that_fails_under_way_lets_nothing_through(how: str, step: str) -> None:
    each = {"timeout_s": 0.2 if how == "hangs_at" else 20.0}
    async with filtering(Filter(**{how: step})) as one, filtered(one, each=each) as served:
        client = await (await served.dial()).greeted()
        # Whatever was refused for now, no other recipient and no content comes through without the filter.
        assert await sent(client, MESSAGE, "bob@acme.example", "eve@acme.example") in (450, 451)
        assert served.intake.messages == []
        await client.close()


async def test_a_filter_that_is_there_again_is_asked_again() -> None:
    async with filtering(Filter(closes_at="E")) as one, filtered(one) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 451
        one.closes_at = ""
        assert await sent(client) == 250
        assert one.letters == "OCHMRTLLLLNBEOCHMRTLLLLNBE"
        await client.close()


async def test_that_a_filter_is_down_is_told_until_it_is_there_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "SWEEP_S", 0.01)
    monkeypatch.setattr(milter, "LOOK_S", 0.05)
    async with filtering(Filter()) as one:
        where = one.place
    one.place, lines = where, Lines()
    async with filtered(one, each={"on_fault": "accept"}, log=lines) as served:
        assert served.source.health().ok, "nobody has asked it"
        for _ in range(2):
            client = await (await served.dial()).greeted()
            assert await sent(client) == 250
            await client.close()
        told = served.source.health()
        assert not told.ok
        assert told.text.startswith(f"f0 is down: {where}: ")
        assert told.text.endswith("; mail passes without it")
        server = await asyncio.start_server(one.serve, "127.0.0.1", int(where.rpartition(":")[2]))
        await settled(lambda: served.source.health().ok)
        assert [event for event, _ in lines.lines if event.startswith("milter")] == ["milter_down", "milter_back"]
        connections = one.connections
        await asyncio.sleep(0.1)
        assert one.connections == connections, "nobody looks while it is there"
        server.close()


async def test_some_clients_are_not_asked_about() -> None:
    down = Filter(place=NEVER)
    async with filtered(down, each={"except_networks": ["127.0.0.0/8"]}) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 250
        await client.close()


async def test_a_filter_at_a_unix_socket(tmp_path: Path) -> None:
    one = Filter(answers={"E": [b"r"]})
    server = await asyncio.start_unix_server(one.serve, tmp_path / "filter")
    one.place = f"unix:{tmp_path}/filter"
    async with filtered(one) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 554
        await client.close()
    server.close()


@pytest.mark.parametrize("at", ["", "filter", "host:", "host:0", "host:70000", "unix:", "unix:relative"])
def test_a_place_that_is_none_is_named(at: str) -> None:
    with pytest.raises(ValueError, match="milters"):
        SmtpConfig(milters=({"name": "x", "at": at},))
