"""Where mail for a domain goes: by a fake resolver for every rule, and by a real DNS server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from connectors.smtp.client_config import host_port
from connectors.smtp.dns_resolver import DnsResolver
from connectors.smtp.faults import HopFault
from connectors.smtp.mx import Absent, Finder, LookupFault, Target, cut, order, resolver_for
from tests.connectors.smtp.client_kit import FakeDns, RecordingBatch, config, deliver, parcel, word
from tests.peers.bad_smtp import BadSmtp


def keep(hosts: list[str]) -> None:
    """In place of a shuffle: leave the order as it is."""


async def targets(
    domain: str,
    mx: Mapping[str, Sequence[tuple[int, str]] | None],
    hosts: Mapping[str, Sequence[str] | None],
    **options: Any,
) -> list[str] | str:
    """Return `name address` of each target, or the outcome."""
    finder = Finder(config(**options), FakeDns(mx, hosts), own_name="gw.test", clock=lambda: 0.0, shuffle=keep)
    try:
        return [f"{target.name} {target.address}" for target in await finder.find(domain)]
    except HopFault as fault:
        return word(fault.outcome)


HOSTS: dict[str, list[str] | None] = {
    "a.test": ["192.0.2.1"],
    "b.test": ["192.0.2.2", "2001:db8::2"],
    "c.test": ["192.0.2.3"],
    "gw.test": ["192.0.2.99"],
    "y.example": ["192.0.2.50"],
    "empty.test": [],
    "slow.test": None,
}

# (case, MX records of y.example, options, expected)
RULES: list[tuple[str, list[tuple[int, str]] | None, dict[str, Any], list[str] | str]] = [
    ("by preference", [(20, "a.test"), (10, "c.test")], {}, ["c.test 192.0.2.3", "a.test 192.0.2.1"]),
    ("IPv6 first", [(10, "b.test")], {}, ["b.test 2001:db8::2", "b.test 192.0.2.2"]),
    ("IPv4 first", [(10, "b.test")], {"prefer": "ipv4"}, ["b.test 192.0.2.2", "b.test 2001:db8::2"]),
    ("a host twice", [(10, "a.test"), (20, "A.test"), (30, "a.test")], {}, ["a.test 192.0.2.1"]),
    ("null MX", [(0, "")], {}, "failed 5.1.10"),
    ("null MX beside another", [(0, ""), (10, "a.test")], {}, ["a.test 192.0.2.1"]),
    ("no answer", None, {}, "deferred 4.4.3 hop"),
    ("no host has an address", [(10, "empty.test"), (20, "gone.test")], {}, "failed 5.4.4"),
    ("one host unknown for now", [(10, "slow.test"), (20, "gone.test")], {}, "deferred 4.4.3 hop"),
    ("first host unknown, second known", [(10, "slow.test"), (20, "a.test")], {}, ["a.test 192.0.2.1"]),
    # RFC 5321 §5.1: neither ourselves nor anyone that is no better
    ("we are the best", [(10, "gw.test"), (20, "a.test")], {}, "failed 5.4.6"),
    ("we are equal", [(10, "gw.test"), (10, "a.test")], {}, "failed 5.4.6"),
    ("we are second", [(10, "a.test"), (20, "GW.test"), (30, "c.test")], {}, ["a.test 192.0.2.1"]),
    ("we by another name", [(10, "a.test"), (20, "c.test")], {"own_names": ("c.test",)}, ["a.test 192.0.2.1"]),
    ("we by address", [(10, "a.test"), (20, "c.test")], {"own_addresses": ("192.0.2.3",)}, ["a.test 192.0.2.1"]),
    ("we by address, best", [(10, "c.test"), (20, "a.test")], {"own_addresses": ("192.0.2.3",)}, "failed 5.4.6"),
]


@pytest.mark.parametrize(("case", "mx", "options", "expected"), RULES, ids=[row[0] for row in RULES])
async def test_rules(
    case: str, mx: list[tuple[int, str]] | None, options: dict[str, Any], expected: list[str] | str
) -> None:
    assert await targets("y.example", {"y.example": mx}, HOSTS, **options) == expected


async def test_a_domain_without_mx_is_its_own_host() -> None:
    assert await targets("y.example", {}, HOSTS) == ["y.example 192.0.2.50"]
    assert await targets("empty.test", {}, HOSTS) == "failed 5.4.4"
    assert await targets("no.example", {}, HOSTS) == "failed 5.1.2"


async def test_address_literals_and_bad_domains() -> None:
    assert await targets("[192.0.2.7]", {}, {}) == ["192.0.2.7 192.0.2.7"]
    assert await targets("[IPv6:2001:db8::7]", {}, {}) == ["2001:db8::7 2001:db8::7"]
    assert await targets("[192.0.2.7]", {}, {}, own_addresses=("192.0.2.7",)) == "failed 5.4.6"
    for bad in ("[no]", "a..b", "x" * 64 + ".example", ""):
        assert await targets(bad, {}, {}) == "failed 5.1.2"


async def test_an_internationalised_domain_is_asked_for_by_its_a_labels() -> None:
    fake = FakeDns({"xn--bcher-kva.example": [(10, "a.test")]}, HOSTS)
    finder = Finder(config(), fake, own_name="gw.test", clock=lambda: 0.0)
    assert [target.name for target in await finder.find("bücher.example")] == ["a.test"]


async def test_a_smart_host_without_address_defers_and_never_fails() -> None:
    assert await targets("smart", {}, {}, smart_host="gone.test:25") == "deferred 4.4.4 hop"
    assert await targets("smart", {}, HOSTS, smart_host="a.test:2525") == ["a.test 192.0.2.1"]
    assert await targets("smart", {}, {}, smart_host="[::1]:25") == ["::1 ::1"]


async def test_where_an_operator_has_rerouted_to_is_one_host_past_mx_and_smart_host() -> None:
    mx = {"c.test": [(10, "a.test")]}
    for options in ({}, {"smart_host": "a.test:25"}):
        assert await targets("[c.test]:2525", mx, HOSTS, **options) == ["c.test 192.0.2.3"]
        assert await targets("[192.0.2.7]:2525", {}, {}, **options) == ["192.0.2.7 192.0.2.7"]
        assert await targets("[gone.test]:25", {}, {}, **options) == "deferred 4.4.4 hop"
        assert await targets("[c.test]:99999", mx, HOSTS, **options) == "deferred 4.4.4 hop"
    # What an earlier smart host was to have goes to the present one; no recipient's domain leads past it.
    for other in ("old.test:25", "[192.0.2.7]", "[c.test]", "c.test"):
        assert await targets(other, mx, HOSTS, smart_host="a.test:25") == ["a.test 192.0.2.1"]


async def test_what_did_not_answer_is_tried_last_for_a_while() -> None:
    now = 0.0
    fake = FakeDns({"y.example": [(10, "a.test"), (20, "c.test")]}, HOSTS)
    finder = Finder(config(), fake, own_name="gw.test", clock=lambda: now)
    finder.shun(Target("a.test", "192.0.2.1", 25))
    assert [target.name for target in await finder.find("y.example")] == ["c.test", "a.test"]
    now = 1000.0
    assert [target.name for target in await finder.find("y.example")] == ["a.test", "c.test"]


def test_equal_preference_is_shuffled_and_others_are_not() -> None:
    reverse = [(10, "b"), (10, "a"), (5, "z"), (20, "c")]
    assert order(reverse, lambda hosts: hosts.reverse()) == [(5, "z"), (10, "b"), (10, "a"), (20, "c")]


def test_cut_is_strict() -> None:
    records = [(5, "z"), (10, "me"), (10, "x"), (20, "y")]
    assert cut(records, lambda host: host == "me") == [(5, "z")]
    assert cut(records, lambda host: False) == records


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mx.example:587", ("mx.example", 587)),
        ("mx.example", ("mx.example", 25)),
        ("[2001:db8::1]:26", ("2001:db8::1", 26)),
        ("unix:/run/lmtp", ("unix:/run/lmtp", 0)),
        ("mx.example:0", None),
        ("mx.example:99999", None),
        ("2001:db8::1", None),
        ("a b", None),
        ("", None),
    ],
)
def test_host_port(text: str, expected: tuple[str, int] | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="host:port"):
            host_port(text, 25)
    else:
        assert host_port(text, 25) == expected


# --- a real resolver against a real server

ZONE: dict[tuple[str, str], list[str]] = {
    ("y.example.", "MX"): ["10 one.test.", "20 two.test."],
    ("one.test.", "A"): ["127.0.0.1"],
    ("one.test.", "AAAA"): ["::1"],
    ("two.test.", "A"): ["127.0.0.2"],
    ("null.example.", "MX"): ["0 ."],
    ("nomx.example.", "A"): ["127.0.0.1"],
    ("alias.example.", "CNAME"): ["y.example."],
}


class _Zone(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.asked: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        reply = dns.message.make_response(query)
        name, kind = query.question[0].name, dns.rdatatype.to_text(query.question[0].rdtype)
        owner = name.to_text().lower()
        self.asked.append(f"{owner} {kind}")
        if owner == "dead.example.":
            return
        if owner == "broken.example.":
            reply.set_rcode(dns.rcode.SERVFAIL)
        while (owner, "CNAME") in ZONE:
            alias = ZONE[owner, "CNAME"][0]
            reply.answer.append(dns.rrset.from_text(owner, 60, "IN", "CNAME", alias))
            owner = alias
        if (owner, kind) in ZONE:
            reply.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, *ZONE[owner, kind]))
        elif not any(known == owner for known, _ in ZONE) and reply.rcode() == dns.rcode.NOERROR:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        reply.flags |= dns.flags.RA
        self._transport.sendto(reply.to_wire(), addr)  # type: ignore[attr-defined]  # a datagram transport


@asynccontextmanager
async def name_server() -> AsyncIterator[tuple[int, list[str]]]:
    """Serve ZONE on a loopback port; yield it and the list of questions."""
    loop = asyncio.get_running_loop()
    transport, zone = await loop.create_datagram_endpoint(_Zone, local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1], zone.asked
    finally:
        transport.close()


async def test_dns_answers() -> None:
    async with name_server() as (port, asked):
        resolver = DnsResolver(["127.0.0.1"], port, timeout_s=1.0)
        assert sorted(await resolver.mx("y.example")) == [(10, "one.test"), (20, "two.test")]
        assert sorted(await resolver.mx("alias.example")) == [(10, "one.test"), (20, "two.test")]
        assert list(await resolver.mx("null.example")) == [(0, "")]
        assert list(await resolver.addresses("one.test", "ipv6")) == ["::1"]
        with pytest.raises(Absent) as absent:
            await resolver.mx("nomx.example")
        assert absent.value.domain_exists
        with pytest.raises(Absent) as absent:
            await resolver.mx("no.example")
        assert not absent.value.domain_exists
        for broken in ("broken.example", "dead.example"):
            with pytest.raises(LookupFault):
                await resolver.mx(broken)
        before = len(asked)
        await resolver.mx("y.example")
        assert len(asked) == before, "answered from the cache"


async def test_a_message_finds_its_host_by_dns() -> None:
    async with name_server() as (dns_port, _), BadSmtp() as peer:
        settings = config(nameservers=("127.0.0.1",), nameserver_port=dns_port, port=peer.port)
        batch = RecordingBatch([parcel(1)])
        await deliver(batch, settings)
    assert batch.codes() == ["delivered 2.0.0"]
    assert batch.outcomes[1, 0].status.remote == "one.test"


@pytest.mark.parametrize(
    ("domain", "expected"),
    [("null.example", "failed 5.1.10"), ("no.example", "failed 5.1.2"), ("broken.example", "deferred 4.4.3 hop")],
)
async def test_what_dns_says_against_a_domain(domain: str, expected: str) -> None:
    async with name_server() as (dns_port, _):
        settings = config(nameservers=("127.0.0.1",), nameserver_port=dns_port)
        batch = RecordingBatch([parcel(1)], next_hop=domain)
        await deliver(batch, settings)
    assert batch.codes() == [expected]


async def test_a_smart_host_is_found_by_the_system() -> None:
    resolver = resolver_for(config(25))
    assert "127.0.0.1" in await resolver.addresses("localhost", "ipv4")
    with pytest.raises((Absent, LookupFault)):
        await resolver.addresses("no-such-host.invalid", "ipv4")
