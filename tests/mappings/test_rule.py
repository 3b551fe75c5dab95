"""Rules: what patterns take, what is refused when they are compiled, and rings that are found."""

from __future__ import annotations

from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.network import parse
from mappings.prove import prove_rules
from mappings.rule import Compiled, Lookup, Place, Rule, RuleError, Way, compile_rule
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
        (Rule("smtp:{l}@{d}.example", "mhs:{l}@x"), "{d} does not stand in 'mhs:{l}@x', .*set direction to \"inward\""),
        (Rule("smtp:{l}@{d}.example", "mhs:{l}@x", Way.FROM), "{d} does not stand"),
        (Rule("smtp:{a}{b}@x.example", "mhs:{a}@{b}"), "need a text between"),
        (Rule("smtp:{a}@{a}.example", "mhs:{a}@x"), "stands twice"),
        (Rule("smtp:{Local}@x.example", "mhs:x@y", Way.TO), "is not a variable"),
        (Rule("mhs:{Local}@x", "mhs:x@y", Way.TO), "is not a variable"),
        (Rule("smtp:{l}@", "mhs:{l}@y"), "makes no address of smtp"),
        (Rule("smtp:{l}", "mhs:{l}@y"), "makes no address of smtp"),
        (Rule("smtp:{l}@x..example", "mhs:{l}@y"), "makes no address of smtp"),
        (Rule("smtp:postmaster", "mhs:x@y", Way.TO), "makes no address of smtp"),
        (Rule("smtp:{l*}@x.example", "mhs:{l}@y"), "only a variable in an internet domain has labels"),
        (Rule("mhs:{l*}@y", "smtp:{l}@x.example"), "only a variable in an internet domain has labels"),
        (Rule("mhs:{l|capital}@y", "smtp:{l}@x.example"), r"\|capital .* is none of"),
        (Rule("mhs:{l|lower|upper}@y", "smtp:{l}@x.example"), r"\|upper .* stands twice"),
        (Rule("mhs:{l|table:wg}@y", "smtp:{l}@x.example"), "there is no table 'wg' for {l} in .*; there are: none"),
        (Rule("mhs:{l}@y", "smtp:{l}@x.example", tables=(Lookup("wg", ()),)), "the table wg is empty"),
        (Rule("mhs:{l}@y", "smtp:{l}@x.example", tables=(Lookup("wg", (("a", " "),)),)), "holds an empty text"),
        (Rule("mhs:{w}@y", "smtp:x@{w|table:t}.example", tables=(Lookup("t", (("a", "b.c"),)),)), r"write {NAME\*}"),
        (
            Rule("mhs:{l}@y", "smtp:{l}@x.example", source=("pigeon",)),
            "no network 'pigeon' is installed; write connector:",
        ),
        (Rule("mhs:" + ".".join(f"{{v{n}}}" for n in range(10)) + "@y", "smtp:x@y.example", Way.TO), "more than 9"),
    ],
)
def test_mistakes_are_found_when_compiled(rule: Rule, says: str) -> None:
    with pytest.raises(RuleError, match=says):
        compile_rule(rule, 0)


def rule(match: str, to: str, way: Way = Way.BOTH, **tables: dict[str, str]) -> Compiled:
    return compile_rule(Rule(match, to, way, tuple(Lookup(n, tuple(t.items())) for n, t in tables.items())), 0)


SITES = {"hq": "Head-Office", "old-hq": "Head-Office", "plant": "Plant7"}
NAMES = {"ann": "alee", "bob": "bray"}
KEPT = rule("smtp:{u|table:names}@a.example", "smtp:{u}@b.example", names=NAMES)


@pytest.mark.parametrize(
    ("applied", "address", "made"),
    [
        # a domain's labels
        (rule("smtp:{l}@{sub*}.a.example", "mhs:{l}@{sub}"), "smtp:ann@x.y.a.example", "mhs:ann@x.y"),
        (rule("smtp:{l}@{sub*}.a.example", "mhs:{l}@{sub}"), "smtp:ann@a.example", None),
        (
            rule("smtp:{l}@{sub*}.a.example", "smtp:{l}@{sub*}.b.example"),
            "smtp:u@x.y.a.example",
            "smtp:u@x.y.b.example",
        ),
        (rule("smtp:{l}@{sub*}.a.example", "smtp:{l}@a.example", Way.TO), "smtp:u@x.y.a.example", "smtp:u@a.example"),
        (rule("smtp:{l}@{a}.{sub*}.example", "mhs:{l}@{a}_{sub}"), "smtp:u@x.y.z.example", "mhs:u@x_y.z"),
        # tables
        (rule("smtp:{l}@{wg|table:t}.example", "mhs:{l}@{wg}", t=SITES), "smtp:ann@Plant7.example", "mhs:ann@plant"),
        (rule("smtp:{l}@{wg}.example", "mhs:{l}@{wg|table:t}", t=SITES), "smtp:ann@HQ.example", "mhs:ann@Head-Office"),
        (rule("smtp:{l}@{wg}.example", "mhs:{l}@{wg|table:t}", t=SITES), "smtp:ann@nowhere.example", None),
        (rule("smtp:{l}@{wg|table:t}.example", "mhs:{l}@{wg}", t=SITES), "smtp:ann@hq.example", None),
        (
            rule("smtp:{u}@a.example", "mhs:{u|table:n}@hq", Way.TO, n={"ann": "Ann Lee"}),
            "smtp:ann@a.example",
            "mhs:Ann Lee@hq",
        ),
        (
            rule("mhs:{u|table:n}@hq", "smtp:{u}@a.example", n={"ann": "Ann Lee"}),
            "mhs:ann lee@HQ",
            "smtp:ann@a.example",
        ),
        # case
        (rule("smtp:{l}@a.example", "mhs:{l|upper}@hq"), "smtp:Ann@a.example", "mhs:ANN@hq"),
        (rule("smtp:{l}@a.example", "mhs:{l|table:n|upper}@hq", n=NAMES), "smtp:Ann@a.example", "mhs:ALEE@hq"),
        (rule("mhs:{l}@hq", "smtp:{l|lower}@a.example"), "mhs:ANN@hq", "smtp:ann@a.example"),
        # a catch-all, and sub-addresses
        (rule("smtp:{l}@a.example", "smtp:box@a.example", Way.TO), "smtp:anyone@a.example", "smtp:box@a.example"),
        (rule("smtp:ann@a.example", "smtp:alee@b.example"), "smtp:ann+news@a.example", "smtp:alee+news@b.example"),
        (rule("smtp:ann@a.example", "mhs:ann@hq"), "smtp:ann+news@a.example", "mhs:ann@hq"),
        (rule("smtp:ann@a.example", "mhs:ann@hq"), "smtp:ann.+news@a.example", None),
        # numbers, which are longer than any other text that a pattern is tried with
        (rule("smtp:{n}@fax.a.example", "fax:+{n}"), "smtp:3585551234@fax.a.example", "fax:+3585551234"),
        (rule("smtp:{n}@fax.a.example", "fax:+358{n}"), "smtp:x@fax.a.example", None),
        (rule("smtp:{u}@a.example", "smtp:{u}@b.example"), "smtp:Ann+News@a.example", "smtp:Ann+News@b.example"),
        (KEPT, "smtp:alee+news@a.example", "smtp:ann+news@b.example"),
        (KEPT, "smtp:cleo+news@a.example", None),
        # several variables: the first takes all it can
        (rule("smtp:{f}.{l}@a.example", "mhs:{l}@{f}"), "smtp:ann.b.lee@a.example", "mhs:lee@ann.b"),
        (rule("mhs:{f}--{l}@hq", "mhs:{l}@{f}"), "mhs:a---b@hq", "mhs:b@a-"),
        (rule("mhs:{f}-{l}@hq", "mhs:{l}@{f}"), "mhs:x-y-@hq", "mhs:y-@x"),
        (rule("mhs:{f}-{l}@hq", "mhs:{l}@{f}"), "mhs:xy@hq", None),
    ],
)
def test_functions_of_the_field(applied: Compiled, address: str, made: str | None) -> None:
    there = applied.forward(parse(address))
    assert (there and there.value) == (made and made.partition(":")[2])
    if there is not None and applied.is_reversible() and applied.match.read(parse(address)):
        assert applied.backward(there) == parse(address)


def test_a_table_with_one_text_for_two_is_read_back_as_the_first() -> None:
    many = rule("smtp:{l}@{wg}.example", "mhs:{l}@{wg|table:t}", t=SITES)
    assert many.backward(parse("mhs:ann@HEAD-OFFICE")) == parse("smtp:ann@hq.example")


def test_reading_takes_a_time_that_grows_with_the_length() -> None:
    greedy = rule("mhs:{a}-{b}-{c}-{d}-{e}@hq", "mhs:{a}@{b}_{c}_{d}_{e}")
    started = perf_counter()
    assert greedy.forward(parse(f"mhs:{'-' * 1000}@other")) is None
    assert greedy.forward(parse(f"mhs:{'-' * 1000}x@hq")) is not None
    assert perf_counter() - started < 0.2


@pytest.mark.parametrize(
    ("pattern", "address"),
    [
        ("x400:/C=US/A=att/P=acme/S={l}", "x400:/S=Lee/P=acme/A=att/C=US"),
        ("x400:S={l};P=acme;A=att;C=US", "x400:/C=us/A=att/P=acme/S=lee"),
        ("profs:{l} at node", "profs:NODE/LEE"),
        ("uucp:host!{l}", "uucp:host!lee"),
        ("tel:+358 55 {l}", "tel:+358555551234"),
    ],
)
def test_a_pattern_is_kept_as_its_network_keeps_addresses(pattern: str, address: str) -> None:
    kept = rule("smtp:{l}@x.example", pattern)
    shown = kept.backward(parse(address))
    assert shown is not None
    assert kept.forward(shown) == parse(address)


@pytest.mark.parametrize(
    ("applied", "why"),
    [
        (BOTH, ""),
        (rule("smtp:{l}@a.example", "smtp:{l}@b.example"), ""),
        (rule("smtp:{l}@{s*}.a.example", "smtp:{l}@{s*}.b.example"), ""),
        (rule("smtp:{l}@{wg|table:t}.example", "mhs:{l}@{wg}", t={"a": "x", "b": "y"}), ""),
        (rule("smtp:ann@a.example", "mhs:ann@hq"), ""),
        (rule("smtp:{l}@a.example", "mhs:{l|upper}@hq"), ""),
        (rule("smtp:{l}@a.example", "mhs:{l}@hq", Way.TO), "one direction alone"),
        (rule("smtp:{l}@{wg}.example", "mhs:{l}@{wg|table:t}", t=SITES), "the table t gives one text for two"),
        (rule("smtp:{f}.{l}@a.example", "mhs:{l}@{f}"), "can be read in two ways, as in"),
        (rule("smtp:{f}@a.example", "mhs:x-{f}@hq"), ""),
    ],
)
def test_what_is_proved_reversible(applied: Compiled, why: str) -> None:
    assert why in applied.why_not_reversible()
    assert applied.is_reversible() == (not why)


@given(st.from_regex(r"[a-zA-Z0-9]+([.+_-][a-z0-9]+)?", fullmatch=True), LABEL, LABEL)
def test_a_reversible_rule_is(local: str, one: str, other: str) -> None:
    proved = rule("smtp:{l}@{s*}.{wg}.acme.example", "mhs:x-{l|upper}@{wg}_{s}")
    address = parse(f"smtp:{local}@{one}.{other}.acme.example")
    there = proved.forward(address)
    assert there is not None
    if proved.is_reversible():
        assert proved.backward(there) == address


def test_where_a_rule_applies() -> None:
    from_mhs = compile_rule(
        Rule("smtp:{l}@a.example", "mhs:{l}@hq", source=("MHS",), destination=("connector:net",)), 0
    )
    assert from_mhs.takes_from(Place("mhs", "oldmhs"))
    assert not from_mhs.takes_from(Place("smtp", "net"))
    assert not from_mhs.takes_from(None)
    assert from_mhs.shows_to(Place("smtp", "net"))
    assert not from_mhs.shows_to(Place("smtp", "other"))
    assert BOTH.takes_from(None)
    assert BOTH.shows_to(Place("smtp"))
    assert str(from_mhs.rule).endswith("from mhs shown to connector:net")


@pytest.mark.parametrize(
    ("word", "way"), [("inward", Way.TO), ("outward", Way.FROM), ("to", Way.TO), ("from", Way.FROM)]
)
def test_the_words_of_a_direction(word: str, way: Way) -> None:
    assert Way(word) is way


def loops(*rules: Rule) -> list[str]:
    return [finding.text for finding in prove_rules([compile_rule(rule, order) for order, rule in enumerate(rules)])]


def test_a_ring_of_rules_is_shown_with_an_address_that_runs_in_it() -> None:
    found = loops(
        Rule("smtp:{l}@a.example", "smtp:{l}@b.example", Way.TO),
        Rule("smtp:{l}@b.example", "mhs:{l}@hq", Way.TO),
        Rule("mhs:{user}@{wg}", "smtp:{user}@a.example", Way.TO),
    )
    assert len(found) == 1
    assert "mail to smtp:x@a.example would be translated without end" in found[0]
    assert "mhs:x@hq by rule 3 (mhs:{user}@{wg} -> smtp:{user}@a.example) is smtp:x@a.example" in found[0]


def test_a_rule_that_feeds_itself_is_a_ring() -> None:
    assert loops(Rule("smtp:{l}@a.example", "smtp:x-{l}@a.example", Way.TO))
    assert loops(Rule("smtp:{l}@{s}.example", "smtp:x-{l}@b.example", Way.TO))


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
        (Rule("smtp:{l}@{s}.example", "smtp:{l}@b.example", Way.TO),),
        (Rule("smtp:{l}@a.example", "mhs:{l}@hq", Way.FROM), Rule("mhs:{l}@hq", "smtp:{l}@a.example", Way.TO)),
    ],
)
def test_chains_that_end_are_no_rings(rules: tuple[Rule, ...]) -> None:
    assert loops(*rules) == []
