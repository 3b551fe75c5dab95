"""DMARC: records, the walk up the tree, alignment, and what domains ask for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.smtp.authentication.dmarc import (
    DmarcResult,
    Proof,
    authors,
    evaluate,
    organisational,
    parse,
    steps,
    walk,
)
from tests.connectors.smtp.authentication.dns_double import Zone


def zone(**records: str | None) -> Zone:
    """Return a zone of DMARC records; `_` stands for a dot."""
    table: dict[tuple[str, str], Any] = {
        (f"_dmarc.{name.replace('_', '.')}", "TXT"): None if text is None else [text.encode()]
        for name, text in records.items()
    }
    return Zone(table)


REJECT = "v=DMARC1; p=reject"


async def judged(domain: str, proof: Proof, records: Zone) -> tuple[str, str]:
    result = await evaluate([domain], proof, records)
    return result.verdict, result.policy


@pytest.mark.parametrize(
    ("text", "policies"),
    [
        ("v=DMARC1; p=reject", ("reject", "reject", "reject")),
        ("v=DMARC1;p=none;sp=quarantine;np=reject;", ("none", "quarantine", "reject")),
        ("v=DMARC1; p=NONE; sp=odd", ("none", "none", "none")),
        ("v=DMARC1; p=odd; rua=mailto:a@b.example", ("none", "none", "none")),
        ("v=DMARC1; rua=mailto:a@b.example", ("none", "none", "none")),
        ("v=DMARC1; p=odd", None),
        ("v=DMARC1", None),
        ("v=dmarc1; p=none", None),
        ("p=none; v=DMARC1", None),
        ("v=DMARC1; p=none; p=reject; nothing; =; ;", ("none", "none", "none")),
        ("v = DMARC1 ; p = reject", ("reject", "reject", "reject")),
        ("v=DMARC10; p=none", None),
        ("", None),
    ],
)
def test_records(text: str, policies: tuple[str, str, str] | None) -> None:
    record = parse(text.encode(), "a.example")
    applies = record is not None and record.applies
    assert (applies and (record.policy, record.subdomains, record.absent)) == (policies or False)


@pytest.mark.parametrize(
    ("domain", "names"),
    [
        ("example", ["example"]),
        ("a.b.example", ["a.b.example", "b.example", "example"]),
        (
            "a.b.c.d.e.f.g.h.i.j.example",
            [
                "a.b.c.d.e.f.g.h.i.j.example",
                *(f"{rest}.example" for rest in ("e.f.g.h.i.j", "f.g.h.i.j", "g.h.i.j", "h.i.j", "i.j", "j")),
                "example",
            ],
        ),
    ],
)
def test_the_steps_of_a_walk(domain: str, names: list[str]) -> None:
    assert steps(domain) == tuple(names)
    assert len(names) <= 8


@pytest.mark.parametrize(
    ("domain", "records", "organisation"),
    [
        ("mail.a.example", {"a_example": REJECT}, "a.example"),
        ("mail.a.example", {}, "mail.a.example"),
        ("mail.a.example", {"mail_a_example": REJECT}, "mail.a.example"),
        ("x.mail.a.example", {"mail_a_example": "v=DMARC1; p=none; psd=n", "a_example": REJECT}, "mail.a.example"),
        ("x.a.bank", {"bank": "v=DMARC1; p=reject; psd=y"}, "a.bank"),
        ("x.a.bank", {"bank": "v=DMARC1; p=reject; psd=y", "a_bank": REJECT}, "a.bank"),
        ("bank", {"bank": "v=DMARC1; p=reject; psd=y"}, "bank"),
    ],
)
async def test_the_organisational_domain(domain: str, records: dict[str, str], organisation: str) -> None:
    assert organisational(domain, await walk(domain, zone(**records))) == organisation


@pytest.mark.parametrize(
    ("domain", "proof", "records", "verdict"),
    [
        ("a.example", Proof(), {}, ("none", "none")),
        ("a.example", Proof(spf="a.example"), {"a_example": REJECT}, ("pass", "none")),
        ("a.example", Proof(dkim=("x.example", "a.example")), {"a_example": REJECT}, ("pass", "none")),
        ("a.example", Proof(), {"a_example": REJECT}, ("fail", "reject")),
        ("a.example", Proof(spf="b.example", dkim=("b.example",)), {"a_example": REJECT}, ("fail", "reject")),
        ("a.example", Proof(dkim=("m.a.example",)), {"a_example": REJECT}, ("pass", "none")),
        ("m.a.example", Proof(dkim=("a.example",)), {"a_example": REJECT}, ("pass", "none")),
        ("m.a.example", Proof(spf="n.a.example"), {"a_example": REJECT}, ("pass", "none")),
        ("a.example", Proof(dkim=("m.a.example",)), {"a_example": REJECT + "; adkim=s"}, ("fail", "reject")),
        ("a.example", Proof(spf="m.a.example"), {"a_example": REJECT + "; aspf=s"}, ("fail", "reject")),
        ("a.example", Proof(dkim=("a.example",)), {"a_example": REJECT + "; adkim=s; aspf=s"}, ("pass", "none")),
        ("a.example", Proof(spf="example"), {"a_example": REJECT}, ("fail", "reject")),
        ("a.example", Proof(spf="nota.example"), {"a_example": REJECT}, ("fail", "reject")),
        ("m.a.example", Proof(), {"a_example": REJECT + "; sp=quarantine"}, ("fail", "quarantine")),
        ("m.a.example", Proof(), {"a_example": "v=DMARC1; p=none; np=reject"}, ("fail", "reject")),
        ("m.a.example", Proof(), {"a_example": REJECT, "m_a_example": "v=DMARC1; p=none"}, ("fail", "none")),
        ("a.example", Proof(), {"a_example": REJECT + "; t=y"}, ("fail", "quarantine")),
        ("a.example", Proof(), {"a_example": "v=DMARC1; p=quarantine; pct=0"}, ("fail", "none")),
        ("a.bank", Proof(), {"bank": "v=DMARC1; p=none; sp=reject; psd=y"}, ("fail", "reject")),
        ("a.bank", Proof(spf="b.bank"), {"bank": "v=DMARC1; p=reject; psd=y"}, ("fail", "reject")),
        ("a.example", Proof(), {"a_example": None}, ("temperror", "none")),
        ("a.example", Proof(spf_unknown="a.example"), {"a_example": REJECT}, ("temperror", "none")),
        ("a.example", Proof(dkim_unknown=("m.a.example",)), {"a_example": REJECT}, ("temperror", "none")),
        ("a.example", Proof(dkim_unknown=("x.example",)), {"a_example": REJECT}, ("fail", "reject")),
    ],
)
async def test_verdicts(domain: str, proof: Proof, records: dict[str, str | None], verdict: tuple[str, str]) -> None:
    assert await judged(domain, proof, zone(**records)) == verdict


async def test_a_subdomain_that_exists_is_not_absent() -> None:
    records = zone(a_example="v=DMARC1; p=none; np=reject")
    records.records["m.a.example", "A"] = ["192.0.2.1"]
    assert await judged("m.a.example", Proof(), records) == ("fail", "none")


async def test_two_records_are_none() -> None:
    records = Zone({("_dmarc.a.example", "TXT"): [REJECT.encode(), REJECT.encode()]})
    assert await judged("a.example", Proof(), records) == ("none", "none")


async def test_the_strictest_of_several_authors_counts() -> None:
    records = zone(a_example=REJECT, b_example="v=DMARC1; p=none", c_example="v=DMARC1; p=quarantine")
    result = await evaluate(["b.example", "c.example", "a.example"], Proof(spf="b.example"), records)
    assert (result.verdict, result.domain, result.policy) == ("fail", "a.example", "reject")
    assert await evaluate(None, Proof(), records) == DmarcResult("permerror", reason="no domain in From")


@pytest.mark.parametrize(
    ("values", "domains"),
    [
        ([b"Ann <ann@A.example>"], ("a.example",)),
        ([b"ann@a.example"], ("a.example",)),
        ([b'"bob@b.example" <ann@a.example>'], ("a.example",)),
        ([b"=?utf-8?q?bob=40b=2Eexample?= <ann@a.example>"], ("a.example",)),
        ([b"ann@a.example (bob@b.example)"], ("a.example",)),
        ([b"Ann <ann@a.example>, Bob <bob@b.example>, c@a.example"], ("a.example", "b.example")),
        ([b"ann@a.example", b"bob@b.example"], ("a.example", "b.example")),
        (["Ann <ann@b\u00fccher.example>".encode()], ("xn--bcher-kva.example",)),
        ([b",".join(b"a@d%d.example" % n for n in range(5))], None),
        ([b"ann@[192.0.2.1]"], None),
        ([b"nobody"], None),
        ([b""], None),
        ([], None),
        ([b"a" * 5000 + b"@a.example"], None),
    ],
)
def test_authors(values: list[bytes], domains: tuple[str, ...] | None) -> None:
    assert authors(values) == domains


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80))
def test_any_from(value: bytes) -> None:
    found = authors([value])
    assert found is None or all(each.isascii() for each in found)
