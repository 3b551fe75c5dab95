"""SPF: bounds, faults of DNS, and what pyspf says of records that nobody wrote."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import spf  # type: ignore[import-untyped]  # pyspf ships no types
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.smtp.authentication.spf import check_host
from connectors.smtp.authentication.spf_macros import SyntaxFault
from connectors.smtp.authentication.spf_record import is_spf, parse
from tests.connectors.smtp.authentication.dns_double import Zone


async def judged(zone: Zone, ip: str = "192.0.2.1", sender: str = "ann@a.example", **more: Any) -> tuple[str, str]:
    result = await check_host(ip, sender.rpartition("@")[2], sender, "mail.a.example", zone, **more)
    return result.verdict, result.explanation or result.reason


def texts(**records: str | None) -> Zone:
    """Return a zone of records of a.example, b.example ..."""
    return Zone({(f"{n}.example", "TXT"): None if v is None else [v.encode()] for n, v in records.items()})


@pytest.mark.parametrize(
    ("record", "verdict", "why"),
    [
        ("v=spf1 ip4:192.0.2.0/24 -all", "pass", "ip4"),
        ("v=spf1 ~all", "softfail", "all"),
        ("v=spf1", "neutral", "default"),
        ("v=spf1 -all", "fail", "all"),
        ("v=spf10 -all", "none", "no record"),
        ("v=spf1 include:late.example -all", "temperror", "no answer for the record"),
        ("v=spf1 include:none.example -all", "permerror", "include of a domain without a record"),
        ("v=spf1 ip4:192.0.2.1 moo -all", "permerror", "unknown term 'moo'"),
        ("v=spf1 exists:%{z}.example", "permerror", "a % without a macro"),
        ("v=spf1 redirect=none.example", "permerror", "redirect= to a domain without a record"),
        ("v=spf1 a:x1.example a:x2.example a:x3.example", "permerror", "too many look-ups without an answer"),
        ("v=spf1 include:a.example", "permerror", "too many look-ups"),
        ("v=spf1 " + "ip4:1.2.3.4 " * 2000, "permerror", "record too long"),
    ],
)
async def test_records(record: str, verdict: str, why: str) -> None:
    assert await judged(texts(a=record, late=None)) == (verdict, why)


async def test_bounds() -> None:
    records: dict[tuple[str, str], Any] = {("a.example", "TXT"): [b"v=spf1 mx -all"]}
    records["a.example", "MX"] = [(n, f"m{n}.example") for n in range(11)]
    assert await judged(Zone(records)) == ("permerror", "too many MX records")
    records["a.example", "TXT"] = [b"v=spf1 ptr -all"]
    records["1.2.0.192.in-addr.arpa", "PTR"] = [f"h{n}.a.example" for n in range(30)]
    records["h20.a.example", "A"] = ["192.0.2.1"]
    zone = Zone(records)
    assert await judged(zone) == ("fail", "all")
    assert sum(kind == "A" for _, kind in zone.asked.elements()) == 10


async def test_two_records_are_none() -> None:
    zone = Zone({("a.example", "TXT"): [b"v=spf1 -all", b"v=spf1 +all", b"other"]})
    assert await judged(zone) == ("permerror", "more than one record")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("%{i} is not of %{o}, says %{r}", "192.0.2.1 is not of a.example, says mx.us.example"),
        ("at %{t} for %{S}", "at 1000 for ann%40a.example"),
        ("two\r\nlines", "all"),
        ("caf\u00e9", "all"),
        ("%{", "all"),
        ("x" * 501, "all"),
    ],
)
async def test_an_explanation_is_one_line_of_ascii(text: str, shown: str) -> None:
    zone = texts(a="v=spf1 -all exp=why.example", why=text)
    assert await judged(zone, receiver="mx.us.example", now=1000.5) == ("fail", shown)


@pytest.mark.parametrize("ip", ["", "unknown", "/run/socket"])
async def test_a_client_without_an_address(ip: str) -> None:
    assert await judged(texts(a="v=spf1 -all"), ip) == ("none", "no domain")


async def test_a_mapped_address_is_ipv4() -> None:
    zone = texts(a="v=spf1 ip4:192.0.2.1 -all")
    assert await judged(zone, "::ffff:192.0.2.1") == ("pass", "ip4")
    assert await judged(zone, "2001:db8::1%eth0") == ("fail", "all")


TERMS = [
    "all",
    "a",
    "mx",
    "ptr",
    "a/24",
    "a:b.example/30//64",
    "mx:b.example",
    "include:b.example",
    "include:c.example",
    "ip4:192.0.2.0/28",
    "ip4:192.0.2.1",
    "ip4:192.0.2.0/33",
    "ip6:2001:db8::/32",
    "ip6:2001:db8::1",
    "exists:%{ir}.%{v}.b.example",
    "exists:%{l1r-}.%{d2}.c.example",
    "redirect=b.example",
    "redirect=c.example",
    "exp=why.example",
    "moo",
    "a:",
    "ptr:example",
]


def record(*without: str) -> st.SearchStrategy[str]:
    """Records that name none of these domains: pyspf takes what would come back to itself for a fault of syntax."""
    terms = [t for t in TERMS if not any(t.endswith(w) and t[:2] in ("in", "re") for w in without)]
    made = st.lists(st.tuples(st.sampled_from(["", "+", "-", "~", "?"]), st.sampled_from(terms)), max_size=6)
    return made.map(lambda found: "v=spf1 " + " ".join(q + t if "=" not in t else t for q, t in found))


ADDRESSES = {"A": ["192.0.2.1", "192.0.2.77"], "AAAA": ["2001:db8::1"]}


def zone_of(a: str, b: str, c: str) -> Zone:
    records: dict[tuple[str, str], Any] = {
        (f"{n}.example", "TXT"): [t.encode()] for n, t in zip("abc", (a, b, c), strict=True)
    }
    for name in ("b.example", "h.a.example"):
        for kind, found in ADDRESSES.items():
            records[name, kind] = found
    records["a.example", "MX"] = [(10, "h.a.example")]
    records["1.2.0.192.in-addr.arpa", "PTR"] = ["h.a.example"]
    records["1.2.0.192.in-addr.b.example", "A"] = ["127.0.0.2"]
    return Zone(records)


def pyspf_says(zone: Zone, ip: str) -> str:
    def lookup(name: str, kind: str, *rest: Any) -> Iterator[Any]:
        for value in zone.records.get((name.lower().rstrip("."), kind), ()):
            if kind == "AAAA":
                value = socket.inet_pton(socket.AF_INET6, value)
            yield (name, kind), (value,) if kind == "TXT" else value

    before, spf.DNSLookup = spf.DNSLookup, lookup
    try:
        asked = spf.query(i=ip, s="ann@a.example", h="mail.a.example", strict=True, timeout=20)
        return str(asked.check()[0])
    finally:
        spf.DNSLookup = before


@settings(max_examples=100, deadline=None)
@given(
    record(),
    record("b.example"),
    record("b.example", "c.example"),
    st.sampled_from(["192.0.2.1", "198.51.100.9", "2001:db8::1", "2001:db8::2"]),
)
async def test_pyspf_agrees(a: str, b: str, c: str, ip: str) -> None:
    zone = zone_of(a, b, c)
    mine = (await check_host(ip, "a.example", "ann@a.example", "mail.a.example", zone)).verdict
    assert mine == pyspf_says(zone, ip)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_any_octets_are_a_record_or_a_syntax_fault(octets: bytes) -> None:
    whole = b"v=spf1 " + octets
    assert is_spf(whole)
    with contextlib.suppress(SyntaxFault):
        assert parse(whole) == parse(whole + b" ")
