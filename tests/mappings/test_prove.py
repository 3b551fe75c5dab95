"""Proofs of rules and routes: what is refused, by which address, and that the address does what is said of it."""

from __future__ import annotations

from time import process_time
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.route import Route, Routes
from mappings.network import parse
from mappings.prove import Finding, Kind, RouteLike, prove, prove_rules
from mappings.resolution import Resolution, Verdict
from mappings.rule import Compiled, Lookup, Place, Rule, RuleError, Way, compile_rule
from mappings.table import Table, compile_table

INTERNET = "smtp:* -> net"
OLD = "mhs:* -> old"
TO = Way.INWARD


def compiled(*rules: Rule) -> list[Compiled]:
    return [compile_rule(rule, order) for order, rule in enumerate(rules)]


def routes(*texts: str) -> list[RouteLike]:
    """Read `network:pattern -> connector network network`."""
    found = []
    for text in texts:
        match, _, to = text.partition(" -> ")
        network, _, pattern = match.partition(":")
        connector, *networks = to.split()
        found.append(RouteLike(network, pattern, connector, tuple(networks)))
    return found


def proved(rules: tuple[Rule, ...], *ways: str, domains: tuple[str, ...] = ()) -> list[Finding]:
    return prove(compiled(*rules), routes(*ways), domains=domains)


def table(rules: tuple[Rule, ...], *domains: str) -> Table:
    """Compile rules that are refused otherwise."""
    with patch("mappings.checks.prove_rules", return_value=[]):
        return compile_table((), rules, domains=domains, homes={}, encapsulation=None, version=1)


@pytest.mark.parametrize(
    ("rules", "example", "last"),
    [
        (
            (
                Rule("smtp:{l}@a.example", "smtp:{l}@b.example", TO),
                Rule("smtp:{l}@b.example", "mhs:{l}@hq", TO),
                Rule("mhs:{user}@{wg}", "smtp:{user}@a.example", TO),
            ),
            "smtp:x@a.example",
            "mhs:x@hq",
        ),
        (
            (Rule("smtp:{l}@a.example", "smtp:x-{l}@a.example", TO),),
            "smtp:x@a.example",
            "smtp:x-x-x-x-x-x-x-x-x@a.example",
        ),
        # what shrinks is too long at some length
        ((Rule("smtp:x-{l}@a.example", "smtp:{l}@a.example", TO),), None, None),
        ((Rule("smtp:{l}@{a}.{b*}.example", "smtp:{l}@{b*}.example", TO),), None, None),
        # a catch-all whose box is an alias
        (
            (
                Rule("smtp:box@a.example", "smtp:ann@a.example", TO),
                Rule("smtp:{l}@a.example", "smtp:box@a.example", TO),
            ),
            "smtp:box@a.example",
            "smtp:box@a.example",
        ),
        # by way of sub-addresses
        (
            (
                Rule("smtp:ann@a.example", "smtp:ann+x@b.example", TO),
                Rule("smtp:ann@b.example", "smtp:ann@a.example", TO),
            ),
            "smtp:ann@a.example",
            "smtp:ann+x@a.example",
        ),
        (
            tuple(Rule(f"smtp:{{l}}@d{n}.example", f"smtp:{{l}}@d{n + 1}.example", TO) for n in range(9)),
            "smtp:x@d0.example",
            "smtp:x@d8.example",
        ),
        # by way of a table
        (
            (
                Rule(
                    "smtp:{l}@{s|table:t}.example", "smtp:{l}@{s}.example", TO, (Lookup("t", (("a", "b"), ("b", "a"))),)
                ),
            ),
            "smtp:x@b.example",
            None,
        ),
        # the second is in the way of the third, but for names that mhs does not take
        (
            (
                Rule("smtp:{l}@a.example", "smtp:{l}@b.example", TO),
                Rule("smtp:{l}@b.example", "mhs:{l}@hq", TO),
                Rule("smtp:{l}@{d}.example", "smtp:{l}@a.example", TO),
            ),
            None,
            None,
        ),
    ],
)
def test_loops(rules: tuple[Rule, ...], example: str | None, last: str | None) -> None:
    (found,) = proved(rules, INTERNET, OLD)
    assert found.kind is Kind.LOOP
    assert found.refuses
    assert found.example is not None
    assert example is None or found.example == parse(example)
    assert last is None or found.way[-1].endswith(f" is {last}")
    end = table(rules).resolve(found.example)
    assert (end.code, len(end.steps)) == ("5.4.6", len(found.way))
    assert [f.kind for f in prove_rules(compiled(*rules))] == [Kind.LOOP]


def test_rules_that_may_feed_each_other_are_refused_though_no_address_is_found() -> None:
    rules = (
        Rule("smtp:{l}@a.example", "smtp:{l}@b.example", TO),
        Rule("smtp:x{l}@b.example", "smtp:y{l}@a.example", TO),
    )
    (found,) = proved(rules, INTERNET)
    assert found.kind is Kind.RING
    assert found.refuses
    assert "may feed each other" in found.text


@pytest.mark.parametrize(
    "rules",
    [
        (Rule("smtp:{l}@{wg}.mhs.acme.example", "mhs:{l}@{wg}"),),
        (Rule("smtp:{l}@a.example", "smtp:box@a.example", TO),),  # a catch-all
        (Rule("smtp:{l}@{s}.example", "smtp:{l}@b.example", TO),),  # which leaves b.example as it is
        (Rule("smtp:{l}@{s*}.a.example", "smtp:{l}@a.example", TO),),
        (Rule("smtp:x-{l}@a.example", "smtp:y-{l}@a.example", TO),),
        (Rule("smtp:{l}@a.example", "mhs:{l}@hq", Way.OUTWARD), Rule("mhs:{l}@hq", "smtp:{l}@a.example", TO)),
        (  # the second is in the way of the third
            Rule("smtp:{l}@a.example", "smtp:{l}@b.example", TO),
            Rule("smtp:{l}@b.example", "smtp:{l}@c.test", TO),
            Rule("smtp:{l}@{d}.example", "smtp:{l}@a.example", TO),
        ),
        (
            Rule("smtp:{l}@{s|table:t}.old.example", "mhs:{l}@{s}", TO, (Lookup("t", (("hq", "one"), ("pa", "two"))),)),
            Rule("mhs:{l}@{wg}", "smtp:{l}@three.old.example", TO),
        ),
        (Rule("smtp:ann@a.example", "smtp:bob@a.example", TO), Rule("smtp:bob@a.example", "smtp:cleo@a.example", TO)),
    ],
)
def test_what_ends_is_not_refused(rules: tuple[Rule, ...]) -> None:
    assert [f for f in proved(rules, INTERNET, OLD) if f.refuses] == []


@pytest.mark.parametrize(
    ("rules", "ways", "example", "says"),
    [
        (
            (Rule("smtp:{l}@{wg}.mhs.acme.example", "mhs:{l}@{wg}"),),
            (INTERNET,),
            "smtp:x@x.mhs.acme.example",
            "no route takes mhs:x@x; add one, such as 'mhs:*'",
        ),
        (
            (Rule("smtp:{l}@{wg}.mhs.acme.example", "mhs:{l}@{wg}"),),
            (INTERNET, "mhs:*@hq -> old", "mhs:a* -> old", "mhs:x* -> old"),
            None,
            "no route takes mhs:",
        ),
        (
            (
                Rule("smtp:{l}@old.example", "smtp:{l}@a.example", TO),
                Rule("smtp:ann@b.example", "mhs:ann@hq", TO),
            ),
            ("smtp:*@b.example -> net", OLD),
            "smtp:x@old.example",
            "no route takes smtp:x@a.example; add one, such as 'smtp:*@a.example'",
        ),
        (
            (Rule("smtp:{l}@{s}.example", "smtp:{l}@b.example", TO),),
            (OLD,),
            "smtp:x@x.example",
            "no route takes smtp:x@b.example",
        ),
        (
            (Rule("smtp:{l}@old.example", "smtp:{l}@a.example", TO),),
            ("smtp:* -> old mhs",),
            "smtp:x@old.example",
            "old has no form for it; give mhs a gate",
        ),
        (
            (
                Rule(
                    "smtp:{l}@{w}.old.example", "mhs:{l}@{w|table:t}", TO, (Lookup("t", (("a", "hq"), ("b", "paris"))),)
                ),
            ),
            ("mhs:*@hq -> old",),
            "smtp:x@b.old.example",
            "no route takes mhs:x@paris",
        ),
    ],
)
def test_dead_ends(rules: tuple[Rule, ...], ways: tuple[str, ...], example: str | None, says: str) -> None:
    (found,) = proved(rules, *ways)
    assert found.kind is Kind.NOWHERE
    assert says in found.text
    assert found.example is not None
    assert example is None or found.example == parse(example)
    assert table(rules).resolve(found.example).verdict is Verdict.KNOWN


@pytest.mark.parametrize(
    ("rules", "ways", "domains"),
    [
        ((Rule("smtp:{l}@{wg}.mhs.acme.example", "mhs:{l}@{wg}"),), (OLD,), ()),
        ((Rule("smtp:{l}@older.example", "smtp:{l}@acme.example", TO),), (OLD,), ("acme.example",)),
        (
            (Rule("smtp:{l}@old.example", "smtp:{l}@x.mhs.example"), Rule("smtp:{l}@{w}.mhs.example", "mhs:{l}@{w}")),
            (OLD,),
            (),
        ),
        ((Rule("smtp:{l}@old.example", "smtp:{l}@a.example", TO),), ("smtp:a*@a.example -> x", INTERNET), ()),
        ((Rule("smtp:{l}@old.example", "mhs:{l}@hq"),), ("mhs:* -> net smtp",), ()),
        (
            (
                Rule(
                    "smtp:{l}@{w}.old.example", "mhs:{l}@{w|table:t}", TO, (Lookup("t", (("a", "hq"), ("b", "paris"))),)
                ),
            ),
            ("mhs:*@hq -> old", "mhs:*@par* -> old"),
            (),
        ),
        ((Rule("smtp:sales@old.example", "mhs:sales@hq", TO),), (INTERNET,), ()),  # perhaps somebody with a home
    ],
)
def test_what_ends_somewhere_is_not_refused(
    rules: tuple[Rule, ...], ways: tuple[str, ...], domains: tuple[str, ...]
) -> None:
    assert proved(rules, *ways, domains=domains) == []


def test_without_routes_nothing_is_said_of_ends() -> None:
    rules = compiled(Rule("smtp:{l}@{wg}.mhs.acme.example", "mhs:{l}@{wg}"))
    assert prove(rules) == []
    assert [f.kind for f in prove(rules, [])] == [Kind.NOWHERE]


def test_one_address_that_a_rule_names_is_somebody_or_has_a_route() -> None:
    rules = compiled(
        Rule("smtp:sales@old.example", "mhs:sales@hq", TO), Rule("smtp:a@old.example", "smtp:b@acme.example", TO)
    )
    known = {parse("mhs:sales@hq")}
    found = prove(rules, routes(INTERNET), domains=["acme.example"], is_somebody=known.__contains__)
    assert [(f.kind, f.rule) for f in found] == [(Kind.NOWHERE, 1)]
    assert "nobody has that address" in found[0].text
    found = prove(rules, routes(INTERNET), domains=["acme.example"], is_somebody=lambda address: False)
    assert [(f.kind, f.rule) for f in found] == [(Kind.NOWHERE, 0), (Kind.NOWHERE, 1)]


def test_our_own_addresses_have_a_route() -> None:
    ours = [parse("smtp:ann@acme.example"), parse("smtp:bob@acme.example"), parse("mhs:ann@hq"), parse("mhs:b@paris")]
    found = prove([], routes("mhs:*@hq -> old"), ours=ours)
    assert [(f.kind, str(f.example)) for f in found] == [
        (Kind.NOWHERE, "smtp:ann@acme.example"),
        (Kind.NOWHERE, "mhs:b@paris"),
    ]


@pytest.mark.parametrize(
    ("rules", "n", "example"),
    [
        (
            (
                Rule("smtp:{l}@{s*}.a.example", "smtp:{l}@b.example", TO),
                Rule("smtp:x-{l}@u.a.example", "mhs:{l}@hq", TO),
            ),
            1,
            "smtp:x-x@u.a.example",
        ),
        (
            (
                Rule("smtp:{l}@a.example", "smtp:{l}@b.example", TO),
                Rule("smtp:ann@a.example", "smtp:ann@c.example", TO),
            ),
            1,
            "smtp:ann@a.example",
        ),
        (
            (
                Rule("smtp:{l}@{s}.a.example", "smtp:{l}@c.example", TO),
                Rule("smtp:{l}@{s}.{t*}.a.example", "smtp:{l}@c.example", TO),
                Rule("smtp:{l}@{s*}.a.example", "smtp:{l}@b.example", TO),
            ),
            2,
            None,
        ),
        (
            (Rule("smtp:{l}@{wg}.mhs.example", "mhs:{l}@{wg}"), Rule("smtp:{l}@hq.mhs.example", "mhs:{l}@head")),
            1,
            "smtp:x@hq.mhs.example",
        ),
        ((Rule("smtp:postmaster@acme.example", "smtp:ann@b.example", TO),), 0, "smtp:postmaster@acme.example"),
    ],
)
def test_rules_that_never_apply(rules: tuple[Rule, ...], n: int, example: str | None) -> None:
    (found,) = proved(rules, INTERNET, OLD, domains=("acme.example",))
    assert (found.kind, found.rule) == (Kind.NEVER, n)
    assert example is None or found.example == parse(example)


@pytest.mark.parametrize(
    "rules",
    [
        # mhs has no names with braces, so the last takes what it cannot
        (Rule("smtp:{l}@a.example", "mhs:{l}@hq", TO), Rule("smtp:{l}@a.example", "smtp:{l}@fallback.example", TO)),
        (Rule("smtp:ann@a.example", "mhs:a@hq", TO), Rule("smtp:{l}@a.example", "smtp:{l}@b.example", TO)),
        (
            Rule("smtp:{l}@a.example", "mhs:{l|table:t}@hq", TO, (Lookup("t", (("ann", "a"),)),)),
            Rule("smtp:{l}@a.example", "smtp:box@b.example", TO),
        ),
        (
            Rule("smtp:{l}@a.example", "smtp:{l}@b.example", TO, source=("mhs",)),
            Rule("smtp:{l}@a.example", "smtp:{l}@c.example", TO),
        ),
    ],
)
def test_rules_that_apply_at_times(rules: tuple[Rule, ...]) -> None:
    assert proved(rules, INTERNET, OLD) == []


def test_rules_for_some_places_are_proved_place_by_place() -> None:
    rules = compiled(
        Rule("smtp:{l}@a.example", "smtp:{l}@b.example", TO, source=("mhs",)),
        Rule("smtp:{l}@b.example", "smtp:{l}@a.example", TO, source=("connector:old",)),
    )
    assert prove(rules, places=[Place("mhs", "other"), Place("smtp", "old")]) == []
    (found,) = prove(rules, places=[Place("mhs", "old")])
    assert found.kind is Kind.LOOP
    never = compiled(
        Rule("smtp:{l}@a.example", "smtp:{l}@b.example", TO),
        Rule("smtp:{l}@a.example", "smtp:{l}@c.example", TO, source=("mhs",)),
    )
    assert [(f.kind, f.rule) for f in prove(never, places=[Place("mhs"), Place("smtp")])] == [(Kind.NEVER, 1)]


@pytest.mark.parametrize(
    ("general", "special", "covers"),
    [
        ("smtp:*", "smtp:*@a.example", True),
        ("smtp:*@a.example", "smtp:ann@a.example", True),
        ("smtp:*@*.example", "smtp:*@a.example", True),
        ("smtp:*@*.example", "smtp:*@*.a.example", True),
        ("smtp:*@*", "smtp:*", False),
        ("smtp:*", "smtp:*", True),
        ("smtp:*@*", "smtp:*@x.example", True),
        ("smtp:*@*.example", "smtp:*@example", False),
        ("smtp:*@a.example", "smtp:*", False),
        ("smtp:*@a.example", "smtp:*@b.example", False),
        ("smtp:*@*.a.example", "smtp:*@*.example", False),
        ("mhs:*", "smtp:*", False),
        ("mhs:*@hq", "mhs:ann@hq", True),
        ("mhs:a*", "mhs:ann@*", True),
        ("smtp:a*@a.example", "smtp:*a@a.example", False),
    ],
)
def test_routes_that_are_never_reached(general: str, special: str, covers: bool) -> None:
    found = proved((), f"{general} -> one", f"{special} -> other")
    assert bool(found) == covers
    if covers:
        (one,) = found
        assert (one.kind, one.route) == (Kind.NEVER, 1)
        assert one.example is not None
        choice = Routes([Route(general, "one"), Route(special, "other")]).find(one.example)
        assert choice is not None
        assert choice.connector == "one"


def test_a_route_behind_several_that_together_take_all_of_it() -> None:
    found = proved((), "smtp:*@*.example -> a", "smtp:*@example -> b", "smtp:*@*example -> c", "smtp:*@*x*example -> d")
    assert [f.route for f in found] == [3]


def test_a_rule_that_only_shows_addresses_and_gets_no_replies_is_warned_of() -> None:
    (found,) = proved((Rule("smtp:{l}@a.example", "mhs:{l}@hq", Way.OUTWARD),), INTERNET, OLD)
    assert found.kind is Kind.HIDDEN
    assert not found.refuses
    assert "would be shown as smtp:x@a.example" in found.text


def test_thousands_are_proved_in_a_moment() -> None:
    aliases = [Rule(f"smtp:u{n}@merged.example", f"smtp:v{n}@merged.example", TO) for n in range(700)]
    domains = [Rule(f"smtp:{{l}}@d{n}.old.example", "smtp:{l}@merged.example", TO) for n in range(700)]
    groups = [Rule(f"smtp:{{l}}@{{w}}.w{n}.example", f"mhs:{{l}}@{{w}}-{n}") for n in range(600)]
    rules = compiled(*aliases, *domains, *groups)
    ways = routes(*(f"smtp:*@x{n}.example -> net" for n in range(2000)), INTERNET, OLD)
    started = process_time()
    assert prove(rules, ways, domains=["merged.example"]) == []
    assert process_time() - started < 2  # 0.4 s where nothing else runs


LOCALS = st.sampled_from(["{l}", "x-{l}", "ann", "{l}-{m}", "{l}.x", "b+{l}"])
DOMAINS = st.sampled_from(["a.example", "b.example", "{s}.example", "{s*}.example", "u.a.example", "{s}.a.example"])
SMTP = st.builds("smtp:{}@{}".format, LOCALS, DOMAINS)
MHS = st.builds("mhs:{}@{}".format, LOCALS, st.sampled_from(["hq", "{s}", "x-{s}", "a.example"]))
PATTERNS = st.one_of(SMTP, SMTP, MHS)
RULES = st.lists(st.builds(Rule, PATTERNS, PATTERNS, st.just(TO)), min_size=1, max_size=4).map(tuple)
ROUTES = st.lists(
    st.sampled_from(
        ["mhs:*", "mhs:*@hq", "mhs:x*", "smtp:*@a.example", "smtp:*@*.example", "smtp:*", "smtp:x*@*.a.example"]
    ),
    min_size=1,
    max_size=4,
    unique=True,
)
TRIED = [
    parse(f"{network}:{local}@{domain}")
    for network, domains in (
        (
            "smtp",
            ("a.example", "b.example", "q.example", "u.a.example", "q.a.example", "q.r.example", "q.r.s.t.example"),
        ),
        ("mhs", ("hq", "q", "x-q", "a.example", "x-a.example", "q.r")),
    )
    for local in ("ann", "q", "x-q", "x-x-q", "q-r", "q.x", "b+q", "ann+q", "x-ann", "x-b+x-q.x", "ann-r.x")
    for domain in domains
]


@given(RULES, ROUTES, st.sampled_from([(), ("a.example",)]))
def test_what_is_proved_is_so(rules: tuple[Rule, ...], patterns: list[str], domains: tuple[str, ...]) -> None:
    usable: dict[Rule, None] = {}
    for rule in rules:
        try:
            compile_rule(rule, 0)
        except RuleError:
            continue
        usable[rule] = None
    made = compiled(*usable)
    found = prove(made, routes(*(f"{p} -> net" for p in patterns)), domains=domains)
    mapped = table(tuple(usable), *domains)
    way = Routes([Route(p, "net") for p in patterns])

    def is_lost(end: Resolution) -> bool:
        return end.verdict is Verdict.KNOWN and way.find(end.address) is None

    for one in found:
        assert one.example is not None or one.kind is Kind.RING
        if one.example is None:
            continue
        end = mapped.resolve(one.example)
        if one.kind is Kind.LOOP:
            assert end.code == "5.4.6"
        elif one.kind is Kind.NOWHERE:
            assert is_lost(end)
    kinds = {one.kind for one in found}
    ends = [mapped.resolve(address) for address in TRIED]
    if not kinds & {Kind.LOOP, Kind.RING}:
        assert not [end.steps for end in ends if end.code == "5.4.6"]
    if Kind.NOWHERE not in kinds:
        named = [r for r in made if not r.to.names]  # one address may be somebody's
        lost = [end for end in ends if end.steps and is_lost(end)]
        assert not [end.steps for end in lost if not any(str(r.rule) in end.steps[-1] for r in named)]
    for one in found:
        if one.kind is Kind.NEVER and one.rule is not None:
            step = f" by the rule {made[one.rule].rule} is "
            assert not [end.steps for end in ends if end.steps and step in end.steps[0]]
