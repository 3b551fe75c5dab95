"""DnsLookup against a name server: what it gives, what it keeps, and how it fails."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from connectors.smtp.authentication.dns_lookup import ABSENT_TTL_S, MAX_OCTETS, DnsLookup, Kept
from connectors.smtp.authentication.lookup import LookupFault
from tests.peers.zone_dns import ZoneDns

LONG = "v=DKIM1; p=" + "A" * 3000


@pytest.fixture(scope="module")
def zone() -> Iterator[ZoneDns]:
    records = {
        ("a.example", "TXT"): ['v=spf1 "x" -all', "other"],
        ("long.example", "TXT"): [LONG],
        ("a.example", "A"): ["192.0.2.1", "192.0.2.2"],
        ("a.example", "AAAA"): ["2001:db8::1"],
        ("a.example", "MX"): ["10 mx.a.example.", "20 ."],
        ("1.2.0.192.in-addr.arpa", "PTR"): ["mx.a.example."],
        ("broken.example", "TXT"): None,
    }
    with ZoneDns(records) as server:
        yield server


async def test_answers(zone: ZoneDns) -> None:
    ask = DnsLookup(["127.0.0.1"], zone.port).until(asyncio.get_running_loop().time() + 60)
    assert sorted(await ask.txt("A.example.")) == [b"other", b'v=spf1 "x" -all']
    assert await ask.txt("long.example") == (LONG.encode(),)  # by TCP
    assert sorted(await ask.addresses("a.example", ipv6=False)) == ["192.0.2.1", "192.0.2.2"]
    assert await ask.addresses("a.example", ipv6=True) == ("2001:db8::1",)
    assert sorted(await ask.mx("a.example")) == [(10, "mx.a.example"), (20, ".")]
    assert await ask.ptr("1.2.0.192.in-addr.arpa") == ("mx.a.example",)
    for name in ("none.example", "a.example.", "x" * 64 + ".example", "a..b", "", "\x00.example", "caf\u00e9.example"):
        assert await ask.txt("_x." + name) == ()
    with pytest.raises(LookupFault):
        await ask.txt("broken.example")


async def test_answers_are_kept_for_their_time(zone: ZoneDns) -> None:
    now = [1000.0]
    lookup = DnsLookup(["127.0.0.1"], zone.port, clock=lambda: now[0])
    zone.asked.clear()
    for at in (1000.0, 1299.0, 1301.0):
        now[0] = at
        await lookup.ask("A", "A.EXAMPLE", at + 60)
        await lookup.ask("TXT", "nothing.example", at + 60)
    assert zone.asked["a.example", "A"] == 2
    assert zone.asked["nothing.example", "TXT"] == 2
    assert ABSENT_TTL_S < 299


async def test_no_time_left(zone: ZoneDns) -> None:
    ask = DnsLookup(["127.0.0.1"], zone.port).until(asyncio.get_running_loop().time() - 1)
    with pytest.raises(LookupFault, match="no time left"):
        await ask.txt("other.example")


async def test_a_server_that_is_silent_costs_no_more_than_the_time_there_is() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        lookup = DnsLookup(["127.0.0.1"], silent.getsockname()[1])
        began = asyncio.get_running_loop().time()
        with pytest.raises(LookupFault):
            await lookup.until(began + 0.2).txt("a.example")
        assert asyncio.get_running_loop().time() - began < 5


def test_what_is_kept_is_bounded() -> None:
    kept = Kept()
    for number in range(1000):
        kept.put("TXT", f"n{number}.example", [b"x" * 30_000], 100.0)
    assert len(kept) <= MAX_OCTETS // 30_000
    assert kept.get("TXT", "n999.example", 99.0) is not None
    assert kept.get("TXT", "n0.example", 99.0) is None
    kept.put("TXT", "huge.example", [b"x" * 70_000], 100.0)
    assert kept.get("TXT", "huge.example", 1.0) is None
    assert kept.get("TXT", "n999.example", 101.0) is None
    for number in range(30_000):
        kept.put("A", f"n{number}.example", ["192.0.2.1"], 100.0)
    assert len(kept) == 20_000
    for number in range(30_000):
        kept.get("A", f"n{number}.example", 101.0)
        kept.get("TXT", f"n{number}.example", 101.0)
    assert (len(kept), kept._octets) == (0, 0)
