"""What keeps unwanted clients out: access lists, lists in DNS, greylisting, rate limits. Each as a client meets it."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.smtp import greylist
from connectors.smtp.access import AccessMaker, read_table
from connectors.smtp.checks import Client
from connectors.smtp.clients import client_of
from connectors.smtp.config import SmtpConfig
from connectors.smtp.dns_lists import query_name
from connectors.smtp.filter_config import AccessTable, GreylistTable
from connectors.smtp.greylist import GreylistMaker, GreylistStore
from connectors.smtp.patterns import NetworkRules, PatternRules, compiled
from connectors.smtp.source import SmtpSource
from tests.peers import raw
from tests.peers.postfix import Postfix
from tests.peers.zone_dns import ZoneDns

from .server_kit import Dial, MemoryIntake, Served, context, serving, settled
from .test_milter import sent

STRANGER: dict[str, Any] = {"relay_networks": ()}


async def codes(served: Served, *lines: str) -> list[int]:
    """Say lines after EHLO, and return their replies' codes."""
    client = await (await served.dial()).greeted()
    said = await client.say(*lines)
    await client.close()
    return said


# Patterns


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("*@spam.example", ["a@spam.example", "A@SPAM.EXAMPLE"], ["a@x.spam.example", "spam.example"]),
        ("*.dynamic.example", ["a.dynamic.example", "a.b.dynamic.example"], ["dynamic.example"]),
        ("abuse@*", ["abuse@a", "ABUSE@b.example"], ["xabuse@a"]),
        ("<>", ["<>"], ["a@b"]),
        ("a.b", ["a.b"], ["aXb"]),
        ("*a*b*ab", ["abab", "xaxbxab"], ["ab", "aab", "abb"]),
        ("a*a", ["aa", "aba"], ["a", "ab"]),
    ],
)
def test_patterns(pattern: str, matches: list[str], others: list[str]) -> None:
    rules = PatternRules([(pattern, True)])
    assert all(rules.find(text) for text in matches)
    assert not any(rules.find(text) for text in others)


def test_of_patterns_the_first_decides() -> None:
    rules = PatternRules([("a*@x", 1), ("*@x", 2), ("ab@x", 3), ("*", 4)])
    assert [rules.find(text) for text in ("ab@x", "b@x", "z")] == [1, 2, 4]
    reversed_rules = PatternRules([("*", 4), ("ab@x", 3)])
    assert reversed_rules.find("ab@x") == 4


def test_no_pattern_is_slow() -> None:
    begun = time.process_time()
    for pattern in ("*a*a*a*a*a*a*a*b", "a*a*a*a*a*a*a*a*b", "*ab*ab*ab*ab*ab*ab*ab*c"):
        assert not compiled(pattern).fullmatch("ab" * 2000 + "x")
    assert time.process_time() - begun < 5
    with pytest.raises(ValueError, match="at most 8"):
        compiled("*a*a*a*a*a*a*a*a*b")


def test_networks() -> None:
    rules = NetworkRules(
        [(ip_network(text), text) for text in ("192.0.2.7", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32")]
    )
    found = [rules.find(ip_address(text)) for text in ("192.0.2.7", "192.0.2.8", "9.9.9.9", "2001:db8::1", "::1")]
    assert found == ["192.0.2.7", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", None]


# Access lists

RULES: list[tuple[dict[str, Any], list[int]]] = [
    ({"client": "127.0.0.0/8", "do": "reject"}, [554]),
    ({"client": "127.0.0.1", "do": "tempfail"}, [421]),
    ({"client": "192.0.2.1", "do": "reject"}, [220, 250, 250, 250, 354, 250]),
    ({"helo": "*.EXAMPLE", "do": "reject"}, [220, 250, 550]),
    ({"helo": "client.example", "sender": "eve@*", "do": "reject"}, [220, 250, 250, 250, 354, 250]),
    ({"sender": "*@other.example", "do": "tempfail"}, [220, 250, 450]),
    ({"sender": "*@other.example", "do": "drop"}, [220, 250, 521]),
    ({"recipient": "bob@*", "do": "reject"}, [220, 250, 250, 550]),
    ({"recipient": "bob@*", "sender": "ann@*", "client": "127.0.0.1", "do": "drop"}, [220, 250, 250, 521]),
    ({"recipient": "*", "do": "discard"}, [220, 250, 250, 250, 354, 250]),
]


@pytest.mark.parametrize(("rule", "expected"), RULES)
async def test_an_access_rule(rule: dict[str, Any], expected: list[int]) -> None:
    async with serving(access={"rules": [rule]}) as served:
        client = await served.dial()
        lines = ["EHLO client.example", "MAIL FROM:<ann@other.example>", "RCPT TO:<bob@acme.example>", "DATA"]
        await client.send("".join(f"{line}\r\n" for line in lines).encode())
        got = []
        for n in range(len(expected)):
            if n == 5:
                await client.send(b"Subject: x\r\n\r\n.\r\n")
            got.append(await client.code())
        assert got == expected
        kept = expected[-1] == 250 and rule["do"] != "discard"
        assert len(served.intake.messages) == kept
        await client.close()


@pytest.mark.parametrize("rule", [{"client": "127.0.0.1"}, {"sender": "*"}, {"recipient": "*"}])
async def test_an_access_rule_that_holds(rule: dict[str, Any]) -> None:
    async with serving(access={"rules": [{**rule, "do": "hold", "text": "look at it"}]}) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 250
        assert served.intake.messages[0].envelope.hold == "look at it"
        await client.close()


NAMES = {
    ("1.0.0.127.in-addr.arpa", "PTR"): ["forged.bank.example.", "a1.dynamic.example."],
    ("forged.bank.example", "A"): ["192.0.2.1"],
    ("a1.dynamic.example", "A"): ["192.0.2.7", "127.0.0.1"],
}


@pytest.mark.parametrize(
    ("pattern", "code"), [("*.dynamic.example", 550), ("*.bank.example", 250), ("A1.Dynamic.Example", 550)]
)
async def test_a_clients_name_counts_where_it_leads_back(pattern: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "access").write_text(f"client {pattern} reject\n")
    with ZoneDns(NAMES) as dns:
        config = {"nameservers": ("127.0.0.1",), "nameserver_port": dns.port}
        for access in ({"rules": [{"client": pattern, "do": "reject"}]}, {"table": "access"}):
            async with serving(tmp_path, access=access, **config) as served:
                assert await codes(served, "MAIL FROM:<a@x.example>") == [code]


async def test_a_name_that_dns_does_not_tell_is_none() -> None:
    with ZoneDns({("1.0.0.127.in-addr.arpa", "PTR"): None}) as dns:
        config = {"nameservers": ("127.0.0.1",), "nameserver_port": dns.port}
        async with serving(access={"rules": [{"client": "*.x", "do": "reject"}]}, **config) as served:
            assert await codes(served, "MAIL FROM:<a@x.example>") == [250]


async def test_who_is_accepted_is_not_looked_at_again() -> None:
    rules = [
        {"client": "127.0.0.1", "do": "accept"},
        {"client": "127.0.0.0/8", "do": "reject"},
        {"sender": "*", "do": "reject"},
    ]
    async with serving(access={"rules": rules}) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 250
        await client.close()


@pytest.mark.parametrize(
    "path",
    ["staff@xn--mller-kva.example", '"staff"@XN--MLLER-kva.example', "staff@müller.example", "Staff+x@müller.example"],
)
@pytest.mark.parametrize("pattern", ["staff@müller.example", "*@mu\u0308ller.example", "st*@xn--mller-kva.example"])
async def test_another_form_of_an_address_is_no_way_past_a_rule(path: str, pattern: str, tmp_path: Path) -> None:
    for kind in ("sender", "recipient"):
        (tmp_path / "access").write_text(f"{kind} {pattern} reject\n", "utf-8")
        for access in ({"rules": [{kind: pattern, "do": "reject"}]}, {"table": "access"}):
            async with serving(tmp_path, access=access) as served:
                client = await (await served.dial()).greeted()
                sender, recipient = (path, "bob@acme.example") if kind == "sender" else ("ann@other.example", path)
                await client.send(f"MAIL FROM:<{sender}> SMTPUTF8\r\nRCPT TO:<{recipient}>\r\n".encode())
                assert 550 in [await client.code(), await client.code()]
                await client.close()


async def test_the_answer_has_the_rules_text() -> None:
    rule = {"sender": "*", "do": "reject", "text": "see https://gw.example/why"}
    async with serving(access={"rules": [rule]}) as served:
        client = await (await served.dial()).greeted()
        await client.send(b"MAIL FROM:<ann@other.example>\r\n")
        assert await client.reply() == ["550 5.7.1 see https://gw.example/why"]
        await client.close()


async def test_a_table_is_read_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.smtp.access.LOOK_S", 0.0)
    table = tmp_path / "access"
    table.write_text("# who may not\nsender *@other.example reject go away\n\nrecipient abuse@* accept\n")
    async with serving(tmp_path, access={"table": "access"}) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 550
        table.write_text("sender ann@other.example tempfail\n")
        os.utime(table, ns=(1, 1))
        assert await sent(client) == 450
        table.write_text("sender nonsense\n")  # wrong: what was in force stays so
        assert await sent(client) == 450
        table.write_text("")
        assert await sent(client) == 250
        await client.close()


@pytest.mark.parametrize(
    "line",
    [
        "sender",
        "sender a b",
        "who * reject",
        "client 192.0.2.1/24 reject",
        "client 192.0.2 reject",
        "helo ********* drop",
    ],
)
def test_a_wrong_line_is_named(line: str, tmp_path: Path) -> None:
    table = tmp_path / "access"
    table.write_text(f"\n{line}\n")
    with pytest.raises(ValueError, match="access:2:"):
        read_table(table)


async def test_a_large_table_is_looked_up(tmp_path: Path) -> None:
    table = tmp_path / "access"
    lines = [f"client 10.{n >> 8 & 255}.{n & 255}.0/24 reject" for n in range(20_000)]
    lines += [f"sender *@spam{n}.example reject" for n in range(20_000)]
    table.write_text("\n".join(lines))
    maker = AccessMaker(AccessTable.model_validate({"table": "access"}), context(tmp_path, Counter()))
    listed, other = Client(address="10.7.7.7"), Client(address="11.7.7.7")
    begun = time.process_time()
    for _ in range(1000):
        assert await maker.begin(other).connect(other) is None
    assert (time.process_time() - begun) / 1000 < 0.001
    assert await maker.begin(listed).connect(listed) is not None


# Lists in DNS

ZONES = {
    ("1.0.0.127.black.example", "A"): ["127.0.0.2"],
    ("1.0.0.127.black.example", "TXT"): ["see https://black.example/127.0.0.1"],
    ("1.0.0.127.grey.example", "A"): ["127.0.0.10"],
    ("1.0.0.127.white.example", "A"): ["127.0.0.3"],
    ("1.0.0.127.paid.example", "A"): ["127.255.255.254"],
    ("1.0.0.127.broken.example", "A"): None,
}
BLACK, GREY, WHITE, PAID = ({"zone": f"{name}.example"} for name in ("black", "grey", "white", "paid"))


@pytest.mark.parametrize(
    ("lists", "answer"),
    [
        ([BLACK], "550 5.7.1 your address 127.0.0.1 is listed at black.example: see https://black.example/127.0.0.1"),
        ([GREY], "550 5.7.1 your address 127.0.0.1 is listed at grey.example"),
        ([{**GREY, "answers": ["127.0.0.2"]}], "250 2.1.0 ok"),
        ([{**GREY, "weight": 0.5}], "250 2.1.0 ok"),
        (
            [{**GREY, "weight": 0.5}, {**BLACK, "weight": 0.6}],
            "550 5.7.1 your address 127.0.0.1 is listed at black.exa",
        ),
        ([BLACK, {**WHITE, "weight": -0.5}], "250 2.1.0 ok"),
        ([{"zone": "none.example"}], "250 2.1.0 ok"),
        ([PAID], "250 2.1.0 ok"),
        ([{"zone": "broken.example"}], "250 2.1.0 ok"),
    ],
)
async def test_lists_in_dns(lists: list[dict[str, Any]], answer: str) -> None:
    with ZoneDns(ZONES) as dns:
        config = {"nameservers": ("127.0.0.1",), "nameserver_port": dns.port, **STRANGER}
        async with serving(dns_lists={"lists": lists}, **config) as served:
            client = await (await served.dial()).greeted()
            for _ in range(2):
                await client.send(b"MAIL FROM:<ann@other.example>\r\nRSET\r\n")
                [line] = await client.reply()
                assert line.startswith(answer)
                assert await client.code() == 250
            assert dns.asked[f"1.0.0.127.{lists[0]['zone']}", "A"] == 1 or "broken" in lists[0]["zone"]
            await client.close()


async def test_a_list_that_is_silent_stops_nothing() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind(("127.0.0.1", 0))
        config = {"nameservers": ("127.0.0.1",), "nameserver_port": silent.getsockname()[1], **STRANGER}
        async with serving(dns_lists={"lists": [BLACK], "timeout_s": 0.2}, **config) as served:
            client = await (await served.dial()).greeted()
            assert await sent(client) == 250
            assert served.counts["dns_list_faults"] == 1
            await client.close()


async def test_lists_are_not_asked_about_who_may_relay_or_is_welcome() -> None:
    with ZoneDns(ZONES) as dns:
        config = {"nameservers": ("127.0.0.1",), "nameserver_port": dns.port, "dns_lists": {"lists": [BLACK]}}
        async with serving(**config) as served:
            client = await (await served.dial()).greeted()
            assert await sent(client) == 250
            await client.close()
        access = {"rules": [{"client": "127.0.0.1", "do": "accept"}]}
        async with serving(access=access, **config, **STRANGER) as served:
            client = await (await served.dial()).greeted()
            assert await sent(client) == 250
            await client.close()
        assert not dns.asked


async def test_a_white_list_spares_the_rest() -> None:
    with ZoneDns(ZONES) as dns:
        config = {"nameservers": ("127.0.0.1",), "nameserver_port": dns.port, **STRANGER}
        lists = {"lists": [{**WHITE, "weight": -1.0}]}
        async with serving(dns_lists=lists, greylist={"delay_s": 60}, **config) as served:
            client = await (await served.dial()).greeted()
            assert await sent(client) == 250
            await client.close()


def test_the_name_of_an_address() -> None:
    assert query_name(ip_address("192.0.2.99"), "x.example") == "99.2.0.192.x.example"
    nibbles = "1.0.0.0." + "0." * 20 + "8.b.d.0.1.0.0.2.x.example"
    assert query_name(ip_address("2001:db8::1"), "x.example") == nibbles


# Greylisting


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def listed(tmp: Path, clock: Clock, **table: Any) -> GreylistMaker:
    return GreylistMaker(GreylistTable.model_validate(table), replace(context(tmp, Counter()), clock=clock))


async def test_the_life_of_a_triplet(tmp_path: Path) -> None:
    clock = Clock()
    maker = listed(tmp_path, clock, delay_s=300, retry_s=3600, keep_s=86400, known_after=0)

    async def tried(after: float, recipient: str = "bob@acme.example") -> float:
        clock.now += after
        return await maker.wait_for("192.0.2.0/24", "ann@other.example", recipient)

    assert await tried(0) == 300
    assert await tried(100) == 200
    assert await tried(199) == 1
    assert await tried(1) == 0
    assert await tried(1, "eve@acme.example") == 300  # each recipient for itself
    assert await tried(86399) == 0
    assert await tried(86401) == 300  # forgotten
    assert await tried(3601) == 300  # the second try came too late
    assert await tried(300) == 0
    assert await tried(1, "jo@acme.example") == 300
    assert await tried(-86400, "jo@acme.example") == 300  # a clock that is put back puts nobody off for so long
    assert await tried(300, "jo@acme.example") == 0
    maker.close()


async def test_a_network_that_has_passed_often_is_known(tmp_path: Path) -> None:
    clock = Clock()
    maker = listed(tmp_path, clock, delay_s=10, known_after=2)
    for n in range(2):
        assert await maker.wait_for("192.0.2.0/24", f"a{n}@x.example", "bob@acme.example") == 10
        clock.now += 10
        assert await maker.wait_for("192.0.2.0/24", f"a{n}@x.example", "bob@acme.example") == 0
    assert await maker.wait_for("192.0.2.0/24", "new@x.example", "bob@acme.example") == 0
    assert await maker.wait_for("198.51.100.0/24", "new@x.example", "bob@acme.example") == 10
    maker.close()


async def test_a_message_for_many_makes_a_network_known_no_sooner(tmp_path: Path) -> None:
    names = ("bob", "eve", "jo")
    async with serving(tmp_path, greylist={"delay_s": 0.2, "known_after": 2}, **STRANGER) as served:
        client = await (await served.dial()).greeted()

        async def said(sender: str) -> list[int]:
            lines = [f"RCPT TO:<{name}@acme.example>" for name in names]
            return (await client.say(f"MAIL FROM:<{sender}@other.example>", *lines, "RSET"))[1:-1]

        for sender in ("ann", "amy"):
            assert await said(sender) == [450] * 3
            await asyncio.sleep(0.25)
            assert await said(sender) == [250] * 3
        assert await said("new") == [250] * 3
        await client.close()


async def test_what_is_remembered_survives_a_stop_and_is_shared(tmp_path: Path) -> None:
    clock = Clock()
    first, second = listed(tmp_path, clock, delay_s=10), listed(tmp_path, clock, delay_s=10)
    assert await first.wait_for("192.0.2.0/24", "ann@x.example", "bob@acme.example") == 10
    clock.now += 10
    assert await second.wait_for("192.0.2.0/24", "ann@x.example", "bob@acme.example") == 0
    first.close()
    second.close()
    third = listed(tmp_path, clock, delay_s=10)
    assert await third.wait_for("192.0.2.0/24", "ann@x.example", "bob@acme.example") == 0
    third.close()
    assert b"bob@acme.example" not in (tmp_path / "greylist.db").read_bytes()


def test_the_store_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greylist, "CLEAN_EVERY", 500)
    table = GreylistTable.model_validate({"max_entries": 1000})
    with closing(GreylistStore(tmp_path / "greylist.db", table)) as store:
        for n in range(2600):
            store.wait_for(f"net{n}", "a", "b", float(n))
        assert store.count() <= 1500
        assert store.wait_for("net2599", "a", "b", 2600.0) < 300  # the youngest are there
        assert store.wait_for("net1", "a", "b", 2600.0) == 300


def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        GreylistStore(tmp_path / "none" / "greylist.db", GreylistTable.model_validate({}))


async def test_a_client_is_put_off_once(tmp_path: Path) -> None:
    async with serving(tmp_path, greylist={"delay_s": 0.2}, **STRANGER) as served:
        client = await (await served.dial()).greeted()
        await client.say("MAIL FROM:<ann@other.example>")
        await client.send(b"RCPT TO:<bob@acme.example>\r\n")
        assert await client.reply() == ["450 4.7.1 greylisted, try again in 1 seconds"]
        assert await client.say("RCPT TO:<abuse@acme.example>", "RSET") == [250, 250]
        await asyncio.sleep(0.25)
        assert await sent(client) == 250
        await client.close()


@pytest.mark.parametrize(
    "config",
    [
        {},  # relay_networks
        {**STRANGER, "access": {"rules": [{"sender": "ann@*", "do": "accept"}]}},
        {**STRANGER, "access": {"rules": [{"recipient": "bob@*", "do": "accept"}]}},
        {**STRANGER, "greylist": {"except_networks": ["127.0.0.1"]}},
        {**STRANGER, "greylist": {"except_recipients": ["bob@*"]}},
    ],
)
async def test_who_is_not_put_off(config: dict[str, Any], tmp_path: Path) -> None:
    async with serving(tmp_path, **{"greylist": {}, **config}) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 250
        await client.close()


async def test_one_welcome_recipient_does_not_open_the_door_for_others(tmp_path: Path) -> None:
    access = {"rules": [{"recipient": "info@*", "do": "accept"}]}
    async with serving(tmp_path, greylist={}, access=access, **STRANGER) as served:
        said = await codes(
            served, "MAIL FROM:<ann@x.example>", "RCPT TO:<info@acme.example>", "RCPT TO:<bob@acme.example>"
        )
        assert said == [250, 250, 450]


async def test_a_greylist_that_cannot_be_kept_lets_mail_through(tmp_path: Path) -> None:
    (tmp_path / "greylist.db").mkdir()
    async with serving(tmp_path, greylist={}, **STRANGER) as served:
        client = await (await served.dial()).greeted()
        assert await sent(client) == 250
        assert served.counts["check_faults"] == 1
        await client.close()


# Rate limits


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"by": "client", "limit": 1}, [250, 250, 250, 450]),
        ({"by": "sender", "limit": 1}, [250, 250, 250, 450]),
        ({"by": "client", "limit": 1, "of": "recipients"}, [250, 250, 450]),
        ({"by": "destination", "limit": 1}, [250, 250, 250, 250, 450, 450]),
        ({"by": "destination", "limit": 2, "of": "recipients"}, [250, 250, 250, 250, 450]),
        ({"by": "recipient", "limit": 1}, [250, 250, 250, 250, 450]),
        ({"by": "client", "limit": 1, "except_networks": ["127.0.0.0/8"]}, [250] * 6),
        ({"by": "sender", "limit": 2}, [250] * 6),
    ],
)
async def test_a_rate_limit(limit: dict[str, Any], said: list[int]) -> None:
    to = ("RCPT TO:<bob@acme.example>", "RCPT TO:<eve@acme.example>")
    async with serving(rate_limits=[limit], **STRANGER) as served:
        client = await (await served.dial()).greeted()
        got = await client.say("MAIL FROM:<ann@x.example>", *to)
        if 450 not in got:
            await client.say("RSET")
            got += await client.say("MAIL FROM:<ANN@x.example>")
        if 450 not in got:
            got += await client.say(*to)
        assert got[: len(said)] == said
        await client.close()


async def test_the_answer_says_when_and_the_log_what() -> None:
    limits = [{"by": "client", "limit": 1, "per_s": 60}, {"by": "sender", "limit": 1, "text": "slow down"}]
    async with serving(rate_limits=limits, **STRANGER) as served:
        client = await (await served.dial()).greeted()
        assert await client.say("MAIL FROM:<a@x.example>", "RSET") == [250, 250]
        await client.send(b"MAIL FROM:<a@x.example>\r\n")
        assert await client.reply() == ["450 4.7.1 too many messages from your address, try again in 60 seconds"]
        assert served.counts["checks_refused"] == 1
        await client.close()


@pytest.mark.parametrize(("trusted", "code"), [(False, 250), (True, 450)])
async def test_who_may_relay_is_limited_where_asked_for(trusted: bool, code: int) -> None:
    async with serving(rate_limits=[{"by": "client", "limit": 1, "trusted": trusted}]) as served:
        assert await codes(served, "MAIL FROM:<a@x.example>", "RSET", "MAIL FROM:<a@x.example>") == [250, 250, code]


async def test_workers_share_a_limit(tmp_path: Path) -> None:
    limit = {"by": "sender", "limit": 3}
    sources = [
        SmtpSource("internet", SmtpConfig(**given), context(tmp_path, Counter(), worker=n, workers=2))  # type: ignore[arg-type]
        for n in range(2)
        for given in [{"listen": ("127.0.0.1:0",), "rate_limits": [limit], **STRANGER}]
    ]
    said = []
    for source in sources:
        await source.start()
        task = asyncio.create_task(source.run(MemoryIntake()))
        await settled(lambda s=source: s.health().ok)  # type: ignore[misc]  # mypy has no types for defaults of a lambda
        client = await (await Dial.to(source.addresses[0][1])).greeted()
        said += await client.say("MAIL FROM:<a@x.example>", "RSET", "MAIL FROM:<a@x.example>")
        await client.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await source.stop()
    assert said == [250, 250, 250, 250, 250, 450]


def test_a_client_of_ipv6_is_its_network() -> None:
    assert client_of("2001:db8::1") == "2001:db8::/64"


# Configuration


async def test_a_changed_configuration_keeps_what_the_checks_know(tmp_path: Path) -> None:
    limit, grey = {"by": "client", "limit": 1}, {"delay_s": 60}
    common = {"listen": ("127.0.0.1:0",), **STRANGER}
    async with serving(tmp_path, rate_limits=[limit], greylist=grey, **STRANGER) as served:
        client = await (await served.dial()).greeted()
        assert await client.say("MAIL FROM:<a@x.example>", "RCPT TO:<bob@acme.example>") == [250, 450]
        access = {"rules": [{"sender": "eve@*", "do": "reject"}]}
        changed = SmtpConfig(**common, rate_limits=[limit], greylist=grey, access=access)  # type: ignore[arg-type]
        assert served.source.reconfigure(changed)
        # Who is connected goes on under the old rules, who comes gets the new; what was counted still is.
        assert await client.say("RSET", "MAIL FROM:<eve@x.example>") == [250, 450]
        assert await codes(served, "MAIL FROM:<eve@x.example>", "MAIL FROM:<a@x.example>") == [550, 450]
        other = SmtpConfig(**common, greylist={"delay_s": 61})  # type: ignore[arg-type]
        assert served.source.reconfigure(other)
        assert await codes(served, "MAIL FROM:<a@x.example>", "RCPT TO:<bob@acme.example>") == [250, 450]
        assert served.source.reconfigure(SmtpConfig(**common))  # type: ignore[arg-type]
        assert await codes(served, "MAIL FROM:<a@x.example>", "RCPT TO:<bob@acme.example>") == [250, 250]
        assert served.counts["check_faults"] == 0
        await client.close()


async def test_a_wrong_table_leaves_the_old_configuration_in_force(tmp_path: Path) -> None:
    (tmp_path / "access").write_text("nonsense\n")
    async with serving(tmp_path) as served:
        with pytest.raises(ValueError, match="access:1:"):
            served.source.reconfigure(SmtpConfig(listen=("127.0.0.1:0",), access={"table": "access"}))  # type: ignore[arg-type]
        assert await codes(served, "MAIL FROM:<a@x.example>") == [250]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"access": {"rules": [{"do": "reject"}]}}, "a rule needs a condition"),
        ({"access": {"rules": [{"client": "192.0.2.1/24", "do": "reject"}]}}, "is no address, no network"),
        ({"access": {"rules": [{"helo": "x", "do": "eat"}]}}, "accept"),
        ({"dns_lists": {"lists": []}}, "one to 32 lists"),
        ({"dns_lists": {"lists": [{"zone": "nodots"}]}}, "no DNS zone"),
        ({"dns_lists": {"lists": [{"zone": "a.example", "answers": ["x"]}]}}, "write an address or a network"),
        ({"greylist": {"except_recipients": ["*********"]}}, "no pattern"),
        ({"greylist": {"delay": 3}}, "delay"),
        ({"rate_limits": [{"by": "mood", "limit": 1}]}, "client"),
    ],
)
def test_what_cannot_be_meant_is_named(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SmtpConfig(**config)


async def test_a_real_server_comes_again_and_passes(tmp_path: Path) -> None:
    def hand_in(sender: Postfix) -> None:
        reply = raw.send(sender.port, "ann@other.example", ["bob@acme.example"], b"Subject: real\r\n\r\ntext\r\n")
        assert reply.code == 250

    async with serving(tmp_path, greylist={"delay_s": 1}, **STRANGER) as served:
        with Postfix(next_hop=served.port) as sender:
            await asyncio.to_thread(hand_in, sender)
            for _ in range(1200):
                if served.intake.messages:
                    break
                await asyncio.sleep(0.05)
            [body] = served.intake.bodies
            assert b"Subject: real" in body
            assert "450 4.7.1 greylisted" in sender.said()
