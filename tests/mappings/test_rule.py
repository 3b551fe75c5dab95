"""Rules: what patterns take, what is refused when they are compiled, and rings that are found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.network import parse
from mappings.rule import Rule, RuleError, Way, compile_rule, find_loops
from tests.mappings.strategies import LABEL

BOTH = compile_rule(Rule("smtp:{local}@{wg}.mhs.acme.example", "mhs:{local}@{wg}"), 0)


@pytest.mark.parametrize(
    ("address", "made"),
    [
        ("smtp:ann@sales.mhs.acme.example", "mhs:ann@sales"),
        ("smtp:Ann.Lee@SALES.mhs.ACME.example", "mhs:Ann.Lee@sales"),
        ("smtp:ann+tag@sales.mhs.acme.example", "mhs:ann+tag@sales"),
        ("smtp:ann@mhs.acme.example", None),
        ("smtp:ann@a.b.mhs.acme.example", None),
        ("smtp:ann@sales.mhs.acme.example.evil.example", None),
        ('smtp:"ann lee"@sales.mhs.acme.example', None),
        ('smtp:"ann@evil"@sales.mhs.acme.example', None),
        ("smtp:{x}@sales.mhs.acme.example", None),
        ("mhs:ann@sales", None),
    ],
)
def test_forward(address: str, made: str | None) -> None:
    found = BOTH.forward(parse(address))
    assert found == (parse(made) if made else None)


@pytest.mark.parametrize(
    ("address", "made"),
    [
        ("mhs:ann@sales", "smtp:ann@sales.mhs.acme.example"),
        ("mhs:Ann Lee@sales", None),
        ("mhs:ann@sa.les", "smtp:ann@sa.les.mhs.acme.example"),
        ("mhs:ann@gate {NET/PO/ANN}", None),
        ("mhs:a..b@sales", None),
        ("mhs:ann@-sales-", None),
    ],
)
def test_backward(address: str, made: str | None) -> None:
    found = BOTH.backward(parse(address))
    assert found == (parse(made) if made else None)


@given(st.from_regex(r"[a-z0-9]+([.+_-][a-z0-9]+)?", fullmatch=True), LABEL)
def test_there_and_back(local: str, workgroup: str) -> None:
    address = parse(f"smtp:{local}@{workgroup}.mhs.acme.example")
    there = BOTH.forward(address)
    assert there is not None
    assert BOTH.backward(there) == address


def test_an_internationalised_domain_matches_in_both_spellings() -> None:
    rule = compile_rule(Rule("smtp:{l}@bücher.example", "mhs:{l}@books"), 0)
    for domain in ("bücher.example", "xn--bcher-kva.example", "BÜCHER.example"):
        assert rule.forward(parse(f"smtp:ann@{domain}")) == parse("mhs:ann@books")
    assert rule.match.domain_end == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (Rule("ann@acme.example", "mhs:ann@sales"), "is not a pattern"),
        (Rule("smtp:{l}@a.example", "pigeon:{l}"), "no network 'pigeon' is installed"),
        (Rule("smtp:{l}@a.example", "mhs:{l}@{wg}", Way.TO), "{wg} does not stand in 'smtp:{l}@a.example'"),
        (Rule("smtp:{l}@{d}.example", "mhs:{l}@x"), "{d} does not stand in 'mhs:{l}@x', .*set direction to \"to\""),
        (Rule("smtp:{l}@{d}.example", "mhs:{l}@x", Way.FROM), "{d} does not stand"),
        (Rule("smtp:{a}{b}@x.example", "mhs:{a}@{b}"), "need a text between"),
        (Rule("smtp:{a}@{a}.example", "mhs:{a}@x"), "stands twice"),
        (Rule("smtp:{Local}@x.example", "mhs:x@y", Way.TO), "is not a variable"),
        (Rule("mhs:{Local}@x", "mhs:x@y", Way.TO), "is not a variable"),
        (Rule("smtp:{l}@", "mhs:{l}@y"), "makes no address of smtp"),
        (Rule("smtp:{l}", "mhs:{l}@y"), "makes no address of smtp"),
        (Rule("smtp:{l}@x..example", "mhs:{l}@y"), "makes no address of smtp"),
    ],
)
def test_mistakes_are_found_when_compiled(rule: Rule, says: str) -> None:
    with pytest.raises(RuleError, match=says):
        compile_rule(rule, 0)


def loops(*rules: Rule) -> list[str]:
    return find_loops([compile_rule(rule, order) for order, rule in enumerate(rules)])


def test_a_ring_of_rules_is_shown_with_an_address_that_runs_in_it() -> None:
    found = loops(
        Rule("smtp:{l}@a.example", "smtp:{l}@b.example", Way.TO),
        Rule("smtp:{l}@b.example", "mhs:{l}@hq", Way.TO),
        Rule("mhs:{user}@{wg}", "smtp:{user}@a.example", Way.TO),
    )
    assert len(found) == 1
    assert "smtp:x@a.example" in found[0]
    assert found[0].count(";") == 2


def test_a_rule_that_feeds_itself_is_a_ring() -> None:
    assert loops(Rule("smtp:{l}@a.example", "smtp:x-{l}@a.example", Way.TO))
    assert loops(Rule("smtp:{l}@{s}.example", "smtp:{l}@b.example", Way.TO))


@pytest.mark.parametrize(
    "rules",
    [
        (Rule("smtp:{l}@{wg}.mhs.acme.example", "mhs:{l}@{wg}"),),
        (
            Rule("smtp:{l}@a.example", "smtp:{l}@b.example", Way.TO),
            Rule("smtp:{l}@b.example", "smtp:{l}@c.example", Way.TO),
        ),
        (Rule("smtp:x-{l}@a.example", "smtp:y-{l}@a.example", Way.TO),),
        (Rule("smtp:{l}@{s}.a.example", "smtp:{l}@a.example", Way.TO),),
        (Rule("smtp:{l}@a.example", "mhs:{l}@hq", Way.FROM), Rule("mhs:{l}@hq", "smtp:{l}@a.example", Way.TO)),
    ],
)
def test_chains_that_end_are_no_rings(rules: tuple[Rule, ...]) -> None:
    assert loops(*rules) == []


def test_long_chains_are_compared_quickly() -> None:
    rules = [Rule(f"smtp:{{l}}@d{i}.example", f"smtp:{{l}}@d{i + 1}.example", Way.TO) for i in range(100)]
    assert loops(*rules) == []
    assert len(loops(*rules, Rule("smtp:{l}@d100.example", "smtp:{l}@d0.example", Way.TO))) == 1
